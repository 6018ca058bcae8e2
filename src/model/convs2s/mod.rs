//! Encoder and decoder of convolutions: Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional Sequence to Sequence Learning"
//! (2017). Gated convolutions along time, residual connections times the root of a half, and in each layer of the decoder an
//! attention of its own to the source. Its paper normalises weights; here they are plain.

mod config;
mod graph;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Embedding, Forward, Habits, Initial, Kind, Layers, Learns, Limits, Linear, ModelOptions,
    Network, Parameter, PositionKind, Positions, Readout, SearchRoom, Stepper, settings,
};
use crate::{Error, Result, graph::Parameters};

pub use config::Config;
pub use graph::TeacherForced;
use step::ConvS2SStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "convs2s",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Pairs, make)],
    imports: &[],
    from_shapes: None,
    // One layer of convolutions sees three steps.
    habits: Habits { layers: 3, ..Habits::PARALLEL },
};

/// What sums of two independent values are multiplied with, so that their variance stays (section 3.4).
const HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct ConvS2S {
    config: Config,
    encoder: Side,
    decoder: Side,
    /// One for each of the decoder's convolutions.
    attention: Vec<Attention>,
    output: Linear,
}

/// What encoder and decoder have both.
#[derive(Clone, Debug)]
struct Side {
    word: Embedding,
    position: Positions,
    /// From embedded words to channels.
    into: Linear,
    /// From the top layer's channels.
    outof: Linear,
    convolutions: Vec<Convolution>,
}

/// A convolution along time to twice the channels, for a gate.
#[derive(Clone, Debug)]
struct Convolution {
    /// `[2 H, H, width]`
    weight: Parameter,
    /// `[2 H]`
    bias: Parameter,
    width: usize,
}

/// Attention of one layer.
#[derive(Clone, Debug)]
struct Attention {
    /// From channels to what is compared with the source.
    query: Linear,
    /// From the context to channels.
    out: Linear,
}

/// A linear layer that keeps the variance of what it reads (section 3.5).
fn linear(name: &str, inputs: usize, outputs: usize) -> Linear {
    Linear::new(name, inputs, outputs).drawn(Initial::Normal((inputs as f32).sqrt().recip()))
}

impl Config {
    fn side(&self, name: &str, vocabulary: usize, outputs: usize, widths: &[usize]) -> Side {
        let part = |part: &str| format!("{name}.{part}");
        let (embedding, hidden) = (self.embedding, self.hidden);
        let words = Parameter::new(part("word.weight"), [vocabulary, embedding], Initial::Normal(0.1));
        let convolution = |(number, width): (usize, &usize)| {
            let name = part(&format!("convolutions.{number}"));
            // A gate that is half open takes three quarters of the variance (section 3.5).
            let initial = Initial::Normal((4.0 / (hidden * width) as f32).sqrt());
            Convolution {
                weight: Parameter::new(format!("{name}.weight"), [2 * hidden, hidden, *width], initial),
                bias: Parameter::new(format!("{name}.bias"), [2 * hidden], Initial::Constant(0.0)),
                width: *width,
            }
        };
        Side {
            word: Embedding { weight: words },
            position: Positions::new(PositionKind::Learned, &part("position"), [self.max_length, embedding], 0),
            into: linear(&part("into"), embedding, hidden),
            outof: linear(&part("outof"), hidden, outputs),
            convolutions: widths.iter().enumerate().map(convolution).collect(),
        }
    }

    fn attention(&self, number: usize) -> Attention {
        let name = |part: &str| format!("decoder.attention.{number}.{part}");
        Attention {
            query: linear(&name("query"), self.hidden, self.embedding),
            out: linear(&name("out"), self.embedding, self.hidden),
        }
    }
}

impl Side {
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let tables = [&self.word.weight].into_iter().chain(self.position.parameters());
        let linear = self.into.parameters().chain(self.outof.parameters());
        let convolutions = self.convolutions.iter().flat_map(|one| [&one.weight, &one.bias]);
        tables.chain(linear).chain(convolutions)
    }
}

impl ConvS2S {
    /// A model of the given sizes, in an [`Arc`] to be shared.
    ///
    /// # Errors
    /// [`Error::Data`] naming a field of the configuration that makes no model.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        Self::from_settings(config, "config")
    }

    /// The same; `path` names the file or option in errors.
    fn from_settings(config: Config, path: &str) -> Result<Arc<Self>> {
        config.check(path)?;
        let [source, target] = [config.source_vocabulary, config.target_vocabulary];
        Ok(Arc::new(Self {
            encoder: config.side("encoder", source, config.embedding, &config.encoder_widths),
            decoder: config.side("decoder", target, config.output_size, &config.decoder_widths),
            attention: (0..config.decoder_widths.len()).map(|number| config.attention(number)).collect(),
            output: linear("decoder.output", config.output_size, target),
            config,
        }))
    }
}

impl Architecture for ConvS2S {
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

    fn parameters(&self) -> Vec<Parameter> {
        let attention = self.attention.iter().flat_map(|one| one.query.parameters().chain(one.out.parameters()));
        let sides = self.encoder.parameters().chain(self.decoder.parameters());
        sides.chain(self.output.parameters()).chain(attention).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let TeacherForced { logits, targets, weights } = self.teacher_forced(layers, shape)?;
        Ok(Forward { logits, targets, attention: weights.last().copied() })
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(ConvS2SStepper::new(self, parameters, room)?))
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(ConvS2S::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [source, target]: [usize; 2]) -> Result<Network> {
    let ModelOptions { embedding, hidden, layers, dropout, max_length, .. } = *options;
    if options.readout != Readout::Tanh || options.tie_embeddings {
        let message = "this architecture has no readout to leave out, and ties no embeddings; leave readout and \
                       tie_embeddings as they are";
        return Err(Error::data("convs2s", message));
    }
    let config = Config {
        embedding,
        hidden,
        output_size: embedding,
        encoder_widths: vec![3; layers],
        decoder_widths: vec![3; layers],
        dropout,
        max_length: settings::padded(max_length),
        ..Config::new(source, target)
    };
    Ok(ConvS2S::new(options.apply(&config)?)?)
}
