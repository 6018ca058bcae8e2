//! Element by element, on one tensor or on two of the same shape.

use super::sigmoid;

/// What is computed for each element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pointwise {
    /// `a + b`.
    Add,
    /// `a * b`.
    Multiply,
    /// `a` times a number.
    Scale(f64),
    /// `tanh(a)`.
    Tanh,
    /// `1 / (1 + exp(-a))`.
    Sigmoid,
    /// `max(a, 0)`.
    Relu,
    /// `a Φ(a)`: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)" (2016), section 2.
    GeluErf,
    /// `a (1 + tanh(√(2/π) (a + 0.044715 a³))) / 2`, there.
    GeluTanh,
    /// `a / (1 + exp(-a))`.
    Swish,
}

/// The standard normal distribution function Φ.
fn normal(x: f64) -> f64 {
    let z = x.abs();
    // Around 0 a series of terms of one sign; in the tail a continued fraction from its far end on.
    let tail = if z < 3.0 {
        let terms = (1..200).scan(z, |term, n| {
            let this = *term;
            *term *= z * z / f64::from(2 * n + 1);
            Some(this)
        });
        0.5 - density(z) * terms.sum::<f64>()
    } else {
        density(z) / (1..200).rev().fold(z, |below, n| z + f64::from(n) / below)
    };
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The standard normal distribution's density.
fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// What the tanh of [`Pointwise::GeluTanh`] is of, and its derivative.
fn gelu_tanh(x: f64) -> (f64, f64) {
    let root = std::f64::consts::FRAC_2_PI.sqrt();
    (root * (x + 0.044715 * x.powi(3)), root * (1.0 + 3.0 * 0.044715 * x * x))
}

impl Pointwise {
    /// Whether there is a second operand.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Add | Self::Multiply)
    }

    fn check(self, a: &[f64], b: Option<&[f64]>) {
        assert_eq!(b.is_some(), self.is_binary(), "{self:?} takes {} operands", 1 + usize::from(self.is_binary()));
        assert!(b.is_none_or(|b| b.len() == a.len()), "{self:?} takes operands of the same shape");
    }

    /// The result in the shape of `a`; `b` is there for the binary operations, and only for them.
    pub fn forward(self, a: &[f64], b: Option<&[f64]>) -> Vec<f64> {
        self.check(a, b);
        let b = b.unwrap_or(a);
        let pairs = a.iter().zip(b);
        match self {
            Self::Add => pairs.map(|(a, b)| a + b).collect(),
            Self::Multiply => pairs.map(|(a, b)| a * b).collect(),
            Self::Scale(factor) => a.iter().map(|a| factor * a).collect(),
            Self::Tanh => a.iter().map(|a| a.tanh()).collect(),
            Self::Sigmoid => a.iter().map(|&a| sigmoid(a)).collect(),
            Self::Relu => a.iter().map(|a| a.max(0.0)).collect(),
            Self::GeluErf => a.iter().map(|&a| a * normal(a)).collect(),
            Self::GeluTanh => a.iter().map(|&a| 0.5 * a * (1.0 + gelu_tanh(a).0.tanh())).collect(),
            Self::Swish => a.iter().map(|&a| a * sigmoid(a)).collect(),
        }
    }

    /// The derivative of a function at `a`, where it is `y`.
    fn slope(self, a: f64, y: f64) -> f64 {
        match self {
            Self::Add | Self::Multiply => unreachable!("these are functions of two numbers"),
            Self::Scale(factor) => factor,
            Self::Tanh => 1.0 - y * y,
            Self::Sigmoid => y * (1.0 - y),
            Self::Relu => f64::from(u8::from(a > 0.0)),
            Self::GeluErf => normal(a) + a * density(a),
            Self::GeluTanh => {
                let (u, slope) = gelu_tanh(a);
                0.5 * (1.0 + u.tanh()) + 0.5 * a * (1.0 - u.tanh().powi(2)) * slope
            }
            Self::Swish => sigmoid(a) * (1.0 + a * (1.0 - sigmoid(a))),
        }
    }

    /// The gradients of `a` and, in a binary operation, of `b`, from d_y in the same shape.
    pub fn backward(self, a: &[f64], b: Option<&[f64]>, d_y: &[f64]) -> (Vec<f64>, Option<Vec<f64>>) {
        assert_eq!(d_y.len(), a.len(), "d_y has the shape of the operands");
        self.check(a, b);
        let times = |x: &[f64]| d_y.iter().zip(x).map(|(d, x)| d * x).collect::<Vec<f64>>();
        match (self, b) {
            (Self::Add, _) => (d_y.to_vec(), Some(d_y.to_vec())),
            (Self::Multiply, Some(b)) => (times(b), Some(times(a))),
            (Self::Multiply, None) => unreachable!("forward has checked the operands"),
            (function, _) => {
                let y = function.forward(a, None);
                (a.iter().zip(&y).zip(d_y).map(|((a, y), d)| d * function.slope(*a, *y)).collect(), None)
            }
        }
    }
}
