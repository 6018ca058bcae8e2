//! Text for text, in one line.

use super::{Generator, SearchOptions};
use crate::{Result, model::Model};

impl Model {
    /// The text that the model writes for a source, by greedy search. For more sources or other options make a [`Generator`],
    /// which keeps its compiled Programs.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a source that cannot be encoded or is too long; the errors of the device.
    pub fn generate_text(&self, source: &str) -> Result<String> {
        let source = self.encode(source)?;
        let found = Generator::new(self).generate(&[source], &SearchOptions::default())?;
        let best = found.into_iter().flatten().next().unwrap_or_default();
        Ok(self.target.decode(&best.tokens))
    }
}
