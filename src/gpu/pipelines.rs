//! Compute pipelines, cached by kernel and specialisation.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Gpu, Shader, Specialisation,
    binding::{Access, Binding},
    guard::{Guard, PARAMETER_STRIDE},
    shader,
};
use crate::{Error, Result};

/// A compiled kernel: the pipeline, the layout of its bind group and whether the driver has run it once.
#[derive(Debug)]
pub struct Pipeline {
    /// `kernel/specialisation`.
    pub label: String,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// The bindings of group 0, in order. Those that are not used are bound to nothing.
    pub(super) bindings: Vec<Binding>,
    pub(super) warm: AtomicBool,
}

impl Pipeline {
    /// Whether the driver has run it once, and so has compiled it for good.
    pub(super) fn claim_warm_up(&self) -> bool {
        !self.warm.swap(true, Ordering::Relaxed)
    }
}

/// The cache. A shader is told from others by where it lies, since names and texts may be alike.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    made: Mutex<HashMap<Key, Arc<Pipeline>>>,
}

/// The address of a [`Shader`], and what else a pipeline depends on.
type Key = (usize, Specialisation, Guard);

impl Gpu {
    /// The pipeline of `kernel` under `specialisation`, with every check of wgpu in it, made on first use.
    ///
    /// # Errors
    /// [`Error::Shader`] if the text is not valid, or its bindings are not what a [`Shader`] may have; [`Error::Limit`] if it declares more workgroup memory, a larger workgroup or more parameters than
    /// there may be, [`Error::Gpu`] if the driver refuses it.
    pub fn pipeline(&self, kernel: &'static Shader, specialisation: &Specialisation) -> Result<Arc<Pipeline>> {
        self.guarded_pipeline(kernel, specialisation, Guard::Driver)
    }

    /// The pipeline, with wgpu's checks unless `guard` says that a kernel of this crate stands in for them.
    pub(super) fn guarded_pipeline(
        &self,
        kernel: &'static Shader,
        specialisation: &Specialisation,
        guard: Guard,
    ) -> Result<Arc<Pipeline>> {
        if guard == Guard::Driver && specialisation.needs_cooperative() {
            return Err(Error::Shader {
                shader: kernel.label(specialisation),
                message: format!("`COOPERATIVE` is for this crate's own kernels: {}", shader::UNGUARDED),
            });
        }
        let guard = if self.checked() { Guard::Driver } else { guard };
        let key = (std::ptr::from_ref(kernel).addr(), specialisation.clone(), guard);
        let mut made = self.inner.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = made.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(kernel, specialisation, guard)?);
        made.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// The kernels that were compiled so far, each as `name/specialisation`.
    pub fn pipeline_labels(&self) -> Vec<String> {
        let made = self.inner.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.values().map(|pipeline| pipeline.label.clone()).collect()
    }

    fn compile(&self, kernel: &Shader, specialisation: &Specialisation, guard: Guard) -> Result<Pipeline> {
        let expanded = kernel.expand(specialisation)?;
        let (module, info) = expanded.parse()?;
        let label = expanded.label;
        let bindings = Binding::all(&label, &module, &info)?;
        self.check_limits(&label, &module, &bindings)?;
        let scopes = self.error_scopes();
        let device = self.device();
        let shader = self.shader_module(&label, module, guard);
        let entries: Vec<_> = (0..)
            .zip(&bindings)
            .filter(|(_, binding)| binding.used)
            .map(|(index, binding)| entry(index, binding.access))
            .collect();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(&label), entries: &entries });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            })),
            module: &shader,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                // Every kernel of this crate writes its workgroup memory before it reads it; zeroing costs time everywhere and minutes under FXC.
                zero_initialize_workgroup_memory: guard == Guard::Driver,
            },
            cache: None,
        });
        scopes.finish(&label)?;
        self.count(|counters| counters.pipelines += 1);
        Ok(Pipeline { label, pipeline, layout, bindings, warm: AtomicBool::new(false) })
    }

    /// wgpu does not check workgroup memory, so the engine does; the workgroup's size gets a message with a way out.
    fn check_limits(&self, label: &str, module: &wgpu::naga::Module, bindings: &[Binding]) -> Result<()> {
        let limits = self.limits();
        let invocations: u64 = module
            .entry_points
            .iter()
            .map(|entry| entry.workgroup_size.iter().map(|size| u64::from(*size)).product())
            .max()
            .unwrap_or(0);
        let params = bindings.first().map_or(0, |params| params.least);
        let checks = [
            (params, "number of bytes of parameters", PARAMETER_STRIDE as u32),
            (
                shader::workgroup_memory(module),
                "max_compute_workgroup_storage_size",
                limits.max_compute_workgroup_storage_size,
            ),
            (invocations, "max_compute_invocations_per_workgroup", limits.max_compute_invocations_per_workgroup),
        ];
        for (need, limit, have) in checks {
            if need > u64::from(have) {
                return Err(Error::Limit {
                    what: format!("kernel {label}"),
                    need,
                    limit,
                    have: u64::from(have),
                    remedy: "Use the portable tile configuration.".into(),
                });
            }
        }
        Ok(())
    }
}

fn entry(binding: u32, access: Access) -> wgpu::BindGroupLayoutEntry {
    let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: match access {
            Access::Uniform => buffer(wgpu::BufferBindingType::Uniform),
            Access::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }),
            Access::Write => buffer(wgpu::BufferBindingType::Storage { read_only: false }),
            Access::Texture => wgpu::BindingType::Texture {
                sample_type: wgpu::TextureSampleType::Float { filterable: false },
                view_dimension: wgpu::TextureViewDimension::D2,
                multisampled: false,
            },
        },
        count: None,
    }
}
