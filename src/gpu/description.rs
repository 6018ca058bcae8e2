//! What an adapter is, and what it has of what kernels depend on.

use serde::Serialize;

use super::{AdapterClass, Cooperative, llvmpipe};

/// An adapter in numbers, as `softalign devices` lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Description {
    /// The adapter's own name.
    pub name: String,
    /// discrete, integrated or cpu: [`AdapterClass::name`].
    pub class: &'static str,
    /// Vulkan, Metal, Dx12 or Gl.
    pub backend: String,
    /// The driver's name and version.
    pub driver: String,
    /// The most bytes of a storage binding.
    pub storage_binding: u64,
    /// The most bytes of a buffer.
    pub buffer: u64,
    /// Bytes of memory that a workgroup has.
    pub workgroup_memory: u32,
    /// The most invocations of a workgroup.
    pub workgroup_invocations: u32,
    /// The most storage buffers that a shader binds.
    pub storage_buffers: u32,
    /// Whether shaders have 16-bit floats.
    pub f16: bool,
    /// The least and the largest subgroup, where there are any.
    pub subgroups: Option<[u32; 2]>,
    /// Whether the device can take the time.
    pub timestamps: bool,
    /// Bytes of immediates; 0 where there are none.
    pub immediates: u32,
    /// The cooperative matrices that the adapter lists: rows, columns and steps of a product, and the types of factors and sums.
    pub cooperative: Vec<String>,
    /// What would make the adapter much faster: [`llvmpipe::advice`].
    pub advice: Option<String>,
}

impl From<&wgpu::Adapter> for Description {
    fn from(adapter: &wgpu::Adapter) -> Self {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let has = |feature| adapter.features().contains(feature);
        Self {
            class: AdapterClass::of(&info).name(),
            advice: llvmpipe::advice(&info),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            name: info.name,
            storage_binding: limits.max_storage_buffer_binding_size,
            buffer: limits.max_buffer_size,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            f16: has(wgpu::Features::SHADER_F16),
            subgroups: has(wgpu::Features::SUBGROUP).then_some([info.subgroup_min_size, info.subgroup_max_size]),
            timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
            immediates: if has(wgpu::Features::IMMEDIATES) { limits.max_immediate_size } else { 0 },
            cooperative: Cooperative::listed(adapter),
        }
    }
}
