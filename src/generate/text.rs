//! Text for text, in one line.

use super::{Generator, SearchOptions};
use crate::{Result, model::Model};

impl Model {
    /// The text that the model writes for a source, by greedy search. Whoever has more sources, or other options, makes a
    /// [`Generator`], which keeps what it compiles.
    ///
    /// # Errors
    /// As [`Model::encode`] and [`Generator::generate`].
    pub fn generate_text(&self, source: &str) -> Result<String> {
        let source = self.encode(source)?;
        let found = Generator::new(self).generate(&[source], &SearchOptions::default())?;
        let best = found.into_iter().flatten().next().unwrap_or_default();
        Ok(self.target.decode(&best.tokens))
    }
}
