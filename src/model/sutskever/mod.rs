//! An encoder and a decoder without attention: Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks" (2014),
//! section 2, with GRUs in place of LSTMs. All that the decoder knows of a source is the encoder's last states, in which its layers
//! begin. Names and layouts are those of two PyTorch modules `encoder` and `decoder`, each with an `embedding` and a `gru`.

mod config;
mod graph;
mod state_dict;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Embedding, Forward, GruCell, GruEncoder, Habits, Kind, Layers, Learns, Limits, Linear,
    ModelOptions, Network, Parameter, SearchRoom, Stepper, settings,
};
use crate::{Error, Result, batch::Specials, graph::Parameters};

pub use config::Config;
use step::SutskeverStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "sutskever",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Pairs, make)],
    imports: &[],
    from_shapes: Some(state_dict::from_shapes),
    // The state holds all that the decoder knows of a source.
    habits: Habits { width: 2, ..Habits::RECURRENT },
};

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct Sutskever {
    config: Config,
    encoder: GruEncoder,
    /// Embedded target words.
    words: Embedding,
    /// The decoder's layers, from below.
    cells: Vec<GruCell>,
    output: Linear,
}

impl Sutskever {
    /// A model of the given sizes, in an [`Arc`] to be shared.
    ///
    /// # Errors
    /// [`Error::Data`] naming a field of the configuration that makes no model.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        Self::from_settings(config, "config")
    }

    /// A model of these settings. `path` names the file or option in errors.
    fn from_settings(config: Config, path: &str) -> Result<Arc<Self>> {
        config.check(path)?;
        let Config { source_vocabulary, target_vocabulary, embedding, hidden, layers, .. } = config;
        let cell = |number: usize| {
            let input = if number == 0 { embedding } else { hidden };
            GruCell::new("decoder.gru", &format!("_l{number}"), input, hidden)
        };
        Ok(Arc::new(Self {
            encoder: GruEncoder::new([source_vocabulary, embedding, hidden], layers, false),
            words: Embedding::new("decoder.embedding", target_vocabulary, embedding),
            cells: (0..layers).map(cell).collect(),
            output: Linear::new("output", hidden, target_vocabulary),
            config,
        }))
    }
}

impl Architecture for Sutskever {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn config(&self) -> Result<String> {
        settings::write(&self.config)
    }

    fn limits(&self) -> Limits {
        let Config { source_vocabulary, target_vocabulary, max_length, specials, .. } = self.config;
        Limits { source_vocabulary, target_vocabulary, max_length, specials, padding: specials.pad }
    }

    fn source_specials(&self) -> Specials {
        self.config.source_specials()
    }

    fn parameters(&self) -> Vec<Parameter> {
        let decoder = [&self.words.weight].into_iter().chain(self.cells.iter().flat_map(GruCell::parameters));
        self.encoder.parameters().chain(decoder).chain(self.output.parameters()).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(SutskeverStepper::new(self, parameters, room)?))
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Sutskever::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [source, target]: [usize; 2]) -> Result<Network> {
    let ModelOptions { embedding, hidden, layers, dropout, max_length, .. } = *options;
    settings::check_readout(KIND.name, options.readout, "an encoder-decoder without attention")?;
    if options.tie_embeddings {
        return Err(Error::data(KIND.name, "this architecture ties no embeddings; leave tie_embeddings as it is"));
    }
    let config = Config { embedding, hidden, layers, dropout, max_length, ..Config::new(source, target) };
    Ok(Sutskever::new(options.apply(&config)?)?)
}
