//! The bindings of a parsed shader: the kind of each, whether it is used, and the size of its elements.

use wgpu::naga::{
    self, AddressSpace, Handle, ImageClass, ImageDimension, Module, Scalar, ScalarKind, StorageAccess, Type, TypeInner,
    valid::{GlobalUse, ModuleInfo},
};

use super::{Dtype, WIDEST};
use crate::{Error, Result};

/// The kind of a binding: its address space and access mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
    /// `texture_2d<f32>`, which holds a copy of a tensor of f32.
    Texture,
}

/// The only textures that a shader may have.
const TEXTURE: TypeInner = TypeInner::Image {
    dim: ImageDimension::D2,
    arrayed: false,
    class: ImageClass::Sampled { kind: ScalarKind::Float, multi: false },
};

/// One binding of group 0.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    pub access: Access,
    /// Whether the entry point does anything with it; a form of a shader may declare what it does without.
    pub used: bool,
    /// Whether the entry point stores to it.
    pub stored: bool,
    /// Bytes that must be bound at least: all of a type of fixed size, or one element of an array.
    pub least: u64,
    /// Bytes from one element of an array without a size to the next.
    pub stride: Option<u64>,
    /// The numbers that it is made of.
    numbers: Vec<Scalar>,
}

impl Binding {
    /// The bindings of a module, in order: without gaps, parameters in a uniform buffer first.
    ///
    /// # Errors
    /// [`Error::Shader`] if they are not that.
    pub(super) fn all(label: &str, module: &Module, info: &ModuleInfo) -> Result<Vec<Self>> {
        let fail = |message: String| Error::Shader { shader: label.to_owned(), message };
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).map_err(|error| fail(error.to_string()))?;
        let mut found = Vec::new();
        for (handle, variable) in module.global_variables.iter() {
            let Some(place) = &variable.binding else { continue };
            let name = variable.name.clone().unwrap_or_default();
            let access = match variable.space {
                AddressSpace::Uniform => Access::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => Access::Write,
                AddressSpace::Storage { .. } => Access::Read,
                AddressSpace::Handle if module.types[variable.ty].inner == TEXTURE => Access::Texture,
                _ => return Err(fail(format!("`{name}` is neither a buffer nor a `texture_2d<f32>`"))),
            };
            if place.group != 0 {
                return Err(fail(format!("`{name}` is in group {}: all bindings belong in group 0", place.group)));
            }
            let uses = (0..module.entry_points.len()).map(|entry| info.get_entry_point(entry)[handle]);
            let uses = uses.fold(GlobalUse::empty(), |all, uses| all | uses);
            let (used, stored) = (!uses.is_empty(), uses.intersects(GlobalUse::WRITE | GlobalUse::ATOMIC));
            let stride = match module.types[variable.ty].inner {
                TypeInner::Array { size: naga::ArraySize::Dynamic, stride, .. } => Some(u64::from(stride)),
                TypeInner::Image { .. } => Some(WIDEST),
                _ => None,
            };
            let least = stride.unwrap_or(u64::from(layouter[variable.ty].size));
            let numbers = numbers(module, variable.ty);
            found.push((place.binding, Self { name, access, used, stored, least, stride, numbers }));
        }
        found.sort_by_key(|(at, _)| *at);
        if !found.iter().enumerate().all(|(index, (at, _))| index as u32 == *at) {
            return Err(fail("bindings must be numbered from 0 on, without gaps".into()));
        }
        if found.first().is_none_or(|(_, params)| params.access != Access::Uniform) {
            return Err(fail("binding 0 must be a `var<uniform>` with the parameters".into()));
        }
        Ok(found.into_iter().map(|(_, binding)| binding).collect())
    }

    /// Whether its numbers are those of a tensor: floats, or else whole numbers; or a struct of both, which has the width of either.
    pub(super) fn holds(&self, dtype: Dtype) -> bool {
        let is_float = |number: &Scalar| number.kind == ScalarKind::Float;
        let mixed = self.numbers.iter().any(is_float) && !self.numbers.iter().all(is_float);
        let same_kind = |number: &Scalar| mixed || is_float(number) == (dtype != Dtype::U32);
        self.numbers.iter().all(|number| u64::from(number.width) == dtype.bytes() && same_kind(number))
    }
}

/// The numbers that a type is made of, those of an array once.
fn numbers(module: &Module, ty: Handle<Type>) -> Vec<Scalar> {
    match &module.types[ty].inner {
        TypeInner::Scalar(scalar) | TypeInner::Atomic(scalar) => vec![*scalar],
        TypeInner::Vector { scalar, .. } | TypeInner::Matrix { scalar, .. } => vec![*scalar],
        TypeInner::Image { .. } => vec![Scalar::F32],
        TypeInner::Array { base, .. } => numbers(module, *base),
        TypeInner::Struct { members, .. } => members.iter().flat_map(|member| numbers(module, member.ty)).collect(),
        _ => vec![],
    }
}
