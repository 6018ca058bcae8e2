//! Element by element, on one tensor or on two of the same shape.

use super::sigmoid;

/// What is computed for each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointwise {
    /// `a + b`.
    Add,
    /// `a * b`.
    Multiply,
    /// `tanh(a)`.
    Tanh,
    /// `1 / (1 + exp(-a))`.
    Sigmoid,
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
            Self::Tanh => a.iter().map(|a| a.tanh()).collect(),
            Self::Sigmoid => a.iter().map(|&a| sigmoid(a)).collect(),
        }
    }

    /// The gradients of `a` and, in a binary operation, of `b`, from d_y in the same shape.
    pub fn backward(self, a: &[f64], b: Option<&[f64]>, d_y: &[f64]) -> (Vec<f64>, Option<Vec<f64>>) {
        assert_eq!(d_y.len(), a.len(), "d_y has the shape of the operands");
        let y = self.forward(a, b);
        let times = |x: &[f64]| d_y.iter().zip(x).map(|(d, x)| d * x).collect::<Vec<f64>>();
        match (self, b) {
            (Self::Add, _) => (d_y.to_vec(), Some(d_y.to_vec())),
            (Self::Multiply, Some(b)) => (times(b), Some(times(a))),
            (Self::Multiply, None) => unreachable!("forward has checked the operands"),
            (Self::Tanh, _) => (d_y.iter().zip(&y).map(|(d, y)| d * (1.0 - y * y)).collect(), None),
            (Self::Sigmoid, _) => (d_y.iter().zip(&y).map(|(d, y)| d * y * (1.0 - y)).collect(), None),
        }
    }
}
