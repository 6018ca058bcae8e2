//! The same operations on the CPU in f64, in plain loops: the yardstick of every kernel. Knows nothing of the GPU.
//!
//! One file per operation, under the operation's one name. Each is written to be read beside its equation, so nothing
//! is fused, saved or reordered: a backward pass recomputes what it needs from the inputs of the forward pass.
//! Tensors are row-major slices; a last comment like `[B, T, H]` names a slice's shape, outermost dimension first.
//!
//! # Panics
//!
//! Every operation panics on a slice whose length contradicts the operation's sizes: these are mistakes of the calling
//! code, and a yardstick must not measure on regardless.

#![expect(clippy::needless_range_loop, reason = "the loops carry the equations' own indices")]

pub mod adam;
pub mod additive_attention;
pub mod additive_score;
pub mod alignment_loss;
pub mod attention_weights;
pub mod attentional_decoder;
pub mod beam_search;
pub mod bounded_step;
pub mod cached_attention;
pub mod conv1d;
pub mod convs2s;
pub mod copy;
pub mod coverage_loss;
pub mod cross_entropy;
pub mod dot_product_attention;
pub mod dropout;
pub mod embedding;
pub mod glu;
pub mod gpt2;
pub mod gru;
pub mod layer_norm;
pub mod length_mask;
pub mod listed_rows;
pub mod local_attention;
pub mod lsh_attention;
pub mod luong;
pub mod matmul;
pub mod permute;
pub mod pointwise;
pub mod positions;
mod real;
pub mod reduction;
pub mod relative_attention;
pub mod relative_position_bias;
pub mod seq2seq;
pub mod sliding_window_attention;
pub mod softmax;
pub mod span_attention;
pub mod sutskever;
pub mod t5;
pub mod transformer;

pub use real::Real;

fn sigmoid<R: Real>(x: R) -> R {
    let one = R::from(1.0);
    one / (one + (-x).exp())
}

fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

/// `y += alpha * x`.
fn add_scaled<R: Real>(y: &mut [R], alpha: R, x: &[R]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * *x;
    }
}

fn expect_shape<T>(name: &str, data: &[T], shape: &[usize]) {
    let expected: usize = shape.iter().product();
    assert_eq!(data.len(), expected, "{name} has {} elements, its shape {shape:?} has {expected}", data.len());
}

/// A length beyond the tensor would read the next row's data, which looks like a result: hence the check.
fn expect_lengths(lengths: &[u32], rows: usize, limit: usize) {
    expect_shape("lengths", lengths, &[rows]);
    for (row, &length) in lengths.iter().enumerate() {
        assert!(length as usize <= limit, "lengths[{row}] is {length}, but there are only {limit} positions");
    }
}
