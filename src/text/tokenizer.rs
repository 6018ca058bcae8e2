//! Text to token ids and back, over the `tokenizers` crate.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use tokenizers::{Decoder as _, ModelWrapper, PreTokenizerWrapper};

use super::byte_level;
use super::subwords::{self, Method};
use super::vocabulary::{TokenUnit, VocabularyLimits, escape, unescape};
use super::{Merges, SPECIALS, Specials, Tokenization, escaped, foreign, frame::Frame, is_blank, mask, text_of};
use crate::{Error, Result, files, visible::replaced};

/// The sign between the two texts of a source.
pub(super) const BETWEEN: char = '\t';

/// The second text of a source.
pub(super) struct Second<'a> {
    pub text: &'a str,
    /// The place of its first token among those of the source.
    pub place: usize,
    /// Where each of its tokens begins and ends in the text.
    pub tokens: Vec<(usize, usize)>,
}

/// A vocabulary and the way a text is cut into its tokens; on disk a Hugging Face `tokenizer.json`.
///
/// Ids 0 to 3 are `<pad>`, `<bos>`, `<eos>` and `<unk>` ([`SPECIALS`]), but for those of models from elsewhere
/// ([`Tokenizer::load_for`]). Text never becomes a special token other than the unknown one: a text that holds `<eos>` is read as
/// those five characters, or as a word like any other.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    specials: Specials,
    /// The ids that stand for no text: the special tokens, but for the unknown one.
    silent: HashSet<u32>,
    frame: Frame,
    /// The token that stands in place of those that an encoder is to find, if there is one.
    mask: Option<u32>,
    /// One past the largest id.
    size: usize,
}

impl Tokenizer {
    /// Builds the vocabulary of `texts`: the specials, then characters or words by frequency (descending), then by code
    /// point; or subwords, in the order in which their training has them; or reads the file that `unit` names.
    ///
    /// `max_size` limits a vocabulary of characters or words, the four specials included.
    ///
    /// # Errors
    /// [`Error::Data`] where the texts hold no token, or the size leaves no room for one; as [`Tokenizer::adopt`].
    pub fn train<'a>(unit: &TokenUnit, texts: impl Iterator<Item = &'a str>, max_size: Option<usize>) -> Result<Self> {
        Self::train_within(unit, texts, VocabularyLimits { max_size, ..VocabularyLimits::default() })
    }

    /// As [`Tokenizer::train`], within more limits.
    ///
    /// # Errors
    /// As there.
    pub fn train_within<'a>(
        unit: &TokenUnit,
        texts: impl Iterator<Item = &'a str>,
        limits: VocabularyLimits,
    ) -> Result<Self> {
        let subwords = |method, texts, size| subwords::train(method, texts, size, limits.min_count);
        match unit {
            TokenUnit::Chars | TokenUnit::Words | TokenUnit::Whole => Self::ranked(unit, texts, limits),
            TokenUnit::Bpe(size) => subwords(Method::Bpe, texts, *size).map(Self::for_user_text),
            TokenUnit::Unigram(size) => subwords(Method::Unigram, texts, *size).map(Self::for_user_text),
            TokenUnit::Bytes(size) => {
                byte_level::train(texts, size.unwrap_or(byte_level::LEAST), limits.min_count).map(Self::for_user_text)
            }
            TokenUnit::File(path) => Self::adopt(path),
        }
    }

    /// Turns off everything that would read more, or less, out of a text than its own tokens.
    fn for_user_text(inner: tokenizers::Tokenizer) -> Self {
        Self::with_specials(inner, Specials::FIRST)
    }

    /// The same for a tokenizer with these special tokens.
    pub(super) fn with_specials(mut inner: tokenizers::Tokenizer, specials: Specials) -> Self {
        // "<eos>" within a text is text. This setting is not kept in the file, so `load` needs it too.
        inner.set_encode_special_tokens(true);
        // Lengths and padding belong to the batches; a file made elsewhere may ask for its own.
        inner.with_padding(None);
        // Removing a truncation cannot fail: only its stride is ever checked.
        let _ = inner.with_truncation(None);
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id);
        let mut silent: HashSet<u32> = special.chain([specials.pad, specials.bos, specials.eos]).collect();
        silent.remove(&specials.unk);
        let size = inner.get_vocab(true).into_values().max().map_or(0, |last| last as usize + 1);
        let eos = (specials.eos != u32::MAX).then_some(specials.eos);
        let frame = Frame::of(inner.get_post_processor(), eos);
        let mask = mask::of(&inner);
        Self { inner, specials, silent, frame, mask, size }
    }

    /// The same with `<bos>` before a source as well as `<eos>` behind it, for an encoder whose first state stands for a text, and
    /// with `<eos>` between the two texts of a source.
    ///
    /// # Errors
    /// [`Error::Data`] for a vocabulary that lacks one of them.
    pub fn begun(mut self) -> Result<Self> {
        let Specials { bos, eos, .. } = self.specials;
        let frame = Frame { before: vec![bos], between: vec![eos], behind: vec![eos] };
        let processor = frame.processor(|id| self.inner.id_to_token(id));
        self.inner.with_post_processor(Some(processor.map_err(|why| Error::data("tokenizer", why))?));
        Ok(Self { frame, ..self })
    }

    /// The same with a token for those that an encoder is to find, unless it has one.
    ///
    /// # Errors
    /// [`Error::Data`] for a vocabulary that takes no further token.
    pub fn with_mask(self) -> Result<Self> {
        if self.mask.is_some() {
            return Ok(self);
        }
        let Self { mut inner, specials, .. } = self;
        mask::add(&mut inner).map_err(|source| Error::data("tokenizer", source.to_string()))?;
        Ok(Self::with_specials(inner, specials))
    }

    /// The id of the token that stands in place of those that an encoder is to find.
    pub fn mask(&self) -> Option<u32> {
        self.mask
    }

    /// The ids of a whole source of one text, in which the token for what is to be found is written as it is named, such as `[MASK]`.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode_masked(&self, text: &str) -> Result<Vec<u32>> {
        if self.mask.is_none() {
            return self.encode_source(text);
        }
        Ok(self.framed(self.read_masked(text)?.into_iter().map(|(id, _)| id).collect()))
    }

    /// The ids of such a text by itself, and where each begins and ends in it, in bytes.
    pub(super) fn read_masked(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = guarded(|| match self.mask {
            Some(mask) => mask::read(&self.inner, mask, text),
            None => self.inner.encode(text, false),
        });
        let encoding = encoding.map_err(|source| refused(text, &*source))?;
        let read = encoding.get_ids().iter().zip(encoding.get_offsets());
        let own = |id: u32, place| if Some(id) == self.mask { id } else { self.spelled(text, id, place) };
        Ok(read.map(|(id, place)| (own(*id, *place), place.0..place.1)).collect())
    }

    /// The ids that stand for text, but for the unknown token.
    pub fn words(&self) -> Vec<u32> {
        (0..self.size as u32).filter(|id| !self.is_silent(*id) && *id != self.specials.unk).collect()
    }

    /// Whether a whole text is one token, so that nothing is expected behind it.
    pub fn takes_whole(&self) -> bool {
        self.inner.get_pre_tokenizer().is_none() && !self.cuts_words()
    }

    /// The special tokens' ids. One that there is none of is `u32::MAX`.
    pub fn specials(&self) -> Specials {
        self.specials
    }

    /// Whether the id stands for no text at all, such as that of `<eos>`.
    fn is_silent(&self, id: u32) -> bool {
        self.silent.contains(&id)
    }

    /// The ids of a whole source for an encoder: those of its text between the special tokens that the model was trained with,
    /// for this crate's own models an `<eos>` at the end.
    pub fn framed(&self, ids: Vec<u32>) -> Vec<u32> {
        self.frame.around(ids)
    }

    /// How whole sources are read, in words: `<bos> … <eos>`, with `…` for a text.
    pub fn framing(&self) -> String {
        self.frame.shown(|id| self.piece(id))
    }

    /// The ids of a whole source, with its special tokens around it; where the tokenizer has some for between two texts, a tab parts
    /// them.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode_source(&self, text: &str) -> Result<Vec<u32>> {
        self.source_by(text, |part| self.encode(part))
    }

    /// The same with the ids that `encode` has for each text of the source.
    ///
    /// # Errors
    /// Those of `encode`.
    pub(crate) fn source_by<E>(
        &self,
        text: &str,
        mut encode: impl FnMut(&str) -> Result<Vec<u32>, E>,
    ) -> Result<Vec<u32>, E> {
        match self.parted(text) {
            Some((first, second)) => Ok(self.frame.around_both([encode(first)?, encode(second)?])),
            None => Ok(self.framed(encode(text)?)),
        }
    }

    /// The two texts of a source.
    fn parted<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        text.split_once(BETWEEN).filter(|_| !self.frame.between.is_empty())
    }

    /// The second text of a source, the place of its first token among all of [`Tokenizer::encode_source`], and where each of its
    /// tokens begins and ends in it, in bytes; nothing for a source of one text.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub(super) fn second<'a>(&self, source: &'a str) -> Result<Option<Second<'a>>> {
        let Some((first, text)) = self.parted(source) else { return Ok(None) };
        let place = self.frame.before.len() + self.encode(first)?.len() + self.frame.between.len();
        let encoding = guarded(|| self.inner.encode(text, false)).map_err(|error| refused(text, &*error))?;
        Ok(Some(Second { text, place, tokens: encoding.get_offsets().to_vec() }))
    }

    /// The places of a source's own tokens among those of [`Tokenizer::framed`].
    pub fn own(&self, framed: &[u32]) -> Range<usize> {
        let end = framed.len().saturating_sub(self.frame.behind.len());
        self.frame.before.len().min(end)..end
    }

    /// The ids of `text`, without special tokens around it; what the vocabulary lacks becomes the unknown token.
    ///
    /// # Errors
    /// [`Error::Data`] where the tokenizer refuses the text (only files made elsewhere do).
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if SPECIALS.iter().any(|special| text.contains(special)) {
            return self.encode_spelled(text);
        }
        let encoding = guarded(|| self.inner.encode_fast(text, false)).map_err(|source| refused(text, &*source))?;
        Ok(encoding.get_ids().iter().map(|&id| if self.is_silent(id) { self.specials.unk } else { id }).collect())
    }

    /// The ids of a text that may have words spelled like special tokens, which find those tokens' entries and not their own.
    fn encode_spelled(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.inner.encode(text, false)).map_err(|source| refused(text, &*source))?;
        let read = encoding.get_ids().iter().zip(encoding.get_offsets());
        Ok(read.map(|(id, place)| self.spelled(text, *id, *place)).collect())
    }

    /// The id of what stands between two bytes of a text, where the tokenizer says `id`.
    fn spelled(&self, text: &str, id: u32, (start, end): (usize, usize)) -> u32 {
        match text.get(start..end) {
            _ if id != self.specials.unk && !self.is_silent(id) => id,
            Some(word) if SPECIALS.contains(&word) => {
                self.inner.token_to_id(&escape(word)).unwrap_or(self.specials.unk)
            }
            _ => self.specials.unk,
        }
    }

    /// The text of `ids`: special tokens and ids outside the vocabulary are skipped, but `<unk>` is shown.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.decode_replacing(ids, |_| None)
    }

    /// The text of `ids` as [`Tokenizer::decode`] has it, with something else in place of an unknown token: what `replacement` has
    /// for its place among `ids`.
    pub fn decode_replacing<'a>(&self, ids: &[u32], replacement: impl Fn(usize) -> Option<&'a str>) -> String {
        let piece = |(place, &id): (usize, &u32)| match id {
            id if self.is_silent(id) => None,
            id if id == self.specials.unk => replacement(place).map(str::to_owned).or_else(|| self.entry(id)),
            id => self.entry(id),
        };
        let pieces: Vec<String> = ids.iter().enumerate().filter_map(piece).collect();
        match self.inner.get_decoder() {
            // Neither decoder of this crate fails; one from elsewhere may. The bare tokens say more than nothing.
            Some(decoder) => guarded(|| decoder.decode(pieces.clone())).unwrap_or_else(|_| pieces.join(" ")),
            None => pieces.join(" "),
        }
    }

    /// The units that metrics compare, of generated `ids`: tokens, and of subwords the words that they spell.
    pub fn units(&self, ids: &[u32]) -> Vec<String> {
        if self.cuts_words() {
            return words(&self.decode(ids));
        }
        ids.iter().map(|&id| self.piece(id)).collect()
    }

    /// The units that metrics compare, of a reference: its tokens as written, and of subwords its words.
    ///
    /// # Errors
    /// [`Error::Data`] where the tokenizer refuses the text (only files made elsewhere do).
    pub fn units_of(&self, text: &str) -> Result<Vec<String>> {
        if self.cuts_words() { Ok(words(text)) } else { self.tokens(text) }
    }

    /// The tokens of BLEU, where nobody asks for others: what the text has between its spaces, or characters.
    pub fn tokenization(&self) -> Tokenization {
        if self.scores_words() { Tokenization::None } else { Tokenization::Char }
    }

    /// Whether metrics compare words, or else characters.
    pub fn scores_words(&self) -> bool {
        let by_character = matches!(self.inner.get_pre_tokenizer(), Some(PreTokenizerWrapper::Split(_)));
        !by_character || self.cuts_words()
    }

    /// Whether tokens are parts of words, so that nobody but this vocabulary has the same.
    fn cuts_words(&self) -> bool {
        !matches!(self.inner.get_model(), ModelWrapper::WordLevel(_))
    }

    /// The id of a token by its name in the file.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of a token in the vocabulary.
    pub fn piece(&self, id: u32) -> String {
        self.entry(id).unwrap_or_else(|| format!("<no token {id}>"))
    }

    /// The text of a token, if there is one of this id.
    fn entry(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id).map(unescape)
    }

    /// One token for a picture or a table: white space and characters that one cannot see get a visible sign.
    pub fn token(&self, id: u32) -> String {
        let Some(token) = self.entry(id) else { return self.piece(id) };
        let sign = |c: char| match c {
            ' ' => "␣".to_owned(),
            '\n' => "⏎".to_owned(),
            '\t' => "⇥".to_owned(),
            c => format!("U+{:04X}", u32::from(c)),
        };
        if is_blank(&token) { token.chars().map(sign).collect() } else { replaced(&token, sign).replace(' ', "␣") }
    }

    /// The pieces that `text` is cut into, as written (also those that the vocabulary lacks).
    ///
    /// # Errors
    /// [`Error::Data`] where the tokenizer refuses the text (only files made elsewhere do).
    pub fn tokens(&self, text: &str) -> Result<Vec<String>> {
        let encoding = guarded(|| self.inner.encode(text, false)).map_err(|source| refused(text, &*source))?;
        let pieces = encoding.get_offsets().iter().zip(encoding.get_tokens());
        // A byte-level vocabulary made elsewhere may cut within a scalar, and the sign before a word is not in the text;
        // then the token's own name is what there is.
        let written = |start, end| text.get(start..end).filter(|piece| !piece.is_empty());
        Ok(pieces.map(|(&(start, end), token)| written(start, end).unwrap_or(token).to_owned()).collect())
    }

    /// For each token of `text`, the text that replaces an unknown word attending to it: itself, or the word of a subword.
    ///
    /// # Errors
    /// [`Error::Data`] where the tokenizer refuses the text (only files made elsewhere do).
    pub fn copies(&self, text: &str) -> Result<Vec<String>> {
        if !self.cuts_words() {
            return self.tokens(text);
        }
        let encoding = guarded(|| self.inner.encode(text, false)).map_err(|source| refused(text, &*source))?;
        let word = |start: usize| -> Option<String> {
            // The space before a word belongs to its first token.
            let rest = text.get(start..)?;
            let at = start + rest.find(|c: char| !c.is_whitespace())?;
            let (before, after) = text.split_at_checked(at)?;
            let before = before.rsplit(char::is_whitespace).next()?;
            Some([before, after.split(char::is_whitespace).next()?].concat())
        };
        let tokens = encoding.get_offsets().iter().zip(encoding.get_tokens());
        Ok(tokens.map(|(&(start, _), token)| word(start).unwrap_or_else(|| token.clone())).collect())
    }

    /// The merges of byte-pair encoding, if these are what makes tokens of characters.
    pub fn merges(&self) -> Option<Merges> {
        match self.inner.get_model() {
            ModelWrapper::BPE(bpe) => Merges::of(serde_json::to_value(bpe).ok()?),
            _ => None,
        }
    }

    /// One past the largest id, the specials included: the rows that a model's table of words needs.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Writes `path` as a Hugging Face `tokenizer.json`: to a temporary name, synced, then renamed.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let json = self.inner.to_string(true).map_err(|source| Error::data(show(path), source.to_string()))?;
        crate::files::write_atomically(path, json.as_bytes())
    }

    /// Writes `path` as [`Tokenizer::save`] does, with a post-processor that puts the special tokens around a text, for programs
    /// that know of them by the file alone.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written; [`Error::Data`] for special tokens that the vocabulary lacks.
    pub fn save_framed(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut framed = self.clone();
        if self.inner.get_post_processor().is_none() && self.frame != Frame::default() {
            let processor = self.frame.processor(|id| self.inner.id_to_token(id));
            let failed = |why: String| Error::data(show(path.as_ref()), why);
            framed.inner.with_post_processor(Some(processor.map_err(failed)?));
        }
        framed.save(path)
    }

    /// Whether another has the same file.
    pub fn is_same(&self, other: &Self) -> bool {
        let file = |tokenizer: &Self| tokenizer.inner.to_string(false).ok();
        file(self) == file(other)
    }

    /// Reads a Hugging Face `tokenizer.json` whose first ids are [`SPECIALS`]: one that [`Tokenizer::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no tokenizer, its first four ids are
    /// not [`SPECIALS`], or its ids have gaps.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::of_json(&show(path), &files::read(path)?)
    }

    /// Reads the bytes of such a file. `name` names it in errors.
    ///
    /// # Errors
    /// [`Error::Data`] as there.
    fn of_json(name: &str, json: &[u8]) -> Result<Self> {
        let tokenizer = Self::for_user_text(parse(name, json)?);
        for (wanted, special) in (0..).zip(SPECIALS) {
            let got = tokenizer.inner.token_to_id(special);
            if got != Some(wanted) {
                let got = got.map_or("is missing".to_owned(), |id| format!("has id {id}"));
                let message = format!(
                    "`{special}` {got}, and must have id {wanted}; make the tokenizer with the special tokens \
                     <pad>, <bos>, <eos>, <unk> first, in this order"
                );
                return Err(Error::data(name, message));
            }
        }
        tokenizer.check_ids(name)?;
        Ok(tokenizer)
    }

    /// Reads the `tokenizer.json` of a model with these special tokens, with the ids that the file has: Hugging Face's own, with
    /// whatever normalisers, pre-tokenisers and special tokens around a text it asks for. Padding and truncation are not its
    /// business here.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no tokenizer, and as [`Tokenizer::load`] where the
    /// special tokens are this crate's own.
    pub fn load_for(path: impl AsRef<Path>, specials: Specials) -> Result<Self> {
        let path = path.as_ref();
        Self::of_json_for(&show(path), &files::read(path)?, specials)
    }

    /// Reads the bytes of such a file, as [`Tokenizer::load_for`] does. `name` names it in errors.
    ///
    /// # Errors
    /// [`Error::Data`] as there.
    pub fn of_json_for(name: &str, json: &[u8], specials: Specials) -> Result<Self> {
        match specials {
            Specials::FIRST => Self::of_json(name, json),
            specials => Ok(Self::with_specials(parse(name, json)?, specials)),
        }
    }

    /// The special tokens as far as a file says itself: the unknown one, and as `bos` and `eos` what it puts first before a text and
    /// last behind it. Those that it says nothing of are `u32::MAX`.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no tokenizer.
    pub fn stated_specials(path: impl AsRef<Path>) -> Result<Specials> {
        let inner = parse_file(path.as_ref())?;
        let frame = inner.get_post_processor().map(Frame::made_by).unwrap_or_default();
        let model = serde_json::to_value(inner.get_model()).ok();
        let unknown = model.as_ref().and_then(Value::as_object).and_then(foreign::unknown);
        let id = |id: Option<u32>| id.unwrap_or(u32::MAX);
        Ok(Specials {
            pad: u32::MAX,
            bos: id(frame.before.first().copied()),
            eos: id(frame.behind.last().copied()),
            unk: id(unknown.and_then(|token| inner.token_to_id(&token))),
        })
    }

    /// The id of the token for what an encoder is to find, as far as a file has one.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no tokenizer.
    pub fn stated_mask(path: impl AsRef<Path>) -> Result<Option<u32>> {
        Ok(mask::of(&parse_file(path.as_ref())?))
    }

    /// Reads any Hugging Face `tokenizer.json`. Where its first ids are not [`SPECIALS`], tokens get new ids: those four
    /// first, then the others in their old order; its own unknown token becomes `<unk>`. [`Tokenizer::save`] keeps the
    /// new ids.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no tokenizer.
    pub fn adopt(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if let Ok(tokenizer) = Self::load(path) {
            return Ok(tokenizer);
        }
        let refused = |source: String| Error::data(show(path), format!("its tokens cannot be renumbered: {source}"));
        // By way of the crate, which fills in what old files leave out.
        let whole = parse_file(path)?;
        let json = guarded(|| whole.to_string(false)).map_err(|source| refused(source.to_string()))?;
        let mut json = serde_json::from_str(&json).map_err(|source| refused(source.to_string()))?;
        foreign::renumber(&mut json).ok_or_else(|| refused("it has no vocabulary of a known form".into()))?;
        let inner = guarded(|| json.to_string().parse()).map_err(|source| refused(source.to_string()))?;
        let tokenizer = Self::for_user_text(inner);
        tokenizer.check_ids(&show(path))?;
        Ok(tokenizer)
    }

    /// Embedding tables have one row per id from 0 to `size() - 1`: an id past that would read outside them.
    fn check_ids(&self, name: &str) -> Result<()> {
        let ids: HashSet<u32> = self.inner.get_vocab(true).into_values().collect();
        let size = self.inner.get_vocab_size(true);
        match (0..).take(size).find(|id| !ids.contains(id)) {
            Some(id) => {
                let message =
                    format!("no token has id {id}, with {size} tokens in all; number them from 0 without gaps");
                Err(Error::data(name, message))
            }
            None => Ok(()),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Calls the tokenizers crate, and turns its panics, which some files made wrongly elsewhere cause, into errors.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the tokenizers crate fails on this file".into()))
}

fn parse_file(path: &Path) -> Result<tokenizers::Tokenizer> {
    parse(&show(path), &files::read(path)?)
}

/// The tokenizer in the bytes of the file `name`.
fn parse(name: &str, json: &[u8]) -> Result<tokenizers::Tokenizer> {
    let text = text_of(name, json)?;
    guarded(|| text.parse()).map_err(|source| Error::data(name, format!("not a Hugging Face tokenizer.json: {source}")))
}

/// A path as messages show it.
fn show(path: &Path) -> String {
    path.display().to_string()
}

/// The error for a text that cannot be cut into tokens.
fn refused(text: &str, source: &(dyn std::error::Error + Send + Sync)) -> Error {
    let start: String = escaped(text).chars().take(40).collect();
    Error::data("tokenizer", format!("cannot encode the text that starts `{start}`: {source}"))
}
