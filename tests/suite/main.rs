//! Every integration test but those of `tests/alone`, in one program: it is linked once, and its tests share a device, whose
//! kernels are then compiled once. Module by module: `cargo test --release --test suite matmul`.

mod common;

mod adam;
mod additive_attention;
mod alignment_loss;
mod attentional_decoder;
mod beam_search;
mod bench;
mod cli;
mod copy;
mod coverage_loss;
mod cross_entropy;
mod damage;
mod disk;
mod dot_product_attention;
mod dropout;
mod edges;
mod embedding;
mod faults;
mod generate;
mod golden;
mod graph;
mod gru;
mod input;
mod kill;
mod matmul;
mod metrics;
mod nonfinite;
mod picture;
mod pointwise;
mod precision;
mod recipe;
mod reduction;
mod reference;
mod regularisation;
mod report;
mod resume;
mod same_bits;
mod score;
mod shaders;
mod softmax;
mod subwords;
mod text;
mod train;
mod tune;
