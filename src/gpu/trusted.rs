//! The only `unsafe` of the crate: shader modules without wgpu's injected bounds and loop checks.
#![expect(unsafe_code, reason = "the audited exception: see `shader_module`")]

use std::borrow::Cow;

use super::Gpu;

impl Gpu {
    /// A shader module, unchecked if it is this crate's own (`trusted`) and not [`Gpu::checked`].
    pub(super) fn shader_module(&self, label: &str, module: wgpu::naga::Module, trusted: bool) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Naga(Cow::Owned(module)) };
        if self.checked() || !trusted {
            return self.device().create_shader_module(descriptor);
        }
        // SAFETY: only shaders of the crate's own table are `trusted`; the field is set nowhere else. Every index in them is clamped or guarded by the sizes
        // in their parameters, which the kernels' launch code checks against the tensors it binds; every loop has a
        // bound that does not depend on data. The tests run the whole suite with checks on as well.
        unsafe { self.device().create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }
}
