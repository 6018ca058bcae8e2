//! Modules of PyTorch's one on the other: embeddings, GRUs, linear layers, normalisations and attention, under the names that its
//! `state_dict` has for them. Not trained here: read from one, applied, and written back.

mod config;
mod graph;
mod state_dict;

use std::sync::Arc;

use super::{
    Answers, Architecture, BatchShape, Embedding, Forward, GruCell, Habits, Initial, Kind, Layers, Limits, Linear,
    Network, Parameter, SearchRoom, Stepper, settings,
};
use crate::{
    Error, Result,
    graph::{Parameters, Value},
};

pub use config::{Config, Module};

/// The row of the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: "stack",
    in_files: config::IN_FILES,
    read,
    makes: &[],
    imports: &[],
    from_shapes: Some(state_dict::from_shapes),
    habits: Habits::RECURRENT,
};

/// The stack at its sizes: its layers from below.
#[derive(Clone, Debug)]
pub struct Stack {
    config: Config,
    layers: Vec<Layer>,
}

/// A module with its parameters.
#[derive(Clone, Debug)]
enum Layer {
    Embedding(Embedding),
    Gru {
        /// The cells of each layer, one for each direction.
        cells: Vec<Vec<GruCell>>,
        hidden: usize,
        bias: bool,
    },
    Linear(Linear),
    Norm {
        gain: Parameter,
        bias: Option<Parameter>,
        epsilon: f32,
    },
    Attention(Box<SelfAttention>),
}

/// An attention of rows to themselves.
#[derive(Clone, Debug)]
struct SelfAttention {
    /// To query, key and value side by side.
    projection: Linear,
    /// From the contexts of all heads.
    output: Linear,
    heads: usize,
}

fn linear(name: &str, inputs: usize, outputs: usize, bias: bool) -> Linear {
    if bias { Linear::new(name, inputs, outputs) } else { Linear::without_bias(name, inputs, outputs) }
}

impl Layer {
    fn new(module: &Module) -> Self {
        match *module {
            Module::Embedding { ref name, num_embeddings, embedding_dim } => {
                Self::Embedding(Embedding::new(name, num_embeddings, embedding_dim))
            }
            Module::Gru { ref name, input_size, hidden_size, num_layers, bidirectional, bias } => {
                let ways: &[&str] = if bidirectional { &["", "_reverse"] } else { &[""] };
                let layer = |number: usize| {
                    let input = if number == 0 { input_size } else { module.outputs() };
                    let cell = |way: &&str| GruCell::new(name, &format!("_l{number}{way}"), input, hidden_size);
                    ways.iter().map(cell).collect()
                };
                Self::Gru { cells: (0..num_layers).map(layer).collect(), hidden: hidden_size, bias }
            }
            Module::GruCell { ref name, input_size, hidden_size, bias } => {
                let cell = GruCell::new(name, "", input_size, hidden_size);
                Self::Gru { cells: vec![vec![cell]], hidden: hidden_size, bias }
            }
            Module::Linear { ref name, in_features, out_features, bias } => {
                Self::Linear(linear(name, in_features, out_features, bias))
            }
            Module::LayerNorm { ref name, normalized_shape: size, eps: epsilon, bias } => {
                let parameter =
                    |part: &str, value| Parameter::new(format!("{name}.{part}"), [size], Initial::Constant(value));
                Self::Norm { gain: parameter("weight", 1.0), bias: bias.then(|| parameter("bias", 0.0)), epsilon }
            }
            Module::MultiheadAttention { ref name, embed_dim, num_heads: heads, bias } => {
                let mut projection = linear(name, embed_dim, 3 * embed_dim, bias);
                projection.weight.name = format!("{name}.in_proj_weight");
                projection.bias.iter_mut().for_each(|bias| bias.name = format!("{name}.in_proj_bias"));
                let output = linear(&format!("{name}.out_proj"), embed_dim, embed_dim, bias);
                Self::Attention(Box::new(SelfAttention { projection, output, heads }))
            }
        }
    }

    fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Self::Embedding(table) => vec![&table.weight],
            Self::Gru { cells, bias, .. } => {
                let of_cell = |cell| GruCell::parameters(cell).take(if *bias { 4 } else { 2 });
                cells.iter().flatten().flat_map(of_cell).collect()
            }
            Self::Linear(linear) => linear.parameters().collect(),
            Self::Norm { gain, bias, .. } => [gain].into_iter().chain(bias).collect(),
            Self::Attention(attention) => {
                attention.projection.parameters().chain(attention.output.parameters()).collect()
            }
        }
    }
}

impl Stack {
    /// A stack of the given modules, in an [`Arc`] to be shared.
    ///
    /// # Errors
    /// [`Error::Data`] naming a module or a field of it that makes no stack.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        Self::from_settings(config, "config")
    }

    /// The same; `path` names the file or option in errors.
    fn from_settings(config: Config, path: &str) -> Result<Arc<Self>> {
        config.check(path)?;
        Ok(Arc::new(Self { layers: config.layers.iter().map(Layer::new).collect(), config }))
    }
}

impl Architecture for Stack {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn config(&self) -> Result<String> {
        settings::write(&self.config)
    }

    fn limits(&self) -> Limits {
        let (vocabulary, &Config { max_length, specials, .. }) = (self.config.vocabulary(), &self.config);
        Limits {
            source_vocabulary: vocabulary,
            target_vocabulary: vocabulary,
            max_length,
            specials,
            padding: specials.pad,
        }
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.layers.iter().flat_map(Layer::parameters).cloned().collect()
    }

    fn forward(&self, _: &mut Layers, _: BatchShape) -> Result<Forward> {
        Err(Error::data(KIND.name, "learns and answers nothing here: what it gives are the states of a source"))
    }

    fn stepper(&self, _: &Parameters, _: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Err(Error::data(KIND.name, "writes no text: what it gives are the states of a source"))
    }

    /// Of a stack that begins with no embedding the input is `features`, `[B, S, I]`, in place of tokens.
    fn states(&self, layers: &mut Layers, shape: BatchShape) -> Result<Value> {
        self.of_inputs(layers, shape)
    }

    fn answers(&self) -> Answers {
        Answers::None
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Stack::from_settings(settings::read(text, path)?, path)?)
}
