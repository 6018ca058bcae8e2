//! Encoder and decoder of attention with relative positions, normalised first: Raffel et al., "Exploring the Limits of Transfer
//! Learning with a Unified Text-to-Text Transformer" (2020), section 2.1, as T5 1.0, and with gated feed-forward parts as T5 1.1.
//! Parameters have the names of Hugging Face's.

mod config;
mod graph;
mod hugging_face;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Counterpart, DecoderLayer, EncoderLayer, FeedForward, Forward, Habits, HeadSizes,
    Initial, Kind, LayerNorm, Layers, Learns, Limits, Linear, ModelOptions, MultiHeadAttention, Network, NormOrder,
    Parameter, RelativeBias, Residual, SearchRoom, Stepper, Vocabularies, VocabularySettings, distinct, settings,
};
use crate::{Result, graph::Parameters, kernels::relative_position_bias::PositionBuckets};

pub use config::Config;
use step::T5Stepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "t5",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Pairs, make)],
    imports: hugging_face::IMPORTS,
    from_shapes: None,
    habits: Habits::PARALLEL,
};

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct T5 {
    config: Config,
    words: Vocabularies,
    encoder: Stack<EncoderLayer>,
    decoder: Stack<DecoderLayer>,
}

/// One side of the model.
#[derive(Clone, Debug)]
struct Stack<L> {
    /// Of the attention of all layers to their own side.
    bias: RelativeBias,
    layers: Vec<L>,
    /// Of the top layer's result.
    norm: LayerNorm,
}

impl Config {
    /// The share of the learning rate of a parameter that is drawn with the variance of one over `fan`. Raffel et al. train by Adafactor,
    /// whose steps are as large as the parameter is (Shazeer and Stern 2018, section 8); those of Adam are one size for all, and first
    /// values here are not: at one rate, queries are driven into saturated attention before embeddings have moved.
    fn rate(&self, fan: usize) -> f32 {
        (self.hidden as f32 / fan as f32).sqrt()
    }

    /// A layer without a bias, drawn with the variance of one over `fan`.
    fn linear(&self, name: &str, inputs: usize, outputs: usize, fan: usize) -> Linear {
        let mut layer = Linear::without_bias(name, inputs, outputs);
        layer.weight.rate = self.rate(fan);
        layer.drawn(Initial::Normal((fan as f32).sqrt().recip()))
    }

    fn heads(&self) -> HeadSizes {
        HeadSizes { count: self.heads, size: self.head_size, scale: 1.0 }
    }

    fn attention(&self, name: &str) -> MultiHeadAttention {
        let (heads, hidden) = (self.heads(), self.hidden);
        let projection = |part: &str, fan| self.linear(&format!("{name}.{part}"), hidden, heads.width(), fan);
        MultiHeadAttention {
            // Its small first values stand for the scale that products do not have.
            query: projection("q", hidden * heads.size),
            key: projection("k", hidden),
            value: projection("v", hidden),
            output: self.linear(&format!("{name}.o"), heads.width(), hidden, heads.width()),
            heads,
        }
    }

    fn residual(&self, name: &str) -> Residual {
        let norm = LayerNorm::rms(&format!("{name}.layer_norm"), self.hidden, self.epsilon);
        Residual { norm, order: NormOrder::Pre }
    }

    fn feed_forward(&self, name: &str) -> FeedForward {
        let (hidden, between) = (self.hidden, self.feed_forward);
        let up = |part: &str| self.linear(&format!("{name}.DenseReluDense.{part}"), hidden, between, hidden);
        FeedForward {
            up: up(if self.gated { "wi_0" } else { "wi" }),
            gate: self.gated.then(|| up("wi_1")),
            down: self.linear(&format!("{name}.DenseReluDense.wo"), between, hidden, between),
            activation: self.activation,
        }
    }

    fn encoder_layer(&self, number: usize) -> EncoderLayer {
        let name = |part: usize| format!("encoder.block.{number}.layer.{part}");
        EncoderLayer {
            attention: self.attention(&format!("{}.SelfAttention", name(0))),
            attention_residual: self.residual(&name(0)),
            feed_forward: self.feed_forward(&name(1)),
            feed_forward_residual: self.residual(&name(1)),
        }
    }

    fn decoder_layer(&self, number: usize) -> DecoderLayer {
        let name = |part: usize| format!("decoder.block.{number}.layer.{part}");
        DecoderLayer {
            attention: self.attention(&format!("{}.SelfAttention", name(0))),
            attention_residual: self.residual(&name(0)),
            source_attention: self.attention(&format!("{}.EncDecAttention", name(1))),
            source_residual: self.residual(&name(1)),
            feed_forward: self.feed_forward(&name(2)),
            feed_forward_residual: self.residual(&name(2)),
        }
    }

    fn stack<L>(&self, side: &str, bidirectional: bool, layers: Vec<L>) -> Stack<L> {
        // The lowest layer's, by its name.
        let bias = format!("{side}.block.0.layer.0.SelfAttention.relative_attention_bias");
        let buckets = PositionBuckets { count: self.position_buckets, bidirectional, farthest: self.farthest_position };
        let initial = Initial::Normal((self.hidden as f32).sqrt().recip());
        Stack {
            // They begin small, and stand beside scores of about 1.
            bias: RelativeBias::new(&bias, buckets, self.heads(), (initial, self.rate(1))),
            layers,
            norm: LayerNorm::rms(&format!("{side}.final_layer_norm"), self.hidden, self.epsilon),
        }
    }

    fn vocabularies(&self) -> Vocabularies {
        Vocabularies::new(VocabularySettings {
            prefix: "",
            words: [self.source_vocabulary, self.target_vocabulary],
            size: self.hidden,
            shared: self.shared_embeddings,
            tied: self.tie_embeddings,
            initial: Initial::Normal(1.0),
            rate: self.rate(1),
        })
    }
}

impl<L> Stack<L> {
    fn parameters<'a, I: Iterator<Item = &'a Parameter>>(
        &'a self,
        of_layer: impl Fn(&'a L) -> I,
    ) -> impl Iterator<Item = &'a Parameter> {
        let layers = self.layers.iter().flat_map(of_layer);
        [&self.bias.table].into_iter().chain(layers).chain(self.norm.parameters())
    }
}

impl T5 {
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
            encoder: config.stack("encoder", true, encoder),
            decoder: config.stack("decoder", false, decoder),
            config,
        }))
    }
}

impl Architecture for T5 {
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
        Ok(Box::new(T5Stepper::new(self, parameters, room)?))
    }

    fn counterpart(&self) -> Result<Counterpart> {
        hugging_face::counterpart(self)
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(T5::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [source, target]: [usize; 2]) -> Result<Network> {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    settings::check_readout("t5", options.readout, "a T5")?;
    let default = Config::new(source, target);
    let config = Config {
        hidden,
        head_size: hidden.div_ceil(default.heads),
        feed_forward: hidden.saturating_mul(4),
        encoder_layers: layers,
        decoder_layers: layers,
        dropout,
        max_length,
        ..default
    };
    Ok(T5::new(options.apply(&config)?)?)
}
