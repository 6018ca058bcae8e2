//! Generation with models that have tokenizers: text for text, and ensembles whose tokenizers must agree.

use super::{Generator, SearchOptions};
use crate::{
    Error, Result,
    model::{Model, TokenModel},
    text::Tokenizer,
};

impl Generator {
    /// A generator for `model` and `others` together, as [`Generator::of_ensemble`], whose tokenizers are compared. Feature
    /// `text`.
    ///
    /// # Errors
    /// [`Error::Data`] for models of different vocabularies, and for more than 16.
    pub fn ensemble(model: &Model, others: &[Model]) -> Result<Self> {
        for (number, other) in (2..).zip(others) {
            for (side, own, its) in [("source", &model.source, &other.source), ("target", &model.target, &other.target)]
            {
                if let Some(difference) = difference(own, its) {
                    let message = format!(
                        "its {side} vocabulary is not that of the first model: {difference}. Models of an ensemble are \
                         trained with the same tokenizers"
                    );
                    return Err(Error::data(format!("model {number} of the ensemble"), message));
                }
            }
        }
        Self::of_ensemble(&model.into(), &others.iter().map(TokenModel::from).collect::<Vec<_>>())
    }
}

impl Model {
    /// The text that the model writes for a source, by greedy search. For more sources or other options make a [`Generator`],
    /// which keeps its compiled Programs.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a source that cannot be encoded or is too long; the errors of the device.
    pub fn generate_text(&self, source: &str) -> Result<String> {
        let found = Generator::new(self).generate(&[self.encode(source)?], &SearchOptions::default())?;
        let best = found.into_iter().flatten().next().unwrap_or_default();
        self.text(source, &best.tokens)
    }
}

/// The first thing in which two vocabularies differ.
pub(crate) fn difference(own: &Tokenizer, other: &Tokenizer) -> Option<String> {
    if own.size() != other.size() {
        return Some(format!("it has {} tokens, not {}", other.size(), own.size()));
    }
    let differs = (0..own.size() as u32).find(|id| own.piece(*id) != other.piece(*id));
    differs.map(|id| format!("token {id} is `{}`, not `{}`", other.token(id), own.token(id)))
}
