#![doc = include_str!("../README.md")]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]

pub mod batch;
pub mod bench;
mod drawing;
pub mod error;
pub mod files;
pub mod generate;
pub mod gpu;
pub mod graph;
pub mod guide;
pub mod kernels;
pub mod model;
pub mod reference;
pub mod report;
pub mod text;
pub mod train;
pub mod tune;
pub mod validate;

pub use error::{Error, Result};
pub use gpu::{Gpu, GpuOptions, Tensor};
pub use wgpu;
