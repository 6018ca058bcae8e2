//! A decoder alone that remembers what is before a segment: Dai, Yang, Yang, Carbonell, Le and Salakhutdinov, "Transformer-XL:
//! Attentive Language Models Beyond a Fixed-Length Context" (2019). Queries are compared with keys by what they hold and by their
//! distance (section 3.3), and each layer sees its own inputs of the segment before as constants (section 3.2). Parameters have the
//! names of Hugging Face's.

mod config;
mod graph;
mod hugging_face;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Counterpart, Embedding, FeedForward, Forward, Habits, HeadSizes, Initial, Kind,
    LayerNorm, Layers, Learns, Limits, Linear, ModelOptions, Network, Nonlinearity, NormOrder, Parameter, Residual,
    SearchRoom, Stepper, distinct, settings,
};
use crate::{Result, graph::Parameters};

pub use config::Config;
use step::TransformerXlStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "transformer-xl",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Text, make)],
    imports: hugging_face::IMPORTS,
    from_shapes: None,
    habits: Habits::PARALLEL,
};

/// The standard deviation of first weights.
const DEVIATION: f32 = 0.02;

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct TransformerXl {
    config: Config,
    words: Embedding,
    layers: Vec<Layer>,
    /// Its weight is the table of words.
    output: Linear,
}

/// Attention to what is before a position, then a feed-forward part.
#[derive(Clone, Debug)]
struct Layer {
    attention: Attention,
    attention_residual: Residual,
    feed_forward: FeedForward,
    feed_forward_residual: Residual,
}

/// Attention by several heads to rows that it knows by what they hold and by their distance.
#[derive(Clone, Debug)]
struct Attention {
    /// To query, key and value side by side.
    projection: Linear,
    /// From the contexts of all heads.
    output: Linear,
    /// From the vectors of distances to what queries are compared with.
    relative: Linear,
    /// The paper's u, `[N, D]`: added to a query for keys.
    content_bias: Parameter,
    /// The paper's v, `[N, D]`: added to a query for distances.
    position_bias: Parameter,
    heads: HeadSizes,
}

impl Config {
    fn heads(&self) -> HeadSizes {
        HeadSizes { scale: 1.0 / (self.head_size as f32).sqrt(), count: self.heads, size: self.head_size }
    }

    fn attention(&self, name: &str) -> Attention {
        let (heads, hidden) = (self.heads(), self.hidden);
        let linear = |part: &str, inputs, outputs| {
            Linear::without_bias(&format!("{name}.{part}"), inputs, outputs).drawn(Initial::Normal(DEVIATION))
        };
        let biases = |part: &str| {
            let name = if self.shared_biases { format!("transformer.{part}") } else { format!("{name}.{part}") };
            Parameter::new(name, [heads.count, heads.size], Initial::Normal(DEVIATION))
        };
        Attention {
            projection: linear("qkv_net", hidden, 3 * heads.width()),
            output: linear("o_net", heads.width(), hidden),
            relative: linear("r_net", hidden, heads.width()),
            content_bias: biases("r_w_bias"),
            position_bias: biases("r_r_bias"),
            heads,
        }
    }

    fn layer(&self, number: usize) -> Layer {
        let name = format!("transformer.layers.{number}");
        let linear = |part: &str, inputs, outputs| {
            Linear::new(&format!("{name}.pos_ff.CoreNet.{part}"), inputs, outputs).drawn(Initial::Normal(DEVIATION))
        };
        let residual = |part: &str| {
            let norm = LayerNorm::new(&format!("{name}.{part}.layer_norm"), self.hidden, self.epsilon);
            Residual { norm, order: NormOrder::Post }
        };
        Layer {
            attention: self.attention(&format!("{name}.dec_attn")),
            attention_residual: residual("dec_attn"),
            feed_forward: FeedForward {
                up: linear("0", self.hidden, self.feed_forward),
                gate: None,
                down: linear("3", self.feed_forward, self.hidden),
                activation: Nonlinearity::Relu,
            },
            feed_forward_residual: residual("pos_ff"),
        }
    }
}

impl Layer {
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let Attention { projection, output, relative, content_bias, position_bias, .. } = &self.attention;
        let linear = [projection, output, relative].into_iter().flat_map(Linear::parameters);
        let attention = [content_bias, position_bias].into_iter().chain(linear);
        let feed_forward = self.feed_forward.parameters().chain(self.feed_forward_residual.norm.parameters());
        attention.chain(self.attention_residual.norm.parameters()).chain(feed_forward)
    }
}

impl TransformerXl {
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
        let (table, name) = ([config.vocabulary, config.hidden], "crit.out_layers.0");
        // Embedded words are multiplied by the root of D, and the logits are not.
        let initial = Initial::Normal((config.hidden as f32).sqrt().recip());
        let words = Parameter {
            aliases: vec![format!("{name}.weight")],
            ..Parameter::new("transformer.word_emb.emb_layers.0.weight", table, initial)
        };
        let mut output = Linear::new(name, config.hidden, config.vocabulary).drawn(initial);
        output.weight = words.clone();
        Ok(Arc::new(Self {
            words: Embedding { weight: words },
            layers: (0..config.layers).map(|number| config.layer(number)).collect(),
            output,
            config,
        }))
    }
}

impl Architecture for TransformerXl {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn config(&self) -> Result<String> {
        settings::write(&self.config)
    }

    fn limits(&self) -> Limits {
        let Config { vocabulary, max_length, specials, .. } = self.config;
        Limits::of_text(vocabulary, max_length, specials)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let layers = self.layers.iter().flat_map(Layer::parameters);
        distinct(self.output.parameters().chain(layers))
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(TransformerXlStepper::new(self, parameters, room)?))
    }

    fn counterpart(&self) -> Result<Counterpart> {
        hugging_face::counterpart(self)
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(TransformerXl::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [_, vocabulary]: [usize; 2]) -> Result<Network> {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    let default = Config::new(vocabulary);
    let config = Config {
        hidden,
        head_size: hidden.div_ceil(default.heads),
        feed_forward: hidden.saturating_mul(4),
        layers,
        dropout,
        max_length,
        ..default
    };
    Ok(TransformerXl::new(options.apply(&config)?)?)
}
