//! A decoder alone, which predicts each token from those before it: Radford et al., "Language Models are Unsupervised Multitask
//! Learners" (2019), section 2.3. Parameters have the names and layouts of Hugging Face's.

mod config;
mod graph;
mod hugging_face;
mod step;

use std::sync::Arc;

use super::{
    Architecture, BatchShape, Counterpart, Embedding, FeedForward, Forward, Habits, Initial, Kind, LayerNorm, Layers,
    Learns, Limits, Linear, ModelOptions, Network, NormOrder, Parameter, PositionKind, Positions, Residual, SearchRoom,
    Stepper, settings,
};
use crate::{Result, graph::Parameters};

pub use config::Config;
use step::Gpt2Stepper;

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "gpt2",
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
pub struct Gpt2 {
    config: Config,
    words: Embedding,
    positions: Positions,
    layers: Vec<Layer>,
    norm: LayerNorm,
    /// Its weight is the table of words.
    output: Linear,
}

/// Attention to what is before a position, then a feed-forward part.
#[derive(Clone, Debug)]
struct Layer {
    /// To query, key and value side by side.
    projection: Linear,
    /// From the contexts of all heads.
    output: Linear,
    attention_residual: Residual,
    feed_forward: FeedForward,
    feed_forward_residual: Residual,
}

impl Config {
    fn layer(&self, number: usize) -> Layer {
        let name = format!("transformer.h.{number}");
        let (hidden, between) = (self.hidden, self.feed_forward);
        let linear = |part: &str, inputs, outputs| {
            Linear::by_inputs(&format!("{name}.{part}"), inputs, outputs).drawn(Initial::Normal(DEVIATION))
        };
        // A layer adds two results to what passes it by, which would grow with the number of layers.
        let onto_residual = Initial::Normal(DEVIATION / (2.0 * self.layers as f32).sqrt());
        let residual = |part: &str| Residual {
            norm: LayerNorm::new(&format!("{name}.{part}"), hidden, self.epsilon),
            order: NormOrder::Pre,
        };
        Layer {
            projection: linear("attn.c_attn", hidden, 3 * hidden),
            output: linear("attn.c_proj", hidden, hidden).drawn(onto_residual),
            attention_residual: residual("ln_1"),
            feed_forward: FeedForward {
                up: linear("mlp.c_fc", hidden, between),
                gate: None,
                down: linear("mlp.c_proj", between, hidden).drawn(onto_residual),
                activation: self.activation,
            },
            feed_forward_residual: residual("ln_2"),
        }
    }
}

impl Layer {
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let attention = self.projection.parameters().chain(self.output.parameters());
        let feed_forward = self.feed_forward_residual.norm.parameters().chain(self.feed_forward.parameters());
        self.attention_residual.norm.parameters().chain(attention).chain(feed_forward)
    }
}

impl Gpt2 {
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
        let Config { vocabulary, hidden, max_length, epsilon, .. } = config;
        let words = Parameter {
            aliases: vec!["lm_head.weight".into()],
            ..Parameter::new("transformer.wte.weight", [vocabulary, hidden], Initial::Normal(DEVIATION))
        };
        let mut output = Linear::without_bias("lm_head", hidden, vocabulary);
        output.weight = words.clone();
        Ok(Arc::new(Self {
            output,
            words: Embedding { weight: words },
            positions: Positions::new(PositionKind::Learned, "transformer.wpe", [max_length, hidden], 0),
            layers: (0..config.layers).map(|number| config.layer(number)).collect(),
            norm: LayerNorm::new("transformer.ln_f", hidden, epsilon),
            config,
        }))
    }
}

impl Architecture for Gpt2 {
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
        let tables = [&self.words.weight].into_iter().chain(self.positions.parameters());
        let layers = self.layers.iter().flat_map(Layer::parameters);
        tables.chain(layers).chain(self.norm.parameters()).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.teacher_forced(layers, shape)
    }

    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Ok(Box::new(Gpt2Stepper::new(self, parameters, room)?))
    }

    fn counterpart(&self) -> Result<Counterpart> {
        hugging_face::counterpart(self)
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Gpt2::from_settings(settings::read(text, path)?, path)?)
}

fn make(options: &ModelOptions, [_, vocabulary]: [usize; 2]) -> Result<Network> {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    let feed_forward = hidden.saturating_mul(4);
    let config = Config { hidden, feed_forward, layers, dropout, ..Config::new(vocabulary) };
    // Batches are padded to even lengths, and every place needs a row.
    let max_length = max_length.checked_next_multiple_of(2).unwrap_or(max_length);
    Ok(Gpt2::new(options.apply(&Config { max_length, ..config })?)?)
}
