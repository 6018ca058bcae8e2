//! Encoder and decoder of attention alone: Vaswani et al., "Attention Is All You Need" (2017), normalised after each layer as there
//! or before it, with the settings of Marian's and BART's models. Parameters have the names of Hugging Face's.

mod config;
mod graph;
mod hugging_face;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Counterpart, Embedding, FeedForward, Forward, Initial, Kind, LayerNorm, Layers, Learns,
    Limits, Linear, ModelOptions, MultiHeadAttention, Network, NormOrder, Parameter, PositionKind, Positions, Readout,
    Residual, SearchRoom, Stepper, settings,
};
use crate::{Error, Result, graph::Parameters};

pub use config::Config;
use step::TransformerStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "transformer",
    in_files: config::IN_FILES,
    read,
    make: Some((Learns::Pairs, make)),
    imports: hugging_face::IMPORTS,
};

/// Added to the variance of what is normalised.
const EPSILON: f32 = 1e-5;

/// A multiple of every length that batches are padded to a multiple of.
const PADDED: usize = 8;

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct Transformer {
    config: Config,
    source: Embedding,
    target: Embedding,
    encoder: Stack<EncoderLayer>,
    decoder: Stack<DecoderLayer>,
    output: Linear,
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

/// A layer of the encoder.
#[derive(Clone, Debug)]
struct EncoderLayer {
    attention: MultiHeadAttention,
    attention_residual: Residual,
    feed_forward: FeedForward,
    feed_forward_residual: Residual,
}

/// A layer of the decoder.
#[derive(Clone, Debug)]
struct DecoderLayer {
    attention: MultiHeadAttention,
    attention_residual: Residual,
    source_attention: MultiHeadAttention,
    source_residual: Residual,
    feed_forward: FeedForward,
    feed_forward_residual: Residual,
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
            heads: self.heads,
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

    /// The tables of source and target words, and the output layer: one tensor where the settings say so.
    fn vocabularies(&self) -> (Embedding, Embedding, Linear) {
        let initial = Initial::Normal((self.hidden as f32).sqrt().recip());
        let [source, target] = ["encoder", "decoder"].map(|side| format!("model.{side}.embed_tokens.weight"));
        let table = |name: &str, rows, aliases: Vec<String>| Embedding {
            weight: Parameter { aliases, ..Parameter::new(name, [rows, self.hidden], initial) },
        };
        let mut output = Linear::without_bias("lm_head", self.hidden, self.target_vocabulary).drawn(initial);
        let tied = self.tie_embeddings.then(|| output.weight.name.clone());
        let (source, target) = if self.shared_embeddings {
            let aliases = [source, target].into_iter().chain(tied).collect();
            let shared = table("model.shared.weight", self.source_vocabulary, aliases);
            (shared.clone(), shared)
        } else {
            let target = table(&target, self.target_vocabulary, tied.into_iter().collect());
            (table(&source, self.source_vocabulary, vec![]), target)
        };
        if self.tie_embeddings {
            output.weight = target.weight.clone();
        }
        if self.output_bias {
            let shape = [1, self.target_vocabulary];
            output.bias = Some(Parameter::new("final_logits_bias", shape, Initial::Constant(0.0)));
        }
        (source, target, output)
    }
}

impl<L> Stack<L> {
    fn parameters<'a>(&'a self, of_layer: impl Fn(&'a L) -> Vec<&'a Parameter>) -> Vec<&'a Parameter> {
        let norms = self.embedding_norm.iter().flat_map(LayerNorm::parameters);
        let layers = self.layers.iter().flat_map(of_layer);
        let last = self.norm.iter().flat_map(LayerNorm::parameters);
        self.positions.parameters().chain(norms).chain(layers).chain(last).collect()
    }
}

impl EncoderLayer {
    fn parameters(&self) -> Vec<&Parameter> {
        let attention = self.attention.parameters().chain(self.attention_residual.norm.parameters());
        let feed_forward = self.feed_forward.parameters().chain(self.feed_forward_residual.norm.parameters());
        attention.chain(feed_forward).collect()
    }
}

impl DecoderLayer {
    fn parameters(&self) -> Vec<&Parameter> {
        let attention = self.attention.parameters().chain(self.attention_residual.norm.parameters());
        let source = self.source_attention.parameters().chain(self.source_residual.norm.parameters());
        let feed_forward = self.feed_forward.parameters().chain(self.feed_forward_residual.norm.parameters());
        attention.chain(source).chain(feed_forward).collect()
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
        let (source, target, output) = config.vocabularies();
        let encoder = (0..config.encoder_layers).map(|number| config.encoder_layer(number)).collect();
        let decoder = (0..config.decoder_layers).map(|number| config.decoder_layer(number)).collect();
        Ok(Arc::new(Self {
            source,
            target,
            encoder: config.stack("encoder", encoder),
            decoder: config.stack("decoder", decoder),
            output,
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
        let tables = [&self.source.weight, &self.target.weight].into_iter();
        let encoder = self.encoder.parameters(EncoderLayer::parameters);
        let decoder = self.decoder.parameters(DecoderLayer::parameters);
        let mut all: Vec<Parameter> = Vec::new();
        for one in tables.chain(encoder).chain(decoder).chain(self.output.parameters()) {
            if all.iter().all(|listed| listed.name != one.name) {
                all.push(one.clone());
            }
        }
        all
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
    if options.readout != Readout::Tanh {
        let message = "a Transformer has no layer before its output layer to leave out; leave readout as it is";
        return Err(Error::data("transformer", message));
    }
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
        // Batches are padded to lengths that the shapes of a few Programs have, and every place needs a row.
        config.max_length = max_length.checked_next_multiple_of(PADDED).unwrap_or(max_length);
    }
    Ok(Transformer::new(config)?)
}
