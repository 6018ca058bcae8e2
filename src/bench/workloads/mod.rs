//! The workloads with names. W1 to W9 are those for which figures of other systems are known; the other kernels come at the
//! shapes that the default model gives them.

mod adam;
mod additive_attention;
mod additive_score;
mod alignment_loss;
mod attention_weights;
mod attentional_decoder;
mod beam_search;
mod bounded_step;
mod cached_attention;
mod conv1d;
mod copy;
mod coverage_loss;
mod cross_entropy;
mod dot_product_attention;
mod dropout;
mod embedding;
mod generation;
mod glu;
mod gpt2;
mod gru;
mod layer_norm;
mod length_mask;
mod listed_rows;
mod local_attention;
mod long_text;
mod lsh_attention;
mod matmul;
mod permute;
mod pointwise;
mod positions;
mod reduction;
mod relative_attention;
mod relative_position_bias;
mod sliding_window_attention;
mod small_model;
mod softmax;
mod span_attention;
mod training;
mod transformer;

pub use training::{first_step, first_steps};
pub(super) use transformer::transformer_trainer;

use super::Workload;
use crate::gpu::Dtype;

/// Sums here are up to 10,000 products long, and errors relative to the largest value: any of them stays well below.
const TOLERANCE: f64 = 1e-5;

/// Four roundings to f16: of an output, and of what it is made of.
const HALF_TOLERANCE: f64 = 1.0 / 512.0;

/// The largest error that is no mistake, with activations of this type.
pub(super) fn tolerance(dtype: Dtype) -> f64 {
    if dtype == Dtype::F16 { HALF_TOLERANCE } else { TOLERANCE }
}

/// Every workload of one process, in the order of the table; see [`first_steps`] for those that start others.
pub fn workloads() -> Vec<Workload> {
    let mut all = matmul::workloads();
    all.extend(additive_attention::workloads());
    all.extend(softmax::workloads());
    all.extend(gru::workloads());
    all.extend(training::workloads());
    all.extend(generation::workloads());
    all.extend(dot_product_attention::workloads());
    all.extend(transformer::workloads());
    all.extend(gpt2::workloads());
    all.extend(attention_weights::workloads());
    all.extend(attentional_decoder::workloads());
    all.extend(additive_score::workloads());
    all.extend(layer_norm::workloads());
    all.extend(length_mask::workloads());
    all.extend(listed_rows::workloads());
    all.extend(local_attention::workloads());
    all.extend(lsh_attention::workloads());
    all.extend(cross_entropy::workloads());
    all.extend(embedding::workloads());
    all.extend(dropout::workloads());
    all.extend(alignment_loss::workloads());
    all.extend(coverage_loss::workloads());
    all.extend(glu::workloads());
    all.extend(permute::workloads());
    all.extend(pointwise::workloads());
    all.extend(positions::workloads());
    all.extend(reduction::workloads());
    all.extend(relative_attention::workloads());
    all.extend(relative_position_bias::workloads());
    all.extend(sliding_window_attention::workloads());
    all.extend(span_attention::workloads());
    all.extend(long_text::workloads());
    all.extend(adam::workloads());
    all.extend(bounded_step::workloads());
    all.extend(conv1d::workloads());
    all.extend(copy::workloads());
    all.extend(cached_attention::workloads());
    all.extend(beam_search::workloads());
    all
}

/// Shapes with the types of activations that they are measured in.
fn typed<S: Copy>(single: &[S], half: &[S]) -> impl Iterator<Item = (Dtype, S)> {
    let of = |dtype, shapes: &[S]| shapes.iter().map(|shape| (dtype, *shape)).collect::<Vec<_>>();
    of(Dtype::F32, single).into_iter().chain(of(Dtype::F16, half))
}

/// Which passes a row times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passes {
    Forward,
    /// Forward and backward, one after the other.
    Both,
}

impl Passes {
    const ALL: [Self; 2] = [Self::Forward, Self::Both];

    fn key(self) -> &'static str {
        match self {
            Self::Forward => "fwd",
            Self::Both => "fwdbwd",
        }
    }
}
