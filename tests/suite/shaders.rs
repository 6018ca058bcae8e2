//! Every specialisation of every shader, without a GPU: it is valid, it binds what the others of the shader bind, and the portable
//! ones stay within what every adapter has. And the files: each shader has its row, its kernel and its reference.

use std::{collections::BTreeSet, fs, path::Path};

use softalign::{
    gpu::{
        PORTABLE_MEMORY, Shader, Specialisation, Tiles,
        shader::{Expanded, workgroup_memory},
        translate::{self, Language, Needs, translate},
    },
    kernels::{SHADERS, SHARED},
    validate,
};
use wgpu::naga;

use naga::{AddressSpace, StorageAccess};
use softalign::wgpu;

/// Passes that serve adapters with subgroups or cooperative matrices alone. Their kernels do without them elsewhere, and are tested
/// that way too.
const NEVER_PORTABLE: [&str; 2] = ["additive_attention/both_backward", "matmul/cooperative"];
/// How far apart a recording keeps the parameters of its dispatches.
const LARGEST_PARAMS: u32 = 256;

/// Each specialisation of a shader once, over the tile configurations of all adapters, and whether it is a portable one.
fn specialisations(shader: &Shader) -> Vec<(Specialisation, bool)> {
    let mut all: Vec<(Specialisation, bool)> = Vec::new();
    for (_, tiles) in Tiles::all() {
        for specialisation in (shader.specialisations)(&tiles) {
            let portable = tiles.subgroup.is_none()
                && tiles.memory == PORTABLE_MEMORY
                && !specialisation.needs_f16()
                && !specialisation.needs_cooperative();
            match all.iter_mut().find(|(known, _)| *known == specialisation) {
                Some((_, known)) => *known |= portable,
                None => all.push((specialisation, portable)),
            }
        }
    }
    all
}

fn expand(shader: &Shader, specialisation: &Specialisation) -> Expanded {
    shader.expand(specialisation).unwrap_or_else(|error| panic!("{error}"))
}

/// What stands at a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Binding {
    Uniform,
    /// In a buffer, or copied into a texture.
    Read,
    Write,
}

/// The bindings that a module declares, in order; a gap or a second group panics.
fn declared(label: &str, module: &naga::Module) -> Vec<Binding> {
    let mut bindings: Vec<_> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| {
            let at = variable.binding.as_ref()?;
            assert_eq!(at.group, 0, "{label}: {:?}", variable.name);
            let kind = match variable.space {
                AddressSpace::Uniform => Binding::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Binding::Write,
                AddressSpace::Storage { .. } | AddressSpace::Handle => Binding::Read,
                other => panic!("{label}: {:?} lies in {other:?}", variable.name),
            };
            Some((at.binding, kind))
        })
        .collect();
    bindings.sort_by_key(|(at, _)| *at);
    assert!(bindings.iter().enumerate().all(|(index, (at, _))| *at == index as u32), "{label}: {bindings:?}");
    bindings.into_iter().map(|(_, kind)| kind).collect()
}

#[test]
fn every_specialisation_is_valid_and_binds_what_the_others_do() {
    for shader in SHADERS {
        let all = specialisations(shader);
        assert!(!all.is_empty(), "{} has no specialisation", shader.name);
        let mut bindings = None;
        for (specialisation, _) in all {
            let expanded = expand(shader, &specialisation);
            let label = &expanded.label;
            let (module, _) = expanded.parse().unwrap_or_else(|error| panic!("{error}"));
            let declared = declared(label, &module);
            assert_eq!(declared.first(), Some(&Binding::Uniform), "{label}");
            assert_eq!(bindings.get_or_insert_with(|| declared.clone()), &declared, "{label}");
            let entries: Vec<_> = module.entry_points.iter().map(|entry| (entry.stage, entry.name.as_str())).collect();
            assert_eq!(entries, [(naga::ShaderStage::Compute, "main")], "{label}");
        }
    }
}

/// What wgpu hands to Vulkan, Metal, DX12 and GL, with its checks and without. Each language's own compiler reads the same where the
/// machine offers one (`.ci/shaders`); what naga is known to write wrongly is found here.
#[test]
fn every_specialisation_translates_for_every_backend() {
    for shader in SHADERS {
        for form in translate::forms(shader) {
            let expanded = expand(shader, &form);
            let parsed = expanded.parse().unwrap_or_else(|error| panic!("{error}"));
            let needs = Needs::of(&parsed.0);
            for (language, checked) in LANGUAGES.into_iter().flat_map(|language| [(language, false), (language, true)])
            {
                let translated =
                    translate(&expanded, &parsed, needs, language, checked).unwrap_or_else(|error| panic!("{error}"));
                let nothing = match language {
                    Language::Glsl => needs.f16 || needs.int64 || needs.cooperative,
                    Language::Hlsl => needs.cooperative,
                    _ => false,
                };
                assert_eq!(translated.is_none(), nothing, "{}: {language:?}", expanded.label);
                if let (Language::Hlsl, Some(text)) = (language, translated) {
                    one_of_each_name(&expanded.label, &String::from_utf8(text).unwrap());
                }
            }
        }
    }
}

const LANGUAGES: [Language; 4] = [Language::SpirV, Language::Msl, Language::Hlsl, Language::Glsl];

/// An alias and what it stands for are two types to naga, and each gets its own constructor in HLSL, both under one name.
fn one_of_each_name(label: &str, hlsl: &str) {
    let mut known = BTreeSet::new();
    for line in hlsl.lines().filter(|line| line.ends_with(") {") && !line.starts_with(' ')) {
        assert!(known.insert(line), "{label}: twice in HLSL: {line}");
    }
}

#[test]
fn parameters_come_first_and_fit_their_slot() {
    for shader in SHADERS {
        let expanded = expand(shader, &specialisations(shader)[0].0);
        let (module, _) = expanded.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let (_, params) = module
            .global_variables
            .iter()
            .find(|(_, variable)| variable.binding.as_ref().is_some_and(|at| at.binding == 0))
            .unwrap();
        let size = layouter[params.ty].size;
        assert!(size <= LARGEST_PARAMS, "{}: {size} bytes", shader.name);
    }
}

/// WebGPU's default limits are what every adapter has.
#[test]
fn portable_specialisations_run_on_every_adapter() {
    let limits = wgpu::Limits::default();
    assert!(LARGEST_PARAMS <= limits.max_uniform_buffer_binding_size as u32);
    for shader in SHADERS {
        let label = shader.name;
        let first = expand(shader, &specialisations(shader)[0].0);
        let bindings = declared(label, &first.parse().unwrap_or_else(|error| panic!("{error}")).0);
        let storage = bindings.iter().filter(|binding| **binding != Binding::Uniform).count();
        assert!(storage <= limits.max_storage_buffers_per_shader_stage as usize, "{label}: {storage} storage buffers");
        let uniform = bindings.len() - storage;
        assert!(uniform <= limits.max_uniform_buffers_per_shader_stage as usize, "{label}: {uniform} uniform buffers");
        assert!(bindings.len() <= limits.max_bindings_per_bind_group as usize, "{label}");
        let mut some = false;
        for (specialisation, _) in specialisations(shader).into_iter().filter(|(_, portable)| *portable) {
            some = true;
            let expanded = expand(shader, &specialisation);
            let label = &expanded.label;
            let (module, _) = expanded.parse().unwrap_or_else(|error| panic!("{error}"));
            assert!(Needs::of(&module).is_portable(), "{label} needs {}", Needs::of(&module));
            let size = module.entry_points[0].workgroup_size;
            let invocations: u32 = size.iter().product();
            assert!(invocations <= limits.max_compute_invocations_per_workgroup, "{label}: {invocations} invocations");
            let widest = [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ];
            assert!(size.iter().zip(widest).all(|(size, widest)| *size <= widest), "{label}: {size:?}");
            let memory = workgroup_memory(&module);
            assert!(
                memory <= u64::from(limits.max_compute_workgroup_storage_size),
                "{label}: {memory} bytes of workgroup memory"
            );
        }
        assert!(some != NEVER_PORTABLE.contains(&shader.name), "{}: portable forms: {some}", shader.name);
    }
}

/// A subgroup form is one subgroup a workgroup: the kernels pass rows round by shuffles alone.
#[test]
fn subgroup_forms_have_workgroups_of_one_subgroup() {
    for (_, tiles) in Tiles::all() {
        let Some(size) = tiles.subgroup else { continue };
        for shader in SHADERS {
            for specialisation in (shader.specialisations)(&tiles) {
                let expanded = expand(shader, &specialisation);
                let code = expanded.text.lines().filter(|line| !line.trim_start().starts_with("//"));
                if code.into_iter().any(|line| line.contains("subgroup")) {
                    let (module, _) = expanded.parse().unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(module.entry_points[0].workgroup_size, [size, 1, 1], "{}", expanded.label);
                }
            }
        }
    }
}

/// The paths of the WGSL files under `folder`, without the ending.
fn files(folder: &Path, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            found.extend(files(&path, &format!("{name}/")));
        } else {
            found.insert(name.strip_suffix(".wgsl").unwrap_or_else(|| panic!("{name} is no WGSL")).to_owned());
        }
    }
    found
}

#[test]
fn the_table_lists_every_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = SHADERS.iter().map(|shader| shader.name.to_owned());
    let shared = SHARED.iter().map(|shared| format!("shared/{}", shared.name));
    let listed: Vec<_> = rows.chain(shared).collect();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a name is listed twice");
    assert_eq!(once, files(&root.join("shaders"), ""));
}

/// One operation has one name on every floor. What measures an adapter's ceilings is no operation: nobody can use its result,
/// and `bench` checks it whenever it runs.
#[test]
fn every_shader_has_a_kernel_a_reference_tests_and_checks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let operations = || SHADERS.iter().filter(|shader| shader.kernel() != "ceiling");
    for shader in operations() {
        for folder in ["src/kernels", "src/reference", "src/validate", "tests/suite"] {
            let path = root.join(folder).join(shader.kernel()).with_extension("rs");
            assert!(path.is_file(), "{} wants {}", shader.name, path.display());
        }
    }
    let checks = validate::checks();
    let kernels: BTreeSet<_> = operations().map(|shader| shader.kernel()).chain(["attentional_decoder"]).collect();
    for kernel in kernels {
        assert!(checks.iter().any(|check| check.kernel.starts_with(kernel)), "validate has no row for {kernel}");
    }
}
