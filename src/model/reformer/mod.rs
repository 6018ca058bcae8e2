//! A decoder alone whose positions attend to those that are near them in the text or in buckets of a hash, and whose activations are made
//! again in the backward pass: Kitaev, Kaiser and Levskaya, "Reformer: The Efficient Transformer" (2020). Parameters have the names and
//! layouts of Hugging Face's.

mod config;
mod graph;
mod hugging_face;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Counterpart, Embedding, FeedForward, Forward, Habits, Initial, Kind, LayerNorm, Layers,
    Learns, Limits, Linear, ModelOptions, Network, Parameter, PositionKind, Positions, SearchRoom, Stepper, settings,
};
use crate::{Result, graph::Parameters};

pub use config::{AttentionKind, Axial, Config};
pub use graph::Encoded;
use step::ReformerStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "reformer",
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
pub struct Reformer {
    config: Config,
    words: Embedding,
    places: PlaceVectors,
    layers: Vec<Layer>,
    /// Of both streams, side by side.
    norm: LayerNorm,
    output: Linear,
    /// The directions of the layers that hash, in place of drawn ones.
    directions: Option<Vec<Vec<f32>>>,
}

/// Vectors of a text's places.
#[derive(Clone, Debug)]
enum PlaceVectors {
    Table(Positions),
    /// `[rows, 1, E]` and `[1, columns, F]`, side by side.
    Axial([Parameter; 2]),
}

/// Attention, then a feed-forward part.
#[derive(Clone, Debug)]
struct Layer {
    attention_norm: LayerNorm,
    attention: SelfAttention,
    /// From the contexts of all heads.
    attention_output: Linear,
    feed_forward_norm: LayerNorm,
    feed_forward: FeedForward,
}

/// The projections of an attention.
#[derive(Clone, Debug)]
enum SelfAttention {
    Local {
        query: Linear,
        key: Linear,
        value: Linear,
    },
    Lsh {
        /// To queries, which are keys too.
        query_key: Linear,
        value: Linear,
        /// `[N, D, hashes, half the buckets]`: no parameter, but drawn like one.
        directions: Parameter,
    },
}

impl Config {
    fn layer(&self, number: usize, kind: AttentionKind) -> Layer {
        let name = format!("reformer.encoder.layers.{number}");
        let (hidden, width) = (self.hidden, self.heads.saturating_mul(self.head_size));
        let norm = |part: &str| LayerNorm::new(&format!("{name}.{part}.layer_norm"), hidden, self.epsilon);
        let linear = |part: &str, inputs, outputs| {
            Linear::new(&format!("{name}.feed_forward.{part}.dense"), inputs, outputs).drawn(Initial::Normal(DEVIATION))
        };
        let project = |part: &str, inputs, outputs| {
            let name = format!("{name}.attention.{part}");
            Linear::without_bias(&name, inputs, outputs).drawn(Initial::Normal(DEVIATION))
        };
        let own = |part: &str| project(&format!("self_attention.{part}"), hidden, width);
        let pairs = self.buckets.iter().map(|factor| factor / 2).sum();
        let attention = match kind {
            AttentionKind::Local => SelfAttention::Local { query: own("query"), key: own("key"), value: own("value") },
            AttentionKind::Lsh => SelfAttention::Lsh {
                query_key: own("query_key"),
                value: own("value"),
                directions: Parameter::new(
                    format!("{name}.attention.self_attention.directions"),
                    [self.heads, self.head_size, self.hashes, pairs],
                    Initial::Normal(1.0),
                ),
            },
        };
        Layer {
            attention_norm: norm("attention"),
            attention,
            attention_output: project("output.dense", width, hidden),
            feed_forward_norm: norm("feed_forward"),
            feed_forward: FeedForward {
                up: linear("dense", hidden, self.feed_forward),
                gate: None,
                down: linear("output", self.feed_forward, hidden),
                activation: self.activation,
            },
        }
    }

    fn places(&self) -> PlaceVectors {
        let name = "reformer.embeddings.position_embeddings";
        let drawn = |number: usize, shape: [usize; 3]| {
            Parameter::new(format!("{name}.weights.{number}"), shape, Initial::Normal(1.0))
        };
        match self.axial {
            None => {
                let table = [self.max_length, self.hidden];
                PlaceVectors::Table(Positions::new(PositionKind::Learned, &format!("{name}.embedding"), table, 0))
            }
            Some(Axial { shape: [rows, columns], sizes: [first, second] }) => {
                PlaceVectors::Axial([drawn(0, [rows, 1, first]), drawn(1, [1, columns, second])])
            }
        }
    }
}

impl PlaceVectors {
    fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Self::Table(positions) => positions.parameters().collect(),
            Self::Axial(tables) => tables.iter().collect(),
        }
    }
}

impl Layer {
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let projections = match &self.attention {
            SelfAttention::Local { query, key, value } => vec![query, key, value],
            SelfAttention::Lsh { query_key, value, .. } => vec![query_key, value],
        };
        let projections = projections.into_iter().chain([&self.attention_output]).flat_map(Linear::parameters);
        let feed_forward = self.feed_forward_norm.parameters().chain(self.feed_forward.parameters());
        self.attention_norm.parameters().chain(projections).chain(feed_forward)
    }
}

impl Reformer {
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
        let Config { vocabulary, hidden, epsilon, .. } = config;
        let mut words = Embedding::new("reformer.embeddings.word_embeddings", vocabulary, hidden);
        words.weight.initial = Initial::Normal(DEVIATION);
        let output = Linear::new("lm_head.decoder", 2 * hidden, vocabulary).drawn(Initial::Normal(DEVIATION));
        let layers = config.attention.iter().enumerate().map(|(number, kind)| config.layer(number, *kind));
        Ok(Arc::new(Self {
            words,
            places: config.places(),
            layers: layers.collect(),
            norm: LayerNorm::new("reformer.encoder.layer_norm", 2 * hidden, epsilon),
            output,
            directions: None,
            config,
        }))
    }

    /// The same model whose layers that hash do it by these directions, `[N, D, hashes, half the buckets]` each, from the first such layer
    /// on. A graph of it says what does not fit.
    pub fn hashing_by(&self, directions: Vec<Vec<f32>>) -> Arc<Self> {
        Arc::new(Self { directions: Some(directions), ..self.clone() })
    }
}

impl Architecture for Reformer {
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
        let tables = [&self.words.weight].into_iter().chain(self.places.parameters());
        let layers = self.layers.iter().flat_map(Layer::parameters);
        tables.chain(layers).chain(self.norm.parameters()).chain(self.output.parameters()).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(ReformerStepper::new(self, parameters, room)?))
    }

    fn counterpart(&self) -> Result<Counterpart> {
        hugging_face::counterpart(self)
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Reformer::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [_, vocabulary]: [usize; 2]) -> Result<Network> {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    let default = Config::new(vocabulary);
    let config = Config {
        hidden,
        head_size: hidden.div_ceil(default.heads),
        feed_forward: hidden.saturating_mul(4),
        attention: config::in_turn(layers),
        buckets: config::buckets(max_length, default.lsh_chunk),
        dropout,
        max_length: settings::padded(max_length),
        ..default
    };
    Ok(Reformer::new(options.apply(&config)?)?)
}
