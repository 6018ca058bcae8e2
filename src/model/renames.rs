//! Names that a checkpoint has in place of a model's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[cfg(feature = "text")]
use super::Parameter;

/// What a checkpoint calls otherwise than a model: tensors by their names, and modules, whose names those of their tensors begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Renames(pub BTreeMap<String, String>);

impl Renames {
    /// The checkpoint's name of what the model calls `name`: by the longest entry that is the name itself or a module that it is in.
    pub fn theirs(&self, name: &str) -> String {
        let renamed = |(own, theirs): (&String, &String)| {
            let rest = within(own, name)?;
            // The modules of a file that is one module's are called by nothing.
            let rest = if theirs.is_empty() { rest.strip_prefix('.')? } else { rest };
            Some((own.len(), format!("{theirs}{rest}")))
        };
        let longest = self.0.iter().filter_map(renamed).max_by_key(|(length, _)| *length);
        longest.map_or_else(|| name.to_owned(), |(_, theirs)| theirs)
    }

    /// What is wrong with these names for a model of these parameters: an entry that renames none, or one name for two.
    #[cfg(feature = "text")]
    pub(super) fn fault(&self, declared: &[Parameter]) -> Option<String> {
        let named: Vec<_> = declared.iter().flat_map(|one| one.names().map(|name| (name, &one.name))).collect();
        let renames_none = |own: &&String| named.iter().all(|(name, _)| within(own, name).is_none());
        if let Some(own) = self.0.keys().find(renames_none) {
            return Some(format!("`names` has `{own}`, which is no parameter of the model and no module"));
        }
        let mut taken = BTreeMap::new();
        named.iter().find_map(|(name, parameter)| {
            let theirs = self.theirs(name);
            let message = format!("`names` calls two parameters `{theirs}`");
            let (other, of) = *taken.entry(theirs).or_insert((name, parameter));
            (of != parameter).then(|| format!("{message}, `{other}` and `{name}`"))
        })
    }
}

/// What a name has behind the module that it is in, or behind itself.
fn within<'n>(module: &str, name: &'n str) -> Option<&'n str> {
    name.strip_prefix(module).filter(|rest| rest.is_empty() || rest.starts_with('.'))
}
