//! Global and local attention after the decoder's cell: Luong, Pham and Manning, "Effective Approaches to Attention-based Neural
//! Machine Translation" (2015), with GRUs in place of LSTMs.

mod config;
mod graph;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Embedding, Forward, GruCell, GruEncoder, Habits, Kind, Layers, Learns, Limits, Linear,
    ModelOptions, Network, Parameter, Readout, SearchRoom, Stepper, settings,
};
use crate::{Error, Result, batch::Specials, graph::Parameters};

pub use config::{Config, Score, Window};
pub use graph::TeacherForced;
use step::LuongStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "luong",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Pairs, make)],
    imports: &[],
    from_shapes: None,
    habits: Habits::RECURRENT,
};

/// The model at its sizes: its layers by what they are for. None but the GRUs and the bridge has a bias, as in the paper.
#[derive(Clone, Debug)]
pub struct Luong {
    config: Config,
    encoder: GruEncoder,
    /// From the last state of an encoder of two directions to the decoder's first one.
    bridge: Option<Linear>,
    scoring: Scoring,
    /// The layers that predict the centres of windows, for local-p.
    centre: Option<CentrePrediction>,
    /// Embedded target words.
    words: Embedding,
    cell: GruCell,
    /// From `[context; state]` to the attentional state.
    combine: Linear,
    output: Linear,
}

/// The layers of a [`Score`].
#[derive(Clone, Debug)]
enum Scoring {
    Dot,
    /// From an annotation to what states are compared with.
    General(Linear),
    Concat {
        /// From `[state; annotation]` to the alignment layer.
        concat: Linear,
        /// From the alignment layer to a score.
        energy: Linear,
    },
    /// From a state to a score for each position.
    Location(Linear),
}

/// The layers of equation 9.
#[derive(Clone, Debug)]
struct CentrePrediction {
    /// From a state to the layer between.
    position: Linear,
    /// From the layer between to a share of the source.
    energy: Linear,
}

impl Scoring {
    fn new(config: &Config) -> Self {
        let Config { hidden, attention, .. } = *config;
        let linear = |name: &str, inputs, outputs| Linear::without_bias(&format!("attention.{name}"), inputs, outputs);
        match config.score {
            Score::Dot => Self::Dot,
            Score::General => Self::General(linear("general", config.annotation(), hidden)),
            Score::Concat => Self::Concat {
                concat: linear("concat", hidden + config.annotation(), attention),
                energy: linear("energy", attention, 1),
            },
            Score::Location => Self::Location(linear("location", hidden, config.location_rows)),
        }
    }

    fn layers(&self) -> Vec<&Linear> {
        match self {
            Self::Dot => vec![],
            Self::General(layer) | Self::Location(layer) => vec![layer],
            Self::Concat { concat, energy } => vec![concat, energy],
        }
    }
}

impl Luong {
    /// A model of the given sizes, in an [`Arc`] to be shared.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming a field of the configuration that makes no model.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        Self::from_settings(config, "config")
    }

    /// A model of these settings. `path` names the file or option in errors.
    fn from_settings(config: Config, path: &str) -> Result<Arc<Self>> {
        config.check(path)?;
        let Config { source_vocabulary, target_vocabulary, embedding, hidden, position, .. } = config;
        let (layers, bidirectional) = (config.encoder_layers, config.bidirectional);
        Ok(Arc::new(Self {
            encoder: GruEncoder::new([source_vocabulary, embedding, hidden], layers, bidirectional),
            bridge: bidirectional.then(|| Linear::new("bridge", hidden, hidden)),
            scoring: Scoring::new(&config),
            centre: (config.window == Window::LocalP).then(|| CentrePrediction {
                position: Linear::without_bias("attention.position", hidden, position),
                energy: Linear::without_bias("attention.position_energy", position, 1),
            }),
            words: Embedding::new("decoder.embedding", target_vocabulary, embedding),
            cell: GruCell::new("decoder.cell", "", config.cell_input(), hidden),
            combine: Linear::without_bias("combine", config.annotation() + hidden, hidden),
            output: Linear::without_bias("output", hidden, target_vocabulary),
            config,
        }))
    }
}

impl Architecture for Luong {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn config(&self) -> Result<String> {
        settings::write(&self.config)
    }

    fn limits(&self) -> Limits {
        let Config { source_vocabulary, target_vocabulary, max_length, .. } = self.config;
        let specials = Specials::default();
        Limits { source_vocabulary, target_vocabulary, max_length, specials, padding: specials.pad }
    }

    fn parameters(&self) -> Vec<Parameter> {
        let centre = self.centre.iter().flat_map(|centre| [&centre.position, &centre.energy]);
        let attention = self.bridge.iter().chain(self.scoring.layers()).chain(centre).flat_map(Linear::parameters);
        let decoder = [&self.words.weight].into_iter().chain(self.cell.parameters());
        let top = [&self.combine, &self.output].into_iter().flat_map(Linear::parameters);
        self.encoder.parameters().chain(attention).chain(decoder).chain(top).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let TeacherForced { logits, targets, alignment } = self.teacher_forced(layers, shape)?;
        Ok(Forward { logits, targets, attention: Some(alignment.weights) })
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(LuongStepper::new(self, parameters, room)?))
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Luong::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [source, target]: [usize; 2]) -> Result<Network> {
    let ModelOptions { embedding, hidden, layers, dropout, max_length, .. } = *options;
    if options.readout != Readout::Tanh || options.tie_embeddings {
        let message = "this architecture has no readout to leave out, and ties no embeddings; leave readout and \
                       tie_embeddings as they are";
        return Err(Error::data("luong", message));
    }
    let config = Config {
        embedding,
        hidden,
        attention: hidden,
        // The dot score compares a state with an annotation of its size.
        bidirectional: options.settings.get("score").is_none_or(|score| score != "dot"),
        position: hidden,
        location_rows: max_length,
        encoder_layers: layers,
        dropout,
        max_length,
        ..Config::new(source, target)
    };
    Ok(Luong::new(options.apply(&config)?)?)
}
