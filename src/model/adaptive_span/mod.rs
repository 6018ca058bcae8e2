//! A decoder alone whose heads learn how far back they see: Sukhbaatar, Grave, Bojanowski and Joulin, "Adaptive Attention Span in
//! Transformers" (2019). Positions are known by the vectors of their distances alone (section 2.1), each head's mask ends at a span that
//! is learnt and penalised (section 2.2), and each layer sees its own inputs before a segment as constants.

mod config;
mod graph;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Embedding, FeedForward, Forward, Habits, HeadSizes, Initial, Kind, LayerNorm, Layers,
    Learns, Limits, Linear, ModelOptions, MultiHeadAttention, Network, Nonlinearity, NormOrder, Parameter, Residual,
    SearchRoom, Stepper, settings,
};
use crate::{Result, graph::Parameters, graph::Value};

pub use config::Config;
pub use graph::Weighed;
use step::AdaptiveSpanStepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "adaptive-span",
    in_files: config::IN_FILES,
    read,
    makes: &[(Learns::Text, make)],
    imports: &[],
    from_shapes: None,
    habits: Habits::PARALLEL,
};

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct AdaptiveSpan {
    config: Config,
    words: Embedding,
    /// The vector of each distance from 1 on, `[S, D / N]`, which heads and layers share.
    positions: Parameter,
    layers: Vec<Layer>,
    output: Linear,
}

/// Attention to what is before a position, then a feed-forward part.
#[derive(Clone, Debug)]
struct Layer {
    /// Each head's span, in steps, `[N]`.
    spans: Parameter,
    attention: MultiHeadAttention,
    attention_residual: Residual,
    feed_forward: FeedForward,
    feed_forward_residual: Residual,
}

impl Config {
    fn layer(&self, number: usize) -> Layer {
        let name = |part: &str| format!("layers.{number}.{part}");
        let (hidden, between) = (self.hidden, self.feed_forward);
        let projection = |part: &str| Linear::without_bias(&name(part), hidden, hidden);
        let residual =
            |part: &str| Residual { norm: LayerNorm::new(&name(part), hidden, self.epsilon), order: NormOrder::Post };
        Layer {
            spans: Parameter {
                bounds: Some([0.0, self.span_limit as f32]),
                ..Parameter::new(name("span"), [self.heads], Initial::Constant(0.0))
            },
            attention: MultiHeadAttention {
                query: projection("query"),
                key: projection("key"),
                value: projection("value"),
                output: projection("out"),
                heads: HeadSizes::sharing(hidden, self.heads),
            },
            attention_residual: residual("norm1"),
            feed_forward: FeedForward {
                up: Linear::new(&name("fc1"), hidden, between),
                gate: None,
                down: Linear::new(&name("fc2"), between, hidden),
                activation: Nonlinearity::Relu,
            },
            feed_forward_residual: residual("norm2"),
        }
    }
}

impl Layer {
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let MultiHeadAttention { query, key, value, output, .. } = &self.attention;
        let attention = [query, key, value, output].into_iter().flat_map(Linear::parameters);
        let norms = [&self.attention_residual, &self.feed_forward_residual];
        let norms = norms.into_iter().flat_map(|residual| residual.norm.parameters());
        [&self.spans].into_iter().chain(attention).chain(norms).chain(self.feed_forward.parameters())
    }
}

impl AdaptiveSpan {
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
        let Config { vocabulary, hidden, heads, span_limit, .. } = config;
        let vectors = [span_limit, hidden / heads];
        Ok(Arc::new(Self {
            words: Embedding::new("embedding", vocabulary, hidden),
            positions: Parameter::new("position.weight", vectors, Initial::Normal(1.0)),
            layers: (0..config.layers).map(|number| config.layer(number)).collect(),
            output: Linear::new("output", hidden, vocabulary),
            config,
        }))
    }
}

impl Architecture for AdaptiveSpan {
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
        [&self.words.weight, &self.positions]
            .into_iter()
            .chain(layers)
            .chain(self.output.parameters())
            .cloned()
            .collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn penalty(&self, layers: &mut Layers) -> Result<Option<Value>> {
        self.penalty_of_spans(layers)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(AdaptiveSpanStepper::new(self, parameters, room)?))
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(AdaptiveSpan::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [_, vocabulary]: [usize; 2]) -> Result<Network> {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    let feed_forward = hidden.saturating_mul(4);
    let config = Config { hidden, feed_forward, layers, dropout, max_length, ..Config::new(vocabulary) };
    Ok(AdaptiveSpan::new(options.apply(&config)?)?)
}
