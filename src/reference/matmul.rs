//! Batched matrix product with bias and activation: every linear layer, and the products of their backward passes.

use super::{Real, expect_shape, sigmoid};

/// What is applied to each element of the product after the bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

impl Activation {
    /// The activation of `x`.
    pub fn forward<R: Real>(self, x: R) -> R {
        match self {
            Self::None => x,
            Self::Tanh => x.tanh(),
            Self::Sigmoid => sigmoid(x),
        }
    }

    /// The derivative, in terms of the activation's own value `y`: that is what a kernel has at hand.
    pub fn derivative<R: Real>(self, y: R) -> R {
        match self {
            Self::None => R::from(1.0),
            Self::Tanh => R::from(1.0) - y * y,
            Self::Sigmoid => y * (R::from(1.0) - y),
        }
    }
}

/// `C[b] = activation(op(A[b]) · op(B[b]) + bias)`, where `op` transposes or not.
///
/// | tensor | shape | transposed |
/// |---|---|---|
/// | A | `[batch, M, K]` | `[batch, K, M]` |
/// | B | `[batch, K, N]` | `[batch, N, K]` |
/// | bias | `[N]`, shared by the batch | |
/// | C | `[batch, M, N]` | |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matmul {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Length of the sums.
    pub k: usize,
    /// Independent products.
    pub batch: usize,
    /// A is stored as `[batch, K, M]`.
    pub transpose_a: bool,
    /// B is stored as `[batch, N, K]`.
    pub transpose_b: bool,
    /// Applied after the bias.
    pub activation: Activation,
}

/// Gradients of [`Matmul`], each in the shape of its operand.
#[derive(Clone, Debug, PartialEq)]
pub struct MatmulGradients<R = f64> {
    /// Of A.
    pub a: Vec<R>,
    /// Of B.
    pub b: Vec<R>,
    /// Of the bias `[N]`, where there was one.
    pub bias: Option<Vec<R>>,
}

impl Matmul {
    fn index_a(&self, batch: usize, row: usize, inner: usize) -> usize {
        let within = if self.transpose_a { inner * self.m + row } else { row * self.k + inner };
        batch * self.m * self.k + within
    }

    fn index_b(&self, batch: usize, inner: usize, column: usize) -> usize {
        let within = if self.transpose_b { column * self.k + inner } else { inner * self.n + column };
        batch * self.k * self.n + within
    }

    fn check<R>(&self, a: &[R], b: &[R], bias: Option<&[R]>) {
        expect_shape("a", a, &[self.batch, self.m, self.k]);
        expect_shape("b", b, &[self.batch, self.k, self.n]);
        if let Some(bias) = bias {
            expect_shape("bias", bias, &[self.n]);
        }
    }

    /// C `[batch, M, N]`.
    pub fn forward<R: Real>(&self, a: &[R], b: &[R], bias: Option<&[R]>) -> Vec<R> {
        self.check(a, b, bias);
        let mut c = Vec::with_capacity(self.batch * self.m * self.n);
        for batch in 0..self.batch {
            for row in 0..self.m {
                for column in 0..self.n {
                    let mut sum = bias.map_or(R::from(0.0), |bias| bias[column]);
                    for inner in 0..self.k {
                        sum += a[self.index_a(batch, row, inner)] * b[self.index_b(batch, inner, column)];
                    }
                    c.push(self.activation.forward(sum));
                }
            }
        }
        c
    }

    /// Gradients from `d_c` `[batch, M, N]`.
    pub fn backward<R: Real>(&self, a: &[R], b: &[R], bias: Option<&[R]>, d_c: &[R]) -> MatmulGradients<R> {
        expect_shape("d_c", d_c, &[self.batch, self.m, self.n]);
        let c = self.forward(a, b, bias);
        let zeros = |count| vec![R::from(0.0); count];
        let mut gradients = MatmulGradients { a: zeros(a.len()), b: zeros(b.len()), bias: bias.map(|_| zeros(self.n)) };
        for batch in 0..self.batch {
            for row in 0..self.m {
                for column in 0..self.n {
                    let index_c = (batch * self.m + row) * self.n + column;
                    let d_sum = d_c[index_c] * self.activation.derivative(c[index_c]);
                    for inner in 0..self.k {
                        let (index_a, index_b) = (self.index_a(batch, row, inner), self.index_b(batch, inner, column));
                        gradients.a[index_a] += d_sum * b[index_b];
                        gradients.b[index_b] += d_sum * a[index_a];
                    }
                    if let Some(d_bias) = &mut gradients.bias {
                        d_bias[column] += d_sum;
                    }
                }
            }
        }
        gradients
    }
}
