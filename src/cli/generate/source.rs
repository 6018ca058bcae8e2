//! What `softalign generate` is given to answer.

use softalign::{
    Error, Result,
    generate::Generator,
    model::{Answers, Model},
    text::{Tokenizer, as_line, escaped, is_blank},
};

use super::{Args, Options};

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
    /// The most tokens of a source, and of a text where its options do not say; their `<eos>` counted.
    longest: usize,
    /// The text of --prefix, and its tokens.
    prefix: (String, Vec<u32>),
}

impl<'a> Reader<'a> {
    /// # Errors
    /// [`Error::Data`] for a prefix that the tokenizer refuses, or that leaves a text no room.
    pub fn new(args: &'a Args, model: &'a Model, origin: &'static str, generator: &Generator) -> Result<Self> {
        let longest = generator.longest();
        let reader = Self { args, model, origin, longest, prefix: Default::default() };
        let text = as_line(args.options.prefix.as_deref().unwrap_or_default()).into_owned();
        let prefix = reader.target("--prefix", &text)?;
        reader.check(&prefix, &args.options).map_err(|error| Error::data("--prefix", error.to_string()))?;
        Ok(Self { prefix: (text, prefix), ..reader })
    }

    /// The place of a line, for messages.
    pub fn place(&self, number: u64) -> String {
        format!("{} {number}", self.origin)
    }

    /// The source on a line.
    ///
    /// # Errors
    /// [`Error::Data`] for a tab that nobody has explained; under `--strict` for a source that the model cannot read.
    pub fn read(&self, number: u64, line: &str) -> Result<Source> {
        let place = self.place(number);
        let (text, prefix) = self.columns(line).map_err(|message| Error::data(&place, message))?;
        let input = match self.input(&place, text, prefix, &self.args.options) {
            Err(error) if !self.args.strict => {
                tracing::warn!("{place}: {error}. Its answer is empty");
                None
            }
            Err(error) => return Err(Error::data(place, error.to_string())),
            Ok(input) => input,
        };
        Ok(Source { place, text: text.to_owned(), input })
    }

    /// The source of an object.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that the model cannot read.
    pub fn read_with(&self, number: u64, text: &str, options: &Options) -> Result<Source> {
        let place = self.place(number);
        let (text, prefix) = self.columns(text).map_err(|message| Error::data("`text`", message))?;
        let input = self.input(&place, text, prefix, options)?;
        Ok(Source { place, text: text.to_owned(), input })
    }

    /// The source of a line, and the prefix behind a tab; or what is wrong with its tabs.
    fn columns<'t>(&self, line: &'t str) -> Result<(&'t str, Option<&'t str>), &'static str> {
        if !self.model.network.limits().reads_source() {
            return Ok((line, None));
        }
        let asks = self.model.network.answers() == Answers::Spans;
        match line.split_once('\t') {
            Some((_, paragraph)) if asks && paragraph.contains('\t') => {
                Err("there are several tabs; write question<TAB>paragraph, and no answer behind it")
            }
            Some(_) if asks || is_blank(line) => Ok((line, None)),
            None if asks && !is_blank(line) => {
                Err("there is no tab; write question<TAB>paragraph, and the answer will be a part of the paragraph")
            }
            None => Ok((line, None)),
            Some(_) if self.args.jsonl => Err("there is a tab; the field `prefix` has what a text begins with"),
            Some(_) if !self.args.prefix_column => Err(
                "there is a tab. With --prefix-column what stands behind it is the prefix of the text; where it is a \
                 reference or the like, leave it out: `cut -f 1` does",
            ),
            Some((_, prefix)) if prefix.contains('\t') => {
                Err("there are several tabs; --prefix-column takes a source, a tab and a prefix")
            }
            Some((text, prefix)) => Ok((text, Some(prefix))),
        }
    }

    /// What the model reads of a text; nothing of a blank one, unless it is a text to continue.
    fn input(&self, place: &str, text: &str, prefix: Option<&str>, options: &Options) -> Result<Option<Input>> {
        let prefix = as_line(prefix.or(options.prefix.as_deref()).unwrap_or_default());
        let prefix = || match &self.prefix {
            (common, tokens) if *common == prefix => Ok(tokens.clone()),
            _ => self.target(place, &prefix),
        };
        if !self.model.network.limits().reads_source() {
            let prefix = [prefix()?, self.target(place, text)?].concat();
            self.check(&prefix, options)?;
            return Ok(Some(Input { tokens: Vec::new(), prefix }));
        }
        if is_blank(text) {
            return Ok(None);
        }
        let asks = self.model.network.answers() == Answers::Spans;
        if asks && text.split_once('\t').is_none_or(|(_, paragraph)| is_blank(paragraph)) {
            return Err(Error::data("the paragraph", "is empty"));
        }
        let tokens = self.model.encode(text)?;
        let prefix = prefix()?;
        if tokens.len() > self.longest {
            let message = format!("{} tokens with its <eos>, and this ensemble takes {}", tokens.len(), self.longest);
            return Err(Error::data("the source", message));
        }
        self.check(&prefix, options)?;
        warn_of_unknown(place, &self.model.source, text, &tokens)?;
        Ok(Some(Input { tokens, prefix }))
    }

    fn check(&self, prefix: &[u32], options: &Options) -> Result<()> {
        let longest = options.search().max_length.unwrap_or(self.longest);
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
