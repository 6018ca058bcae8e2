//! What `softalign generate` is given to answer.

use softalign::{
    Error, Result,
    generate::{Generator, SearchOptions},
    model::Model,
    text::{Tokenizer, escaped, is_blank},
};

use super::Args;
use crate::cli::flags;

/// A source that the model can read.
pub struct Source {
    /// As it was given.
    pub text: String,
    /// Its tokens, `<eos>` included.
    pub tokens: Vec<u32>,
    /// The tokens that its text begins with.
    pub prefix: Vec<u32>,
}

/// The reader of sources.
pub struct Reader<'a> {
    args: &'a Args,
    model: &'a Model,
    /// The name of a line without its number, for messages.
    origin: &'static str,
    /// The most tokens of a source, and of a text, their `<eos>` counted.
    longest: [usize; 2],
    /// The prefix of sources that bring none.
    prefix: Vec<u32>,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// [`Error::Data`] for a prefix that the tokenizer refuses, or that leaves a text no room.
    pub fn new(
        args: &'a Args,
        model: &'a Model,
        origin: &'static str,
        generator: &Generator,
        options: &SearchOptions,
    ) -> Result<Self> {
        let longest = [generator.longest(), options.max_length.unwrap_or(generator.longest())];
        let reader = Self { args, model, origin, longest, prefix: Vec::new() };
        let prefix = reader.target("--prefix", args.prefix.as_deref().unwrap_or_default())?;
        reader.check(&prefix).map_err(|error| Error::data("--prefix", error.to_string()))?;
        Ok(Self { prefix, ..reader })
    }

    /// The source on a line, or nothing where the line is blank or the model cannot read it.
    ///
    /// # Errors
    /// [`Error::Data`] for a tab that nobody has explained; under `--strict` for a source that the model cannot read.
    pub fn read(&self, number: u64, line: &str) -> Result<Option<Source>> {
        let place = format!("{} {number}", self.origin);
        if !self.model.network.limits().reads_source() {
            return self.answerable(place, |place| self.prompt(place, line));
        }
        if is_blank(line) {
            return Ok(None);
        }
        let wrong = |message: &str| Err(Error::data(&place, message));
        let (text, prefix) = match line.split_once('\t') {
            None => (line, None),
            Some(_) if !self.args.prefix_column => {
                return wrong(
                    "there is a tab. With --prefix-column what stands behind it is the prefix of the text; where it is a \
                     reference or the like, leave it out: `cut -f 1` does",
                );
            }
            Some((_, prefix)) if prefix.contains('\t') => {
                return wrong("there are several tabs; --prefix-column takes a source, a tab and a prefix");
            }
            Some((text, prefix)) => (text, Some(prefix)),
        };
        if is_blank(text) {
            return Ok(None);
        }
        self.answerable(place, |place| self.encode(place, text, prefix))
    }

    /// The source that `read` gives, or nothing where the model cannot read it.
    fn answerable(&self, place: String, read: impl FnOnce(&str) -> Result<Source>) -> Result<Option<Source>> {
        match read(&place) {
            Err(error) if !self.args.strict => {
                tracing::warn!("{place}: {}. Its answer is empty", flags::named(&error.to_string()));
                Ok(None)
            }
            Err(error) => Err(Error::data(place, error.to_string())),
            Ok(source) => Ok(Some(source)),
        }
    }

    /// A text for a language model to continue; from nothing, where there is none.
    fn prompt(&self, place: &str, text: &str) -> Result<Source> {
        let prefix = [self.prefix.clone(), self.target(place, text)?].concat();
        self.check(&prefix)?;
        Ok(Source { text: text.to_owned(), tokens: Vec::new(), prefix })
    }

    fn encode(&self, place: &str, text: &str, prefix: Option<&str>) -> Result<Source> {
        let tokens = self.model.encode(text)?;
        let prefix = prefix.map_or_else(|| Ok(self.prefix.clone()), |prefix| self.target(place, prefix))?;
        let [longest, _] = self.longest;
        if tokens.len() > longest {
            let message = format!("{} tokens with its <eos>, and this ensemble takes {longest}", tokens.len());
            return Err(Error::data("the source", message));
        }
        self.check(&prefix)?;
        warn_of_unknown(place, &self.model.source, text, &tokens)?;
        Ok(Source { text: text.to_owned(), tokens, prefix })
    }

    fn check(&self, prefix: &[u32]) -> Result<()> {
        let [_, longest] = self.longest;
        if prefix.len() < longest {
            return Ok(());
        }
        let message = format!("{} tokens, and texts have at most {longest} with their <eos>", prefix.len());
        let what = if self.model.network.limits().reads_source() { "the prefix" } else { "the prompt" };
        Err(Error::data(what, message))
    }

    /// The tokens of a prefix; says which pieces the model has not seen.
    fn target(&self, place: &str, text: &str) -> Result<Vec<u32>> {
        let tokens = self.model.target.encode(text)?;
        warn_of_unknown(place, &self.model.target, text, &tokens)?;
        Ok(tokens)
    }
}

fn warn_of_unknown(place: &str, tokenizer: &Tokenizer, text: &str, tokens: &[u32]) -> Result<()> {
    let unknown = tokenizer.specials().unk;
    if tokens.contains(&unknown) {
        // The source has special tokens around it.
        let (tokens, pieces) = (tokenizer.encode(text)?, tokenizer.tokens(text)?);
        for (piece, _) in pieces.iter().zip(tokens).filter(|(_, token)| *token == unknown) {
            tracing::warn!("{place}: the model has not seen `{}`; it reads <unk>", escaped(piece));
        }
    }
    Ok(())
}
