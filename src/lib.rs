//! Attention sequence-to-sequence models, trained and run by hand-written WGSL kernels on any Vulkan, Metal or DX12 GPU.

pub mod error;
pub mod reference;
pub mod text;

pub use error::{Error, Result};
