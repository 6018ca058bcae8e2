//! Differentiable graphs of typed static shapes, compiled once into a [`Program`] and replayed.
//!
//! A [`Graph`] is a list of nodes in the order in which they will run. Every method that adds one checks its arguments and
//! names the operation, the argument, what was wanted and what it got. [`Graph::gradients`] appends the nodes of the backward
//! pass to the same list, so that one plan covers both.
//!
//! A graph has a precision, f32 or f16: what activations are stored in, with their gradients. Parameters, their gradients, losses
//! and whatever else a sum has made are f32 in either. A value that is made of activations alone has their type.

mod additive_attention;
mod additive_score;
mod alignment_loss;
mod attention_weights;
mod attentional_decoder;
mod batched_matmul;
mod concatenate;
mod conv1d;
mod coverage_loss;
mod cross_entropy;
mod dot_product_attention;
mod dropout;
mod embedding;
mod glu;
mod gradient;
mod gru;
mod layer_norm;
mod length_mask;
mod listed_rows;
mod local_attention;
mod lsh_attention;
mod matmul;
mod operands;
mod parameters;
mod permute;
mod placed;
mod plan;
mod pointwise;
mod pool;
mod positions;
mod program;
mod programs;
mod reduction;
mod relative_attention;
mod relative_position_bias;
mod reshape;
mod reversible;
mod select;
mod slice;
mod sliding_window_attention;
mod softmax;
mod span_attention;
mod stop_gradient;

use std::{fmt, sync::Arc};

pub use attentional_decoder::{DecoderInputs, DecoderOutputs};
pub use cross_entropy::Targets;
pub use dot_product_attention::{Attended, Columns, MultiHeadAttention};
pub use gru::{GruInput, GruWeights};
pub use local_attention::Alignment;
pub use lsh_attention::{Buckets, ChunkedAttention};
pub use matmul::Epilogue;
pub use parameters::Parameters;
pub use placed::{Placed, ProgramOptions};
pub use plan::MemoryReport;
pub use pool::Pool;
pub use program::{Finish, Piece, Program};
pub use programs::Programs;
pub use relative_attention::RelativeQueries;
pub use reversible::Beginning;
pub use sliding_window_attention::Window;
pub use span_attention::SpanQueries;

use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Shape, Tensor},
    kernels::embedding::Embedding,
};

/// A tensor of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(usize);

/// A kind of node: how it is recorded, and which nodes compute its gradient.
pub trait Operation: fmt::Debug + Send + Sync {
    /// The operation's name, as in the table of kernels.
    fn name(&self) -> &'static str;

    /// Records the kernels that compute `outputs` from `inputs`.
    ///
    /// # Errors
    /// The errors of the kernels: operands that do not fit, or sizes past the adapter's limits.
    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()>;

    /// Appends the nodes that turn the gradients of the outputs (`None`: nothing depends on it) into those of the inputs
    /// (`None`: it has none, such as tokens and lengths).
    ///
    /// # Errors
    /// An operation without a gradient says so: a gradient is never dropped silently.
    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[Value],
        outputs: &[Value],
        upstream: &[Option<Value>],
    ) -> Result<Vec<Option<Value>>> {
        let _ = (graph, inputs, outputs, upstream);
        Err(Error::Shape {
            operation: self.name(),
            argument: "gradient",
            wanted: "an operation that can be differentiated".into(),
            got: "one that has no derivative here".into(),
        })
    }

    /// The output that begins as an input, if there is one.
    fn in_place(&self) -> Option<InPlace> {
        None
    }

    /// The outputs that may lie in others. One that is kept, or cannot begin there, has memory of its own: recording copies it there.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// The operation that adds its one output to a further input, its last, whose memory it takes over; if there is one.
    fn adding(&self) -> Option<Arc<dyn Operation>> {
        None
    }

    /// Of an operation whose first output `[B, S, ..]` is 0 past the lengths of its rows: the input that these are.
    fn zero_past(&self) -> Option<usize> {
        None
    }

    /// Whether the outputs are decisions, which a backward pass takes as they are where it makes activations again.
    fn decides(&self) -> bool {
        false
    }
}

/// An output that begins as an input: it has that one's memory, or a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InPlace {
    /// The number of the input.
    pub input: usize,
    /// The number of the output.
    pub output: usize,
    /// The element of the output at which the input begins.
    pub offset: usize,
    /// Whether the kernels leave the input's elements as they are, so that later ones may read it.
    pub keeps: bool,
}

impl InPlace {
    /// The first output over all of an input, which is overwritten.
    pub fn over(input: usize) -> Self {
        Self { input, output: 0, offset: 0, keeps: false }
    }

    /// The first output as another name of an input's elements.
    pub fn same(input: usize) -> Self {
        Self { keeps: true, ..Self::over(input) }
    }
}

/// An output that is a part of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub output: usize,
    /// That of the whole, which is no part itself.
    pub of: usize,
    /// The element of the whole at which it begins.
    pub offset: usize,
}

/// The tensors with which an operation is recorded.
#[derive(Debug)]
pub struct Context<'a> {
    /// The inputs, in order.
    pub inputs: &'a [Tensor],
    /// The outputs, in order; scratch included.
    pub outputs: &'a [Tensor],
    /// For each output, whether anything reads it: what it holds otherwise has no say.
    pub read: &'a [bool],
    /// The [`crate::kernels::Step`] buffer.
    pub step: &'a Tensor,
}

/// The origin of a value.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    Input(String),
    Parameter(String),
    Filled(f32),
    Constant(Vec<f32>),
    /// The order of an input's tokens, which is made when that is written.
    Order {
        tokens: Value,
        embedding: Embedding,
    },
    Node,
}

#[derive(Debug, PartialEq)]
struct Info {
    shape: Shape,
    dtype: Dtype,
    source: Source,
}

impl Info {
    /// The values of a constant; of another source there are none.
    fn constant(&self) -> Vec<f32> {
        match &self.source {
            Source::Filled(value) => vec![*value; self.shape.elements()],
            Source::Constant(values) => values.clone(),
            Source::Input(_) | Source::Parameter(_) | Source::Order { .. } | Source::Node => Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Node {
    operation: Arc<dyn Operation>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

/// The sum `y = x + f(z)` of [`Graph::reversible_add`].
#[derive(Clone, Copy, Debug)]
struct Reversible {
    /// The first node of f. Its last one is before that of the sum.
    first: usize,
    /// The node of the sum.
    last: usize,
    x: Value,
    z: Value,
    made: Value,
    y: Value,
}

/// Nodes in the order in which they will run.
#[derive(Debug, Default)]
pub struct Graph {
    values: Vec<Info>,
    nodes: Vec<Node>,
    /// In the order of their nodes.
    reversible: Vec<Reversible>,
    precision: Dtype,
}

impl Graph {
    /// An empty graph, whose activations are f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph, whose activations are f32 or, on an adapter that has it, f16.
    pub fn with_precision(precision: Dtype) -> Self {
        Self { precision, ..Self::default() }
    }

    /// The type in which activations are stored.
    pub fn precision(&self) -> Dtype {
        self.precision
    }

    /// A tensor that is written before each run; one of the same name, shape and type that there is already is that one.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>, dtype: Dtype) -> Value {
        self.once(Info { shape: shape.into(), dtype, source: Source::Input(name.into()) })
    }

    /// The [`Embedding::order`] of `tokens`, an input or a constant.
    ///
    /// # Errors
    /// [`Error::Shape`] for tokens that a node makes: the host puts them in order.
    fn order_of(&mut self, tokens: Value, embedding: Embedding) -> Result<Value> {
        // The order is that of any rows.
        let embedding = Embedding { size: 1, padding: None, ..embedding };
        match &self.values[tokens.0].source {
            Source::Input(_) => {
                let source = Source::Order { tokens, embedding };
                Ok(self.once(Info { shape: [embedding.order_length()].into(), dtype: Dtype::U32, source }))
            }
            Source::Filled(_) | Source::Constant(_) => {
                let tokens: Vec<u32> = self.values[tokens.0].constant().into_iter().map(f32::to_bits).collect();
                self.numbers([embedding.order_length()], embedding.order(&tokens)?)
            }
            Source::Parameter(_) | Source::Order { .. } | Source::Node => Err(Error::Shape {
                operation: "embedding",
                argument: "tokens",
                wanted: "an input or a constant, where the table is to have a gradient".into(),
                got: "what a node makes".into(),
            }),
        }
    }

    /// A value that is there once.
    fn once(&mut self, info: Info) -> Value {
        match self.values.iter().position(|value| *value == info) {
            Some(place) => Value(place),
            None => self.value(info.shape, info.dtype, info.source),
        }
    }

    /// A trainable tensor, found by its name in the [`Parameters`] that the graph is compiled with.
    pub fn parameter(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Value {
        self.value(shape.into(), Dtype::F32, Source::Parameter(name.into()))
    }

    /// A constant tensor, in the graph's precision.
    pub fn filled(&mut self, shape: impl Into<Shape>, value: f32) -> Value {
        self.filled_as(shape, self.precision, value)
    }

    /// A constant tensor of given values, f32, in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many as the shape has elements.
    pub fn constant(&mut self, shape: impl Into<Shape>, values: Vec<f32>) -> Result<Value> {
        let shape = shape.into();
        if shape.elements() != values.len() {
            let (wanted, got) = (format!("{} values for {shape}", shape.elements()), values.len().to_string());
            return Err(Error::Shape { operation: "constant", argument: "values", wanted, got });
        }
        Ok(self.value(shape, Dtype::F32, Source::Constant(values)))
    }

    /// The same in the graph's precision, as activations are.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many as the shape has elements.
    pub fn constant_activations(&mut self, shape: impl Into<Shape>, values: Vec<f32>) -> Result<Value> {
        let value = self.constant(shape, values)?;
        self.values[value.0].dtype = self.precision;
        Ok(value)
    }

    /// A constant tensor of given whole numbers, in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many as the shape has elements.
    pub fn numbers(&mut self, shape: impl Into<Shape>, values: Vec<u32>) -> Result<Value> {
        let value = self.constant(shape, values.into_iter().map(f32::from_bits).collect())?;
        self.values[value.0].dtype = Dtype::U32;
        Ok(value)
    }

    /// Zeros of the shape and type of another value.
    fn zeros_like(&mut self, value: Value) -> Value {
        let (shape, dtype) = self.like(value);
        self.filled_as(shape, dtype, 0.0)
    }

    /// A constant tensor of one whole number, such as lengths that are all the same.
    pub fn counts(&mut self, shape: impl Into<Shape>, value: u32) -> Value {
        self.filled_as(shape, Dtype::U32, f32::from_bits(value))
    }

    /// A constant; for whole numbers, `value` has their bits.
    fn filled_as(&mut self, shape: impl Into<Shape>, dtype: Dtype, value: f32) -> Value {
        self.value(shape.into(), dtype, Source::Filled(value))
    }

    /// Appends a node of any operation, one's own included; `outputs` are the shapes of its outputs, all in the graph's precision.
    pub fn push(
        &mut self,
        operation: impl Operation + 'static,
        inputs: &[Value],
        outputs: impl IntoIterator<Item = Shape>,
    ) -> Vec<Value> {
        let precision = self.precision;
        self.push_as(operation, inputs, outputs.into_iter().map(|shape| (shape, precision)))
    }

    /// Appends a node with a shape and a type for each output; scratch is f32.
    pub fn push_as(
        &mut self,
        operation: impl Operation + 'static,
        inputs: &[Value],
        outputs: impl IntoIterator<Item = (Shape, Dtype)>,
    ) -> Vec<Value> {
        let outputs: Vec<_> =
            outputs.into_iter().map(|(shape, dtype)| self.value(shape, dtype, Source::Node)).collect();
        let node = Node { operation: Arc::new(operation), inputs: inputs.to_vec(), outputs: outputs.clone() };
        self.nodes.push(node);
        outputs
    }

    /// Appends a node with one output, in the graph's precision.
    pub fn push_one(
        &mut self,
        operation: impl Operation + 'static,
        inputs: &[Value],
        output: impl Into<Shape>,
    ) -> Value {
        self.push(operation, inputs, [output.into()])[0]
    }

    /// Appends a node with one output of the shape and type of `like`: a gradient, or the result of a pointwise operation.
    pub fn push_like(&mut self, operation: impl Operation + 'static, inputs: &[Value], like: Value) -> Value {
        let output = (self.shape(like).clone(), self.dtype(like));
        self.push_as(operation, inputs, [output])[0]
    }

    /// What the nodes make, scratch too.
    #[cfg(feature = "validate")]
    pub(crate) fn made(&self) -> Vec<Value> {
        self.nodes.iter().flat_map(|node| node.outputs.iter().copied()).collect()
    }

    /// Another value of the shape and type of one that a node makes.
    fn another(&mut self, value: Value) -> Value {
        let (shape, dtype) = self.like(value);
        self.value(shape, dtype, Source::Node)
    }

    /// The shape and type of a value.
    fn like(&self, value: Value) -> (Shape, Dtype) {
        (self.shape(value).clone(), self.dtype(value))
    }

    /// The type of a value's elements.
    pub fn dtype(&self, value: Value) -> Dtype {
        self.values[value.0].dtype
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.values[value.0].shape
    }

    /// The extents of a value.
    pub fn dims(&self, value: Value) -> &[usize] {
        self.shape(value).dims()
    }

    fn value(&mut self, shape: Shape, dtype: Dtype, source: Source) -> Value {
        self.values.push(Info { shape, dtype, source });
        Value(self.values.len() - 1)
    }

    /// Checks one argument that is an activation, f32 or f16; `None` stands for any extent.
    fn expect_float<const N: usize>(
        &self,
        operation: &'static str,
        argument: &'static str,
        value: Value,
        wanted: [Option<usize>; N],
    ) -> Result<[usize; N]> {
        let half = self.dtype(value) == Dtype::F16;
        self.expect(operation, argument, value, if half { Dtype::F16 } else { Dtype::F32 }, wanted)
    }

    /// Checks one argument of an operation; `None` stands for any extent.
    fn expect<const N: usize>(
        &self,
        operation: &'static str,
        argument: &'static str,
        value: Value,
        dtype: Dtype,
        wanted: [Option<usize>; N],
    ) -> Result<[usize; N]> {
        let info = &self.values[value.0];
        let fits = <[usize; N]>::try_from(info.shape.dims())
            .ok()
            .filter(|dims| {
                dims.iter().zip(wanted).all(|(dim, wanted)| *dim > 0 && wanted.is_none_or(|size| size == *dim))
            })
            .filter(|_| info.dtype == dtype);
        fits.ok_or_else(|| {
            let dims: Vec<_> = wanted.iter().map(|size| size.map_or("_".into(), |size| size.to_string())).collect();
            Error::Shape {
                operation,
                argument,
                wanted: format!("{dtype} [{}]", dims.join(", ")),
                got: format!("{} {}", info.dtype, info.shape),
            }
        })
    }
}
