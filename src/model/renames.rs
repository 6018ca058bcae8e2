//! Names that a checkpoint has in place of a model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a checkpoint calls otherwise than a model: tensors by their names, and modules, whose names those of their tensors begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Renames(pub BTreeMap<String, String>);

impl Renames {
    /// The checkpoint's name of what the model calls `name`: by the longest entry that is the name itself or a module that it is in.
    pub fn theirs(&self, name: &str) -> String {
        let within = |(own, theirs): (&String, &String)| {
            let rest = name.strip_prefix(own.as_str())?;
            // The modules of a file that is one module's are called by nothing.
            let rest = if theirs.is_empty() { rest.strip_prefix('.')? } else { rest };
            let whole = rest.is_empty() || theirs.is_empty() || rest.starts_with('.');
            whole.then(|| (own.len(), format!("{theirs}{rest}")))
        };
        let longest = self.0.iter().filter_map(within).max_by_key(|(length, _)| *length);
        longest.map_or_else(|| name.to_owned(), |(_, theirs)| theirs)
    }
}
