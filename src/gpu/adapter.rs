//! Choice of an adapter among those of every backend; the adapters found are listed in the error message.

use std::fmt::Write as _;

use crate::{Error, Result};

/// The environment variable that names an adapter to [`super::GpuOptions::from_env`].
pub const ADAPTER_VARIABLE: &str = "SOFTALIGN_ADAPTER";

/// Expected speed of an adapter: it decides the tile configuration and how much work one submit may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdapterClass {
    /// A card with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory (also virtual and unknown ones).
    Integrated,
    /// A driver that runs shaders on the CPU, such as lavapipe or SwiftShader.
    Cpu,
}

impl AdapterClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Discrete, Self::Integrated, Self::Cpu];

    /// The name in tables and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Cpu => "cpu",
        }
    }

    /// The class that a driver reports.
    pub fn of(info: &wgpu::AdapterInfo) -> Self {
        match info.device_type {
            wgpu::DeviceType::DiscreteGpu => Self::Discrete,
            wgpu::DeviceType::Cpu => Self::Cpu,
            // llvmpipe's GL calls itself "Other".
            _ if info.name.contains("llvmpipe") || info.name.contains("SwiftShader") => Self::Cpu,
            _ => Self::Integrated,
        }
    }
}

/// Every adapter of every backend, best first: discrete, integrated, CPU; within a class GL last.
#[cfg(not(target_family = "wasm"))]
pub fn list() -> Vec<wgpu::Adapter> {
    pollster::block_on(list_async())
}

/// All adapters, in the order of [`list`]; works in a browser too.
pub async fn list_async() -> Vec<wgpu::Adapter> {
    let mut adapters = instance().enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        (AdapterClass::of(&info), info.backend == wgpu::Backend::Gl)
    });
    adapters
}

/// One line that names an adapter, its driver and backend.
pub fn describe(info: &wgpu::AdapterInfo) -> String {
    let mut text = format!("{} ({:?}", info.name, info.backend);
    for part in [&info.driver, &info.driver_info] {
        if !part.is_empty() {
            let _ = write!(text, ", {part}");
        }
    }
    text + ")"
}

/// The adapter that `wanted` names by index or part of its name (case-insensitive), else the best.
///
/// # Errors
/// [`Error::NoAdapter`] with what each backend showed.
#[cfg(not(target_family = "wasm"))]
pub fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    pollster::block_on(choose_async(wanted))
}

/// The adapter named by `wanted`, else the best, as [`choose`] picks it; works in a browser too.
///
/// # Errors
/// [`Error::NoAdapter`] if none is there or none matches, with what each backend showed.
pub async fn choose_async(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let adapters = list_async().await;
    let seen = seen(&adapters);
    let missing = |message: String| Error::NoAdapter { seen: message };
    match wanted {
        None => adapters.into_iter().next().ok_or_else(|| missing(seen)),
        Some(wanted) => {
            let names: Vec<String> = adapters.iter().map(|adapter| describe(&adapter.get_info())).collect();
            let listed: String = (0..).zip(&names).map(|(index, name)| format!("  {index}: {name}\n")).collect();
            named(&names, wanted)
                .and_then(|index| adapters.into_iter().nth(index))
                .ok_or_else(|| missing(format!("No adapter matches `{wanted}`. There are:\n{listed}{seen}")))
        }
    }
}

/// The place of the adapter that `wanted` names: by its index, if there is one, else by part of its name. Names have numbers too.
fn named(names: &[String], wanted: &str) -> Option<usize> {
    let wanted = wanted.trim().to_lowercase();
    let by_index = wanted.parse().ok().filter(|index| *index < names.len());
    by_index.or_else(|| names.iter().position(|name| name.to_lowercase().contains(&wanted)))
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(descriptor())
}

/// Every backend, or those that `WGPU_BACKEND` names. DX12 compiles by DXC alone, unless `WGPU_DX12_COMPILER` says otherwise: left to
/// itself wgpu would take FXC where there is no DXC, which puts register arrays into memory, has no f16 and refuses some kernels.
fn descriptor() -> wgpu::InstanceDescriptor {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let compiler = &mut descriptor.backend_options.dx12.shader_compiler;
    if matches!(compiler, wgpu::Dx12Compiler::Auto) {
        *compiler = wgpu::Dx12Compiler::default_dynamic_dxc();
    }
    descriptor
}

/// What DX12 needs, where it shows no adapter.
const DXC: &str = "no adapter; it needs dxcompiler.dll, 1.8.2502 or newer, from the releases of Microsoft's DirectXShaderCompiler, beside \
                   the program or on PATH (WGPU_DX12_COMPILER=fxc does without, many times slower)";

/// One line per backend: what it showed, for [`Error::NoAdapter`].
pub fn seen(adapters: &[wgpu::Adapter]) -> String {
    let backends: &[_] = if cfg!(target_family = "wasm") {
        &[("WebGPU", wgpu::Backend::BrowserWebGpu)]
    } else {
        &[
            ("Vulkan", wgpu::Backend::Vulkan),
            ("Metal", wgpu::Backend::Metal),
            ("DX12", wgpu::Backend::Dx12),
            ("GL", wgpu::Backend::Gl),
        ]
    };
    let asked_for = descriptor().backends;
    let mut lines = vec!["Backends looked at:".to_owned()];
    for &(name, backend) in backends {
        let found: Vec<_> =
            adapters.iter().map(wgpu::Adapter::get_info).filter(|info| info.backend == backend).collect();
        let compiled = wgpu::Instance::enabled_backend_features().contains(backend.into());
        lines.push(match (compiled, found.is_empty()) {
            (false, _) => format!("  {name}: not on this system"),
            (true, _) if !asked_for.contains(backend.into()) => format!("  {name}: left out by WGPU_BACKEND"),
            (true, true) if backend == wgpu::Backend::Dx12 => format!("  {name}: {DXC}"),
            (true, true) => format!("  {name}: no adapter"),
            (true, false) => {
                format!("  {name}: {}", found.iter().map(describe).collect::<Vec<_>>().join("; "))
            }
        });
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_compiler_is_taken_without_a_word() {
        let asked_for = wgpu::Dx12Compiler::from_env().is_some();
        let compiler = descriptor().backend_options.dx12.shader_compiler;
        assert!(asked_for || matches!(compiler, wgpu::Dx12Compiler::DynamicDxc { .. }), "{compiler:?}");
    }

    #[test]
    fn a_number_is_an_index_or_part_of_a_name() {
        let names =
            ["NVIDIA GeForce RTX 4090 (Vulkan)", "AMD Radeon 780M (Vulkan)", "llvmpipe (LLVM 15.0.6, 256 bits) (Gl)"];
        let names = names.map(str::to_owned);
        for (wanted, place) in [
            ("0", Some(0)),
            ("2", Some(2)),
            ("3", None),
            ("4090", Some(0)),
            ("256", Some(2)),
            ("15", Some(2)),
            ("780", Some(1)),
            ("radeon", Some(1)),
            (" Radeon ", Some(1)),
            ("LLVMPIPE", Some(2)),
            ("256 bits", Some(2)),
            ("4091", None),
            ("-1", None),
        ] {
            assert_eq!(named(&names, wanted), place, "{wanted}");
        }
        assert_eq!(named(&[], "0"), None);
    }
}
