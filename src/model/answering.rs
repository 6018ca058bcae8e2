//! Texts to what a model learns to answer, and its answers to texts.

use super::{Answers, Model};
use crate::{
    Error, Result,
    names::setting,
    text::{Example, Pair, Tokenizer, escaped},
};

/// What a model reads of a text that it is to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens of the source; none for a model that reads no source.
    pub source: Vec<u32>,
    /// The tokens that the answer begins with: for such a model the text, which it continues.
    pub prefix: Vec<u32>,
}

impl Model {
    /// A text as [`generate`](crate::generate) takes it.
    ///
    /// # Errors
    /// [`Error::Data`] for a text that the tokenizer refuses, or a source longer than the model's `max_length`.
    pub fn prompt(&self, text: &str) -> Result<Prompt> {
        match self.network.limits().reads_source() {
            true => Ok(Prompt { source: self.encode(text)?, prefix: Vec::new() }),
            false => Ok(Prompt { source: Vec::new(), prefix: self.target.encode(text)? }),
        }
    }

    /// A pair as the model learns it.
    ///
    /// # Errors
    /// [`Error::Data`] for a text that the tokenizers refuse, a source longer than the model's `max_length`, and an answer that is to
    /// be a part of the source and is not.
    pub fn example(&self, pair: &Pair) -> Result<Example> {
        let source = if self.network.limits().reads_source() { self.encode(&pair.source)? } else { Vec::new() };
        if self.network.answers() != Answers::Spans {
            return Ok(Example::of(&self.target, source, self.target.encode(&pair.target)?));
        }
        let places = self.source.places(&pair.source, &pair.target)?.ok_or_else(|| {
            let start: String = escaped(&pair.target).chars().take(40).collect();
            Error::data(format!("the answer `{start}`"), "is not in the paragraph")
        })?;
        Ok(Example { source, target: places.to_vec(), cut: true })
    }

    /// A pair as the model is scored on it.
    ///
    /// # Errors
    /// Those of [`Model::example`], and [`Error::Data`] for a target longer than the model's `max_length`.
    pub fn scored(&self, pair: &Pair) -> Result<Example> {
        let example = self.example(pair)?;
        let (length, longest) = (example.predicted(), self.network.limits().max_length);
        if length > longest {
            let message = format!(
                "{length} tokens with its <eos>, and this model takes {longest}; shorten it, or train with a larger {}",
                setting("max_length")
            );
            return Err(Error::data("the target", message));
        }
        Ok(example)
    }

    /// The text of an answer to a source: what its tokens spell, the part of the source between two places, or the source with its
    /// masks filled in.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that the tokenizer refuses, and for one that has no parts.
    pub fn text(&self, source: &str, answer: &[u32]) -> Result<String> {
        match (self.network.answers(), answer) {
            (Answers::Spans, [first, last]) => Ok(self.source.part(source, [*first, *last])?.to_owned()),
            (Answers::Spans, _) => Ok(String::new()),
            (Answers::Filled { .. }, tokens) => self.source.fill(source, tokens),
            (_, tokens) => Ok(self.target.decode(tokens)),
        }
    }

    /// The tokens of a source and of an answer as an alignment shows them: the end of a text is one, too.
    pub fn names(&self, source: &[u32], answer: &[u32]) -> [Vec<String>; 2] {
        let name = |tokenizer: &Tokenizer, token: &u32| tokenizer.token(*token);
        let sources = source.iter().map(|token| name(&self.source, token)).collect();
        let answers = match self.network.answers() {
            Answers::Spans => {
                let at = |place: &u32| {
                    source.get(*place as usize).map_or_else(String::new, |token| name(&self.source, token))
                };
                ["first", "last"].iter().zip(answer).map(|(which, place)| format!("{which}:{}", at(place))).collect()
            }
            Answers::Classes => answer.iter().map(|class| name(&self.target, class)).collect(),
            _ => answer.iter().chain([&self.target.specials().eos]).map(|token| name(&self.target, token)).collect(),
        };
        [sources, answers]
    }
}
