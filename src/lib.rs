#![doc = include_str!("../README.md")]
//!
//! # Features
//!
//! Without any, the crate is [`gpu`], [`kernels`], [`graph`], [`arrays`], [`mod@reference`], [`model`] from bytes in memory
//! ([`model::TokenModel`]), and [`generate`] from token ids to token ids. Each feature only adds:
//!
//! | feature | what it brings |
//! |---|---|
//! | `text` | [`text`] and [`model::Model`]: tokenizers, corpora and scores, model folders; [`generate`] with texts |
//! | `train` | [`train`]: the loop, checkpoints and metrics; with `text` |
//! | `report` | [`report`] and [`generate::draw_alignment`]: pages about runs, pictures; with `train` |
//! | `translate` | [`gpu::translate`]: what each backend makes of a shader |
//! | `validate` | [`validate`]: kernels against their references; and with `train` [`tune`]: which tiles are fast |
//! | `cli` | the `softalign` command and [`mod@bench`]; with all of these. The default |
//! | `mpi` | `train`, `generate` and `evaluate` on several GPUs and machines, over the MPI library of the system ([`guide::ranks`]); with `cli` |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]

pub mod arrays;
pub mod batch;
#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "train")]
mod drawing;
pub mod error;
pub mod files;
pub mod generate;
pub mod gpu;
pub mod graph;
pub mod guide;
pub mod kernels;
pub mod model;
mod names;
pub mod random;
pub mod ranks;
pub mod reference;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "train")]
pub mod train;
#[cfg(all(feature = "train", feature = "validate"))]
pub mod tune;
#[cfg(feature = "validate")]
pub mod validate;
mod visible;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuOptions, Tensor};
pub use names::name_settings;
pub use wgpu;
