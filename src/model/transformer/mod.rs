//! Encoder and decoder of attention alone: Vaswani et al., "Attention Is All You Need" (2017), normalised after each layer as there
//! or before it, with the settings of Marian's and BART's models. Parameters have the names of Hugging Face's.

mod config;
mod graph;
mod hugging_face;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Counterpart, DecoderLayer, EncoderLayer, FeedForward, Forward, Habits, HeadSizes,
    Initial, Kind, LayerNorm, Layers, Learns, Limits, Linear, ModelOptions, MultiHeadAttention, Network, NormOrder,
    Parameter, PositionKind, Positions, Residual, SearchRoom, Stepper, Vocabularies, VocabularySettings, distinct,
    settings,
};
use crate::{Result, graph::Parameters};

pub use config::Config;
use step::TransformerStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "transformer",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Pairs, make)],
    imports: hugging_face::IMPORTS,
    from_shapes: None,
    habits: Habits::PARALLEL,
};

/// Added to the variance of what is normalised.
const EPSILON: f32 = 1e-5;

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct Transformer {
    config: Config,
    words: Vocabularies,
    encoder: Stack<EncoderLayer>,
    decoder: Stack<DecoderLayer>,
}

/// One side of the model.
#[derive(Clone, Debug)]
struct Stack<L> {
    positions: Positions,
    /// Of the embedded words with their positions.
    embedding_norm: Option<LayerNorm>,
    layers: Vec<L>,
    /// Of the top layer's result, where layers are normalised first.
    norm: Option<LayerNorm>,
}

/// A linear layer drawn as the paper's own code draws it.
fn linear(name: &str, inputs: usize, outputs: usize) -> Linear {
    Linear::new(name, inputs, outputs).drawn(Initial::of_sizes(inputs, outputs))
}

impl Config {
    fn attention(&self, name: &str) -> MultiHeadAttention {
        let projection = |part: &str| linear(&format!("{name}.{part}_proj"), self.hidden, self.hidden);
        MultiHeadAttention {
            query: projection("q"),
            key: projection("k"),
            value: projection("v"),
            output: projection("out"),
            heads: HeadSizes::sharing(self.hidden, self.heads),
        }
    }

    fn norm(&self, name: &str) -> LayerNorm {
        LayerNorm::new(name, self.hidden, EPSILON)
    }

    fn residual(&self, name: &str) -> Residual {
        Residual { norm: self.norm(name), order: self.norm }
    }

    fn feed_forward(&self, name: &str, between: usize) -> FeedForward {
        FeedForward {
            up: linear(&format!("{name}.fc1"), self.hidden, between),
            gate: None,
            down: linear(&format!("{name}.fc2"), between, self.hidden),
            activation: self.activation,
        }
    }

    fn encoder_layer(&self, number: usize) -> EncoderLayer {
        let name = format!("model.encoder.layers.{number}");
        EncoderLayer {
            attention: self.attention(&format!("{name}.self_attn")),
            attention_residual: self.residual(&format!("{name}.self_attn_layer_norm")),
            feed_forward: self.feed_forward(&name, self.encoder_feed_forward),
            feed_forward_residual: self.residual(&format!("{name}.final_layer_norm")),
        }
    }

    fn decoder_layer(&self, number: usize) -> DecoderLayer {
        let name = format!("model.decoder.layers.{number}");
        DecoderLayer {
            attention: self.attention(&format!("{name}.self_attn")),
            attention_residual: self.residual(&format!("{name}.self_attn_layer_norm")),
            source_attention: self.attention(&format!("{name}.encoder_attn")),
            source_residual: self.residual(&format!("{name}.encoder_attn_layer_norm")),
            feed_forward: self.feed_forward(&name, self.decoder_feed_forward),
            feed_forward_residual: self.residual(&format!("{name}.final_layer_norm")),
        }
    }

    fn stack<L>(&self, side: &str, layers: Vec<L>) -> Stack<L> {
        let name = |part: &str| format!("model.{side}.{part}");
        let rows = self.position_offset + self.max_length;
        Stack {
            positions: Positions::new(
                self.positions,
                &name("embed_positions"),
                [rows, self.hidden],
                self.position_offset,
            ),
            embedding_norm: self.embedding_norm.then(|| self.norm(&name("layernorm_embedding"))),
            layers,
            norm: (self.norm == NormOrder::Pre).then(|| self.norm(&name("layer_norm"))),
        }
    }

    fn vocabularies(&self) -> Vocabularies {
        let mut all = Vocabularies::new(VocabularySettings {
            prefix: "model.",
            words: [self.source_vocabulary, self.target_vocabulary],
            size: self.hidden,
            shared: self.shared_embeddings,
            tied: self.tie_embeddings,
            initial: Initial::Normal((self.hidden as f32).sqrt().recip()),
            rate: 1.0,
        });
        if self.output_bias {
            let shape = [1, self.target_vocabulary];
            all.output.bias = Some(Parameter::new("final_logits_bias", shape, Initial::Constant(0.0)));
        }
        all
    }
}

impl<L> Stack<L> {
    fn parameters<'a, I: Iterator<Item = &'a Parameter>>(
        &'a self,
        of_layer: impl Fn(&'a L) -> I,
    ) -> impl Iterator<Item = &'a Parameter> {
        let norms = self.embedding_norm.iter().flat_map(LayerNorm::parameters);
        let layers = self.layers.iter().flat_map(of_layer);
        let last = self.norm.iter().flat_map(LayerNorm::parameters);
        self.positions.parameters().chain(norms).chain(layers).chain(last)
    }
}

impl Transformer {
    /// A model of the given sizes, in an [`Arc`] to be shared.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming a field of the configuration that makes no model.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        Self::from_settings(config, "config")
    }

    /// The same; `path` names the file or option in errors.
    fn from_settings(config: Config, path: &str) -> Result<Arc<Self>> {
        config.check(path)?;
        let encoder = (0..config.encoder_layers).map(|number| config.encoder_layer(number)).collect();
        let decoder = (0..config.decoder_layers).map(|number| config.decoder_layer(number)).collect();
        Ok(Arc::new(Self {
            words: config.vocabularies(),
            encoder: config.stack("encoder", encoder),
            decoder: config.stack("decoder", decoder),
            config,
        }))
    }
}

impl Architecture for Transformer {
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
        let Vocabularies { source, target, output } = &self.words;
        let tables = [&source.weight, &target.weight].into_iter();
        let encoder = self.encoder.parameters(EncoderLayer::parameters);
        let decoder = self.decoder.parameters(DecoderLayer::parameters);
        distinct(tables.chain(encoder).chain(decoder).chain(output.parameters()))
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(TransformerStepper::new(self, parameters, room)?))
    }

    fn counterpart(&self) -> Result<Counterpart> {
        hugging_face::counterpart(self)
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Transformer::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [source, target]: [usize; 2]) -> Result<Network> {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    settings::check_readout("transformer", options.readout, "a Transformer")?;
    let config = Config {
        hidden,
        encoder_feed_forward: hidden.saturating_mul(4),
        decoder_feed_forward: hidden.saturating_mul(4),
        encoder_layers: layers,
        decoder_layers: layers,
        dropout,
        max_length,
        ..Config::new(source, target)
    };
    let mut config = options.apply(&config)?;
    if config.positions == PositionKind::Learned {
        config.max_length = settings::padded(max_length);
    }
    Ok(Transformer::new(config)?)
}
