//! The shapes of a checkpoint's tensors, which tell most sizes of its model.

use std::collections::BTreeMap;

use super::Renames;
use crate::{Error, Result};

/// The shapes of a checkpoint's tensors, by the names that the model has for them.
#[derive(Clone, Debug, Default)]
pub struct Shapes {
    /// What names the file in errors.
    pub path: String,
    /// What names in errors what is said of the model beside the shapes.
    pub map: String,
    /// Shapes by the names in the file.
    pub by_name: BTreeMap<String, Vec<usize>>,
    /// What the file calls otherwise than the model.
    pub renames: Renames,
}

impl Shapes {
    /// Whether the tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(&self.renames.theirs(name))
    }

    /// The extents of a tensor.
    ///
    /// # Errors
    /// [`Error::Data`] naming file and tensor, if it is missing or has another number of extents.
    pub fn of<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let theirs = self.renames.theirs(name);
        let wrong = |what: String| Error::data(&self.path, format!("tensor `{theirs}` {what}"));
        let shape = self.by_name.get(&theirs).ok_or_else(|| wrong("is missing".into()))?;
        let extents = shape.as_slice().try_into();
        extents.map_err(|_| wrong(format!("has shape {shape:?}; it must have {N} extents")))
    }

    /// How many layers there are: tensors whose names are this beginning and a number from 0 on.
    ///
    /// # Errors
    /// [`Error::Data`] naming file and tensor, if there is not even one.
    pub fn layers(&self, beginning: &str) -> Result<usize> {
        let name = |number: usize| format!("{beginning}{number}");
        self.of::<2>(&name(0))?;
        Ok((0..).take_while(|number| self.has(&name(*number))).count())
    }
}
