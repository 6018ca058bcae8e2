//! Element by element, on one tensor or on two of the same shape: sum and product; a multiple, tanh, logistic function, and the gates
//! between the layers of a feed-forward network.

use super::{expect::expect_of, forms, library::shader};
use crate::{
    Error, Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static POINTWISE: Shader = shader!("pointwise", specialisations);
pub(super) static POINTWISE_BACKWARD: Shader = shader!("pointwise_backward", specialisations);

/// What is computed for each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `a + b`.
    Add,
    /// `a * b`.
    Multiply,
    /// `a` times a number.
    Scale(f32),
    /// `tanh(a)`.
    Tanh,
    /// `1 / (1 + exp(-a))`.
    Sigmoid,
    /// `max(a, 0)`; what is not finite stays.
    Relu,
    /// `a · Φ(a)`, Φ being the standard normal distribution function (Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)",
    /// 2016, section 2).
    Gelu(Gelu),
    /// `a / (1 + exp(-a))`, which is called SiLU too (Hendrycks and Gimpel 2016, section 2; Ramachandran, Zoph and Le, "Searching
    /// for Activation Functions", 2017, section 4).
    Swish,
}

/// The forms of GELU, which differ by up to 5e-4: a model needs that with which it was trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gelu {
    /// Φ itself, which is `(1 + erf(a / √2)) / 2`.
    Erf,
    /// `(1 + tanh(√(2/π) · (a + 0.044715 a³))) / 2` in place of Φ.
    Tanh,
}

/// Every operation.
const ALL: [Pointwise; 9] = [
    Pointwise::Add,
    Pointwise::Multiply,
    Pointwise::Scale(1.0),
    Pointwise::Tanh,
    Pointwise::Sigmoid,
    Pointwise::Relu,
    Pointwise::Gelu(Gelu::Erf),
    Pointwise::Gelu(Gelu::Tanh),
    Pointwise::Swish,
];

/// The inputs of [`Pointwise::record_backward`]: all of the same number of elements and one type.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// The first operand.
    pub a: &'a Tensor,
    /// The second one, of a binary operation.
    pub b: Option<&'a Tensor>,
    /// The forward pass's result.
    pub y: &'a Tensor,
    /// Its gradient.
    pub d_y: &'a Tensor,
}

/// The outputs of [`Pointwise::record_backward`].
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// Of the first operand.
    pub a: &'a Tensor,
    /// Of the second one, of a binary operation.
    pub b: Option<&'a Tensor>,
}

impl Pointwise {
    /// Whether there is a second operand.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Add | Self::Multiply)
    }

    fn define(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Multiply => "MULTIPLY",
            Self::Scale(_) => "SCALE",
            Self::Tanh => "TANH",
            Self::Sigmoid => "SIGMOID",
            Self::Relu => "RELU",
            Self::Gelu(Gelu::Erf) => "GELU_ERF",
            Self::Gelu(Gelu::Tanh) => "GELU_TANH",
            Self::Swish => "SWISH",
        }
    }

    /// Whether the derivative of a function is told from its operand: that of the others follows from their result, which later
    /// nodes keep anyway.
    pub fn needs_operand(self) -> bool {
        matches!(self, Self::Gelu(_) | Self::Swish)
    }

    fn specialisation(self, tiles: &Tiles, dtype: Dtype) -> Specialisation {
        forms::workgroup(tiles).define(self.define()).element(dtype)
    }

    /// Operations and bytes of the forward pass over `elements`.
    pub fn cost(self, elements: usize, dtype: Dtype) -> Cost {
        let (elements, bytes) = (elements as f64, elements as f64 * dtype.bytes() as f64);
        // tanh: nine fused multiply-adds and a product around its division. Φ: a polynomial of degree 7 around an exponential.
        let (operations, transcendental) = match self {
            Self::Add | Self::Multiply | Self::Scale(_) | Self::Relu => (1.0, 0.0),
            Self::Tanh => (20.0, 1.0),
            Self::Sigmoid => (2.0, 2.0),
            Self::Gelu(Gelu::Erf) => (22.0, 2.0),
            Self::Gelu(Gelu::Tanh) => (8.0, 2.0),
            Self::Swish => (3.0, 2.0),
        };
        Cost {
            operations: operations * elements,
            transcendental: transcendental * elements,
            read: if self.is_binary() { 2.0 * bytes } else { bytes },
            written: bytes,
        }
    }

    /// Operations and bytes of the gradient of one operand of `elements`.
    pub fn backward_cost(self, elements: usize, dtype: Dtype) -> Cost {
        let (elements, bytes) = (elements as f64, elements as f64 * dtype.bytes() as f64);
        let (operations, transcendental, reads) = match self {
            Self::Add => (0.0, 0.0, 1.0),
            Self::Scale(_) => (1.0, 0.0, 1.0),
            Self::Multiply | Self::Relu => (1.0, 0.0, 2.0),
            Self::Tanh | Self::Sigmoid => (3.0, 0.0, 2.0),
            Self::Gelu(Gelu::Erf) => (25.0, 2.0, 2.0),
            Self::Gelu(Gelu::Tanh) => (18.0, 2.0, 2.0),
            Self::Swish => (9.0, 2.0, 2.0),
        };
        Cost {
            operations: operations * elements,
            transcendental: transcendental * elements,
            read: reads * bytes,
            written: bytes,
        }
    }

    fn factor(self) -> f32 {
        if let Self::Scale(factor) = self { factor } else { 1.0 }
    }

    fn check_operands(self, second: bool) -> Result<()> {
        if second == self.is_binary() {
            return Ok(());
        }
        Err(Error::Shape {
            operation: "pointwise",
            argument: "b",
            wanted: format!("{} operands for {self:?}", 1 + usize::from(self.is_binary())),
            got: (1 + usize::from(second)).to_string(),
        })
    }

    fn dispatch(self, recorder: &mut Recorder, kernel: &'static Shader, tensors: &[&Tensor], cost: Cost) -> Result<()> {
        let (elements, dtype, tiles) = (tensors[0].elements(), tensors[0].dtype(), *recorder.gpu().tiles());
        recorder.launch(&Launch {
            kernel,
            specialisation: self.specialisation(&tiles, dtype),
            params: &[elements as u32, self.factor().to_bits()],
            tensors,
            workgroups: grid(elements.div_ceil(4 * tiles.workgroup as usize)),
            cost,
        })
    }

    /// Records y from a and, for the binary operations, b: all of the same number of elements and one type.
    ///
    /// # Errors
    /// [`Error::Shape`] if they are not, or if b is missing or superfluous, and what [`Recorder::dispatch`] reports.
    pub fn record(self, recorder: &mut Recorder, a: &Tensor, b: Option<&Tensor>, y: &Tensor) -> Result<()> {
        self.check_operands(b.is_some())?;
        let b = b.unwrap_or(a);
        for (argument, tensor) in [("a", a), ("b", b), ("y", y)] {
            expect_of(y.dtype(), "pointwise", argument, tensor, y.shape().dims())?;
        }
        self.dispatch(recorder, &POINTWISE, &[a, b, y], self.cost(y.elements(), y.dtype()))
    }

    /// Records the gradients.
    ///
    /// # Errors
    /// As [`Pointwise::record`].
    pub fn record_backward(
        self,
        recorder: &mut Recorder,
        backward: &Backward<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Backward { a, b, y, d_y } = *backward;
        let Gradients { a: d_a, b: d_b } = *gradients;
        self.check_operands(b.is_some())?;
        self.check_operands(d_b.is_some())?;
        let (b, cost) = (b.unwrap_or(a), self.backward_cost(y.elements(), y.dtype()));
        let shape = y.shape().dims();
        for (argument, tensor) in [("a", a), ("b", b), ("d_y", d_y), ("d_a", d_a), ("d_b", d_b.unwrap_or(d_a))] {
            expect_of(y.dtype(), "pointwise", argument, tensor, shape)?;
        }
        let (for_a, for_b) = match self {
            Self::Add | Self::Scale(_) => (d_y, d_y),
            Self::Multiply => (b, a),
            Self::Tanh | Self::Sigmoid | Self::Relu => (y, y),
            Self::Gelu(_) | Self::Swish => (a, a),
        };
        self.dispatch(recorder, &POINTWISE_BACKWARD, &[for_a, d_y, d_a], cost)?;
        match d_b {
            Some(d_b) => self.dispatch(recorder, &POINTWISE_BACKWARD, &[for_b, d_y, d_b], cost),
            None => Ok(()),
        }
    }
}

fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| ALL.map(|pointwise| pointwise.specialisation(tiles, dtype))).concat()
}
