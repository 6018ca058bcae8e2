//! Tile configurations by adapter class. A configuration travels with its pipeline: the constants of the shader's prelude
//! and the number of workgroups come from the same value.

use super::AdapterClass;

/// How much of its work one workgroup of each kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// The lanes of a subgroup, where the adapter has one fixed size and subgroup kernels pay.
    pub subgroup: Option<u32>,
    /// Invocations of a workgroup in kernels that need no other number.
    pub workgroup: u32,
    /// Invocations that share one row in kernels that reduce rows.
    pub row: u32,
}

impl Tiles {
    /// Sane defaults for a class of adapter; `subgroup` is the size that the driver guarantees, if it does.
    pub fn for_adapter(class: AdapterClass, subgroup: Option<u32>) -> Self {
        match class {
            // A CPU driver runs a workgroup's subgroups one after the other, and every barrier costs: one subgroup a workgroup.
            AdapterClass::Cpu => Self { subgroup, workgroup: 64, row: subgroup.unwrap_or(8) },
            AdapterClass::Discrete | AdapterClass::Integrated => Self { subgroup: None, workgroup: 256, row: 64 },
        }
    }
}
