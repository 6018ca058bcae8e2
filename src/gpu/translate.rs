//! Shaders as wgpu translates them for each backend, for compilers other than this machine's drivers. Feature `translate`.

use std::fmt;

use wgpu::naga::{
    Module, ShaderStage,
    back::{glsl, hlsl, msl, spv},
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use super::{
    PORTABLE_MEMORY, Shader, Specialisation, Tiles,
    shader::{Expanded, workgroup_memory},
};
use crate::{Error, Result};

/// A language that drivers take shaders in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The source itself, expanded.
    Wgsl,
    /// For Vulkan: version 1.3, which Vulkan 1.1 takes.
    SpirV,
    /// For Metal 2.4.
    Msl,
    /// For DX12: shader model 6.2, the first with 16-bit types.
    Hlsl,
    /// For OpenGL ES 3.1; forms with subgroups in that of OpenGL 4.5, for wgpu offers GL none anyway.
    Glsl,
}

/// Features and limits that a specialisation needs beyond what WebGPU gives everyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// Half precision: `enable f16;`.
    pub f16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// 64-bit integers, which WebGPU does not have.
    pub int64: bool,
    /// More workgroup memory than [`PORTABLE_MEMORY`].
    pub memory: bool,
    /// Cooperative matrices: `enable wgpu_cooperative_matrix;`, an extension of wgpu's.
    pub cooperative: bool,
}

impl Needs {
    /// The features without which a valid module is not valid.
    pub fn of(module: &Module) -> Self {
        let optional = Expanded::CAPABILITIES;
        let needs = |one: Capabilities| {
            Validator::new(ValidationFlags::all(), optional.difference(one)).validate(module).is_err()
        };
        Self {
            f16: needs(Capabilities::SHADER_FLOAT16),
            subgroups: needs(Capabilities::SUBGROUP),
            int64: needs(Capabilities::SHADER_INT64),
            memory: workgroup_memory(module) > u64::from(PORTABLE_MEMORY),
            cooperative: needs(Capabilities::COOPERATIVE_MATRIX),
        }
    }

    /// Whether it needs nothing.
    pub fn is_portable(self) -> bool {
        self == Self::default()
    }
}

/// `portable`, or what is needed, joined by `-`: the name of a folder.
impl fmt::Display for Needs {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.f16, "f16"),
            (self.subgroups, "subgroups"),
            (self.int64, "int64"),
            (self.memory, "memory"),
            (self.cooperative, "cooperative"),
        ];
        let needed: Vec<_> = all.into_iter().filter_map(|(needed, name)| needed.then_some(name)).collect();
        to.write_str(&if needed.is_empty() { "portable".to_owned() } else { needed.join("-") })
    }
}

/// Each specialisation that any adapter's tiles ask for, once, in a fixed order.
pub fn forms(shader: &Shader) -> Vec<Specialisation> {
    let mut known = std::collections::HashSet::new();
    let all = Tiles::all().into_iter().flat_map(|(_, tiles)| (shader.specialisations)(&tiles));
    all.filter(|form| known.insert(form.clone())).collect()
}

/// Translates a module that [`Expanded::parse`] accepted. `checked` keeps the checks of bounds and loops that wgpu adds and this
/// crate's own shaders run without. `None` where the backend has nothing for what the module needs: GL neither f16 nor 64 bits, and
/// neither GL nor DX12 cooperative matrices.
///
/// # Errors
/// [`Error::Shader`] if the language cannot say what the module does.
pub fn translate(
    expanded: &Expanded,
    (module, info): &(Module, ModuleInfo),
    needs: Needs,
    language: Language,
    checked: bool,
) -> Result<Option<Vec<u8>>> {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    let bounds = BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy };
    let written = match language {
        Language::Wgsl => Ok(expanded.text.clone().into_bytes()),
        Language::SpirV => to_spirv(module, info, bounds, checked),
        Language::Msl => to_msl(module, info, bounds, checked),
        Language::Hlsl | Language::Glsl if needs.cooperative => return Ok(None),
        Language::Hlsl => to_hlsl(module, info, checked),
        Language::Glsl if needs.f16 || needs.int64 => return Ok(None),
        Language::Glsl => to_glsl(module, info, needs, checked),
    };
    written.map(Some).map_err(|message| Error::Shader {
        shader: expanded.label.clone(),
        message: format!("no {language:?}: {message}"),
    })
}

fn to_spirv(module: &Module, info: &ModuleInfo, bounds: BoundsCheckPolicies, checked: bool) -> Written {
    let zero = if checked {
        spv::ZeroInitializeWorkgroupMemoryMode::Polyfill
    } else {
        spv::ZeroInitializeWorkgroupMemoryMode::None
    };
    let options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies: bounds,
        zero_initialize_workgroup_memory: zero,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..spv::Options::default()
    };
    let words = spv::write_vec(module, info, &options, None).map_err(|error| error.to_string())?;
    Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
}

fn to_msl(module: &Module, info: &ModuleInfo, bounds: BoundsCheckPolicies, checked: bool) -> Written {
    let options = msl::Options {
        lang_version: (2, 4),
        bounds_check_policies: bounds,
        zero_initialize_workgroup_memory: checked,
        force_loop_bounding: checked,
        emit_int_div_checks: checked,
        ..msl::Options::default()
    };
    let (text, _) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .map_err(|error| error.to_string())?;
    Ok(text.into_bytes())
}

fn to_hlsl(module: &Module, info: &ModuleInfo, checked: bool) -> Written {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        zero_initialize_workgroup_memory: checked,
        restrict_indexing: checked,
        force_loop_bounding: checked,
        ..hlsl::Options::default()
    };
    let (mut text, pipeline) = (String::new(), hlsl::PipelineOptions::default());
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map_err(|error| error.to_string())?;
    Ok(text.into_bytes())
}

fn to_glsl(module: &Module, info: &ModuleInfo, needs: Needs, checked: bool) -> Written {
    let version = if needs.subgroups { glsl::Version::Desktop(450) } else { glsl::Version::new_gles(310) };
    let options = glsl::Options { version, zero_initialize_workgroup_memory: checked, ..glsl::Options::default() };
    let pipeline =
        glsl::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: "main".to_owned(), multiview: None };
    let mut text = String::new();
    // wgpu asks for no bounds checks in GLSL either way.
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, BoundsCheckPolicies::default())
        .and_then(|mut writer| writer.write())
        .map_err(|error| error.to_string())?;
    Ok(text.into_bytes())
}

/// The output of a back end of naga, or the reason why there is none.
type Written = std::result::Result<Vec<u8>, String>;
