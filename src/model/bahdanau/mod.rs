//! The default model: bidirectional GRU encoder, soft alignment, GRU decoder (Bahdanau et al. 2015, with a tanh readout in
//! place of maxout, and the GRU's gates in the form of cuDNN and PyTorch).

mod config;
mod contributed;
mod graph;
mod state_dict;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Embedding, Forward, GruCell, GruEncoder, Habits, Kind, Layers, Learns, Limits, Linear,
    ModelOptions, Network, Parameter, SearchRoom, Stepper, settings,
};
use crate::{Result, batch::Specials, graph::Parameters};

pub use super::Readout;
pub use config::Config;
use contributed::ContributedStepper;
use step::BahdanauStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "bahdanau",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Pairs, make)],
    imports: &[],
    from_shapes: Some(state_dict::from_shapes),
    habits: Habits::RECURRENT,
};

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct Bahdanau {
    config: Config,
    encoder: GruEncoder,
    /// From the encoder's last state to the decoder's first one.
    bridge: Linear,
    /// From a state to the alignment layer.
    query: Linear,
    /// From the annotations to the alignment layer.
    key: Linear,
    /// From the alignment layer to a score.
    energy: Linear,
    /// Embedded target words.
    words: Embedding,
    cell: GruCell,
    readout: Option<Linear>,
    output: Linear,
}

impl Bahdanau {
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
        let Config { source_vocabulary, target_vocabulary, embedding, hidden, attention, .. } = config;
        let read = config.output_input();
        let mut output = Linear::new("output", read, target_vocabulary);
        let words = match config.tie_embeddings {
            true => Embedding::tied("decoder.embedding", target_vocabulary, embedding, "output"),
            false => Embedding::new("decoder.embedding", target_vocabulary, embedding),
        };
        if config.tie_embeddings {
            output.weight = words.weight.clone();
        }
        Ok(Arc::new(Self {
            encoder: GruEncoder::new([source_vocabulary, embedding, hidden], config.encoder_layers, true),
            bridge: Linear::new("bridge", hidden, hidden),
            query: Linear::without_bias("attention.query", hidden, attention),
            key: Linear::new("attention.key", 2 * hidden, attention),
            energy: Linear::without_bias("attention.energy", attention, 1),
            words,
            cell: GruCell::new("decoder.cell", "", embedding + 2 * hidden, hidden),
            readout: match config.readout {
                Readout::Tanh => Some(Linear::new("readout", config.features(), config.readout_size)),
                Readout::None => None,
            },
            output,
            config,
        }))
    }
}

impl Architecture for Bahdanau {
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
        let Self { encoder, bridge, query, key, energy, words, cell, readout, output, .. } = self;
        let attention = [bridge, key].into_iter().flat_map(Linear::parameters);
        // The decoder reads recurrent weights and those of the query as one where they lie side by side; so too their vectors.
        let GruCell { weight_ih, weight_hh, bias_ih, bias_hh } = cell;
        let decoder = [&words.weight, weight_ih, weight_hh, &query.weight, bias_ih, bias_hh, &energy.weight];
        // A weight that is the table of words stands there already.
        let top = readout.iter().chain([output]).flat_map(Linear::parameters).filter(|one| **one != words.weight);
        encoder.parameters().chain(attention).chain(decoder).chain(top).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(match ContributedStepper::pays(self, room) {
            true => Box::new(ContributedStepper::new(self, parameters, room)?),
            false => Box::new(BahdanauStepper::new(self, parameters, room)?),
        })
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Bahdanau::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [source, target]: [usize; 2]) -> Result<Network> {
    let ModelOptions { embedding, hidden, tie_embeddings, .. } = *options;
    let config = Config {
        embedding,
        hidden,
        attention: hidden,
        readout: options.readout,
        readout_size: if tie_embeddings { embedding } else { hidden },
        tie_embeddings,
        encoder_layers: options.layers,
        dropout: options.dropout,
        max_length: options.max_length,
        ..Config::new(source, target)
    };
    Ok(Bahdanau::new(options.apply(&config)?)?)
}
