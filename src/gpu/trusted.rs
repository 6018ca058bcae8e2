//! The only `unsafe` of the crate: shader modules without wgpu's injected bounds and loop checks, and devices with what wgpu calls
//! experimental.
#![expect(unsafe_code, reason = "the audited exceptions: see `shader_module` and `experimental`")]

use std::borrow::Cow;

use super::{Gpu, guard::Guard};

impl Gpu {
    /// A shader module, without wgpu's checks if a kernel of this crate guards it and this is not [`Gpu::checked`].
    pub(super) fn shader_module(&self, label: &str, module: wgpu::naga::Module, guard: Guard) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Naga(Cow::Owned(module)) };
        if self.checked() || guard == Guard::Driver {
            return self.device().create_shader_module(descriptor);
        }
        // SAFETY: `Guard::Kernel` comes from `Recorder::launch` alone, which is private to the crate and called by the kernels
        // in `src/kernels` alone, each with its own shader. What makes their shaders stay inside their tensors:
        // - A tensor lies inside its buffer with its padding (`Tensor::checked`), has no more elements than 32 bits count, and is
        //   bound with exactly these bytes; whatever a window of it may not overwrite is not bound for wide stores, and nothing
        //   is bound that is empty, of another device, or smaller than its type in the shader (`Launch::check`).
        //   A texture holds a copy of its tensor from the first texel on, and texels that an index of the tensor does not reach.
        // - An index is bounded by the sizes in the parameters, which the kernel has compared with the tensors, in arithmetic
        //   that saturates, before it launches; or it is loaded from memory, and the shader clamps it by such a size.
        // - A tile is one of those that the kernel has forms for on this adapter (`expect_tile`).
        // - Every loop has a bound that depends on the parameters alone, or on a loaded number that is clamped by them.
        // - The workgroup's memory is within the limits (`check_limits`), indexed by constants and invocation, and written
        //   before it is read.
        // The tests run the whole suite with wgpu's checks as well, and `tests/sound.rs` tries to break each of these.
        unsafe { self.device().create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }
}

/// What wgpu wants to be told before it gives a device experimental ones among `features`.
pub(super) fn experimental(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if !features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: it asks for the knowledge that a feature may have faults which safe code reaches. Cooperative matrices are the only one
    // that `Gpu::open` asks for, and only the kernels of this crate can have modules with them (`Gpu::guarded_pipeline`,
    // `Expanded::parse`). Those load matrices from workgroup memory and store them there, at places that constants bound, and reach
    // tensors by the loads and stores that every other kernel has: a fault of the feature makes numbers wrong, which a trial finds
    // before any is used (`kernels::matmul::cooperative`).
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
