//! What `softalign generate` is given to answer.

use softalign::{
    Error, Result,
    generate::{Generator, SearchOptions},
    model::{Answers, Model},
    text::{Tokenizer, as_line, escaped, is_blank},
};

use super::Args;

/// A source as it was given.
pub struct Source {
    /// Where it stands, for messages.
    pub place: String,
    pub text: String,
    /// None where the text is blank, or the model cannot read it.
    pub input: Option<Input>,
}

/// What the model reads of a source.
pub struct Input {
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
        let prefix = reader.target("--prefix", &as_line(args.prefix.as_deref().unwrap_or_default()))?;
        reader.check(&prefix).map_err(|error| Error::data("--prefix", error.to_string()))?;
        Ok(Self { prefix, ..reader })
    }

    /// The source on a line.
    ///
    /// # Errors
    /// [`Error::Data`] for a tab that nobody has explained; under `--strict` for a source that the model cannot read.
    pub fn read(&self, number: u64, line: &str) -> Result<Source> {
        let place = format!("{} {number}", self.origin);
        if !self.model.network.limits().reads_source() {
            let input = self.answerable(&place, || self.prompt(&place, line))?;
            return Ok(Source { place, text: line.to_owned(), input });
        }
        let wrong = |message: &str| Err(Error::data(&place, message));
        let asks = self.model.network.answers() == Answers::Spans;
        let (text, prefix) = match line.split_once('\t') {
            Some((_, paragraph)) if asks && paragraph.contains('\t') => {
                return wrong("there are several tabs; write question<TAB>paragraph, and no answer behind it");
            }
            Some(_) if asks || is_blank(line) => (line, None),
            None if asks && !is_blank(line) => {
                let message =
                    "there is no tab; write question<TAB>paragraph, and the answer will be a part of the paragraph";
                return wrong(message);
            }
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
        let read = || self.encode(&place, text, prefix);
        let input = if is_blank(text) { None } else { self.answerable(&place, read)? };
        Ok(Source { place, text: text.to_owned(), input })
    }

    /// What `read` gives, or nothing where the model cannot read it.
    fn answerable(&self, place: &str, read: impl FnOnce() -> Result<Input>) -> Result<Option<Input>> {
        match read() {
            Err(error) if !self.args.strict => {
                tracing::warn!("{place}: {error}. Its answer is empty");
                Ok(None)
            }
            Err(error) => Err(Error::data(place, error.to_string())),
            Ok(input) => Ok(Some(input)),
        }
    }

    /// A text for a language model to continue; from nothing, where there is none.
    fn prompt(&self, place: &str, text: &str) -> Result<Input> {
        let prefix = [self.prefix.clone(), self.target(place, text)?].concat();
        self.check(&prefix)?;
        Ok(Input { tokens: Vec::new(), prefix })
    }

    fn encode(&self, place: &str, text: &str, prefix: Option<&str>) -> Result<Input> {
        let asks = self.model.network.answers() == Answers::Spans;
        if asks && text.split_once('\t').is_none_or(|(_, paragraph)| is_blank(paragraph)) {
            return Err(Error::data("the paragraph", "is empty"));
        }
        let tokens = self.model.encode(text)?;
        let prefix = prefix.map_or_else(|| Ok(self.prefix.clone()), |prefix| self.target(place, prefix))?;
        let [longest, _] = self.longest;
        if tokens.len() > longest {
            let message = format!("{} tokens with its <eos>, and this ensemble takes {longest}", tokens.len());
            return Err(Error::data("the source", message));
        }
        self.check(&prefix)?;
        warn_of_unknown(place, &self.model.source, text, &tokens)?;
        Ok(Input { tokens, prefix })
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
        // The source has special tokens around it, between its parts, and where masks are.
        let mask = tokenizer.mask().map(|mask| tokenizer.piece(mask));
        let text = mask.map_or_else(|| text.to_owned(), |mask| text.replace(&mask, "\t"));
        for part in text.split('\t') {
            let (tokens, pieces) = (tokenizer.encode(part)?, tokenizer.tokens(part)?);
            for (piece, _) in pieces.iter().zip(tokens).filter(|(_, token)| *token == unknown) {
                tracing::warn!("{place}: the model has not seen `{}`; it reads <unk>", escaped(piece));
            }
        }
    }
    Ok(())
}
