//! Compute pipelines, cached by kernel and specialisation.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Binding, Gpu, Shader, Specialisation, shader};
use crate::{Error, Result};

/// A compiled kernel: the pipeline, the layout of its bind group and whether the driver has run it once.
#[derive(Debug)]
pub struct Pipeline {
    /// `kernel/specialisation`.
    pub label: String,
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// What stands at each binding, and its name in the shader.
    pub(super) bindings: Vec<(Binding, String)>,
    pub(super) warm: AtomicBool,
}

impl Pipeline {
    /// Whether the driver has run it once, and so has compiled it for good.
    pub(super) fn claim_warm_up(&self) -> bool {
        !self.warm.swap(true, Ordering::Relaxed)
    }
}

/// The cache: one pipeline per kernel and specialisation.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    made: Mutex<HashMap<(&'static str, Specialisation), Arc<Pipeline>>>,
}

impl Gpu {
    /// The pipeline of `kernel` under `specialisation`, made on first use.
    ///
    /// # Errors
    /// [`Error::Shader`] if the text is not valid, [`Error::Limit`] if it declares more workgroup memory or a larger
    /// workgroup than the adapter has, [`Error::Gpu`] if the driver refuses it.
    pub fn pipeline(&self, kernel: &'static Shader, specialisation: &Specialisation) -> Result<Arc<Pipeline>> {
        let key = (kernel.name, specialisation.clone());
        let mut made = self.inner.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = made.get(&key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(kernel, specialisation)?);
        made.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    /// The kernels that were compiled so far, each as `name/specialisation`.
    pub fn pipeline_labels(&self) -> Vec<String> {
        let made = self.inner.pipelines.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.values().map(|pipeline| pipeline.label.clone()).collect()
    }

    fn compile(&self, kernel: &'static Shader, specialisation: &Specialisation) -> Result<Pipeline> {
        let expanded = kernel.expand(specialisation)?;
        let (module, _) = expanded.parse()?;
        self.check_workgroup(&expanded.label, &module)?;
        let bindings = kernel.bindings.iter().zip(0..).map(|(kind, at)| (*kind, name(&module, at))).collect();
        let label = expanded.label;
        let scopes = self.error_scopes();
        let device = self.device();
        let shader = self.shader_module(&label, module, kernel.trusted);
        let entries: Vec<_> =
            kernel.bindings.iter().enumerate().map(|(index, binding)| entry(index, *binding)).collect();
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
                // Every kernel writes its workgroup memory before it reads it; zeroing costs time everywhere and minutes under FXC.
                zero_initialize_workgroup_memory: self.checked(),
            },
            cache: None,
        });
        scopes.finish(&label)?;
        self.count(|counters| counters.pipelines += 1);
        Ok(Pipeline { label, pipeline, layout, bindings, warm: AtomicBool::new(false) })
    }

    /// wgpu does not check workgroup memory, so the engine does; the workgroup's size gets a message with a way out.
    fn check_workgroup(&self, label: &str, module: &wgpu::naga::Module) -> Result<()> {
        let limits = self.limits();
        let invocations: u64 = module
            .entry_points
            .iter()
            .map(|entry| entry.workgroup_size.iter().map(|size| u64::from(*size)).product())
            .max()
            .unwrap_or(0);
        let checks = [
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

/// The name of the variable at a binding; a specialisation may do without it.
fn name(module: &wgpu::naga::Module, binding: u32) -> String {
    let mut variables = module.global_variables.iter().map(|(_, variable)| variable);
    let found = variables.find(|variable| variable.binding.is_some_and(|place| place.binding == binding));
    found.and_then(|variable| variable.name.clone()).unwrap_or_default()
}

fn entry(index: usize, binding: Binding) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: index as u32,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match binding {
                Binding::Uniform => wgpu::BufferBindingType::Uniform,
                Binding::Read => wgpu::BufferBindingType::Storage { read_only: true },
                Binding::Write => wgpu::BufferBindingType::Storage { read_only: false },
            },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
