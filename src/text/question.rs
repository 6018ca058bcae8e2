//! Questions over paragraphs, whose answers are parts of these (Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of
//! Text", 2016): from tab-separated files to the places of an answer among a source's tokens, and back.
//!
//! The source of such a pair is the question, a tab and the paragraph.

use std::path::Path;

use super::{Example, Pair, Tokenizer, corpus::read_columns, escaped, is_blank, tokenizer::Second};
use crate::{Error, Result};

/// The form of a line, for messages.
const FORM: &str = "question<TAB>paragraph<TAB>answer";

/// Reads pairs from a file with one `question<TAB>paragraph<TAB>answer` per line ([`super::read_lines`]); one empty line may end it.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] with the line for everything else, such as an answer that is not in
/// its paragraph.
pub fn read_questions(path: impl AsRef<Path>) -> Result<Vec<Pair>> {
    read_columns(path.as_ref(), FORM, |columns| match columns {
        [question, paragraph, answer] => {
            for (name, text) in [("question", question), ("paragraph", paragraph), ("answer", answer)] {
                if is_blank(text) {
                    return Err(format!("the {name} is empty; fill it in, or delete the line"));
                }
            }
            if !paragraph.contains(answer) {
                return Err(format!(
                    "the answer \"{}\" is not in the paragraph; copy it from there letter by letter",
                    escaped(answer)
                ));
            }
            Ok(Pair::new(format!("{question}\t{paragraph}"), *answer))
        }
        columns => Err(format!("there are {} tabs, and two are wanted; write {FORM}", columns.len() - 1)),
    })
}

/// Turns questions and their answers into token ids of sources and the places of the answers; `name` is the file or task they came from,
/// for messages. Pairs are numbered like the lines of [`read_questions`], from 1.
///
/// # Errors
/// [`Error::Data`] with the line of a source that is no question and paragraph, or whose answer is not in the paragraph.
pub fn encode_questions(name: &str, pairs: &[Pair], tokenizer: &Tokenizer) -> Result<Vec<Example>> {
    let encode = |(pair, line): (&Pair, usize)| {
        let wrong = |what: &str| Error::data(name, format!("line {line}: {what}"));
        let places = tokenizer.places(&pair.source, &pair.target).map_err(|error| wrong(&error.to_string()))?;
        let places = places.ok_or_else(|| wrong("the answer is not in the paragraph, or holds no token of it"))?;
        Ok(Example { source: tokenizer.encode_source(&pair.source)?, target: places.to_vec(), cut: true })
    };
    pairs.iter().zip(1..).map(encode).collect()
}

impl Tokenizer {
    /// The places, among the tokens of a source, of the first and the last token of an answer: where the paragraph has it first, rather
    /// between whole tokens than within them. Nothing where the paragraph does not have it.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that is not a question, a tab and a paragraph, or that the tokenizer refuses.
    pub fn places(&self, source: &str, answer: &str) -> Result<Option<[u32; 2]>> {
        let Second { text, place, tokens } = self.paragraph(source)?;
        // A token may have the space before it.
        let solid = |(start, end): &(usize, usize)| {
            let token = text.get(*start..*end).unwrap_or_default();
            (end - token.trim_start().len(), start + token.trim_end().len())
        };
        let tokens: Vec<_> = tokens.iter().map(solid).collect();
        let found = |at: usize| {
            let end = at + answer.len();
            let first = tokens.iter().position(|token| token.1 > at)?;
            let last = tokens.iter().rposition(|token| token.0 < end).filter(|last| *last >= first)?;
            let whole = tokens.get(first)?.0 == at && tokens.get(last)?.1 == end;
            Some((whole, [first, last].map(|token| (place + token) as u32)))
        };
        let all = || text.match_indices(answer).filter_map(|(at, _)| found(at));
        Ok(all().find(|(whole, _)| *whole).or_else(|| all().next()).map(|(_, places)| places))
    }

    /// The part of a source's paragraph from the token at the first of two places to that at the second; empty where they lie outside.
    ///
    /// # Errors
    /// Those of [`Tokenizer::places`].
    pub fn part<'a>(&self, source: &'a str, [first, last]: [u32; 2]) -> Result<&'a str> {
        let Second { text, place, tokens } = self.paragraph(source)?;
        let token = |at: u32| tokens.get((at as usize).checked_sub(place)?);
        let part = token(first).zip(token(last)).and_then(|(first, last)| text.get(first.0..last.1));
        Ok(part.unwrap_or_default().trim())
    }

    fn paragraph<'a>(&self, source: &'a str) -> Result<Second<'a>> {
        self.second(source)?.filter(|second| !is_blank(second.text)).ok_or_else(|| {
            let start: String = escaped(source).chars().take(40).collect();
            Error::data(
                format!("the source that starts `{start}`"),
                "is not a question, a tab and a paragraph to find the answer in",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TokenUnit;

    fn tokenizer(unit: &TokenUnit) -> Tokenizer {
        let texts =
            ["where is Ann ?", "Ann took the red ball . Bob is in the kitchen . the ball is in the kitchen garden"];
        Tokenizer::train(unit, texts.into_iter(), None).unwrap().begun().unwrap()
    }

    #[test]
    fn answers_are_found_and_cut_out_again() {
        let source = "where is Ann ?\tAnn took the red ball . Bob is in the kitchen .";
        for unit in [TokenUnit::Words, TokenUnit::Chars, TokenUnit::Bytes(None)] {
            let tokenizer = tokenizer(&unit);
            let tokens = tokenizer.encode_source(source).unwrap();
            for answer in ["Ann", "red ball", "the", "kitchen .", "Ann took the red ball . Bob is in the kitchen ."] {
                let places = tokenizer.places(source, answer).unwrap().unwrap();
                assert_eq!(tokenizer.part(source, places).unwrap(), answer, "{unit}");
                let last = places[1] as usize;
                assert!(places[0] <= places[1] && last < tokens.len() - 1, "{unit} {places:?}");
            }
            assert_eq!(tokenizer.places(source, "blue").unwrap(), None);
            assert_eq!(tokenizer.part(source, [0, 0]).unwrap(), "", "{unit}");
        }
        let words = tokenizer(&TokenUnit::Words);
        // <bos>, the question, <eos>, and the paragraph.
        assert_eq!(words.places(source, "Ann").unwrap(), Some([6, 6]));
        // Whole words before parts of others, which are as near as it gets.
        let source = "where is Ann ?\tthe inner kitchen is in the red ball";
        assert_eq!(words.places(source, "in").unwrap(), Some([10, 10]));
        assert_eq!(words.places(source, "kitch").unwrap(), Some([8, 8]));
        let message = words.places("where is Ann ?", "Ann").unwrap_err().to_string();
        assert!(message.contains("a tab"), "{message}");
    }

    #[test]
    fn lines_that_are_no_questions_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.tsv");
        for (line, named) in [
            ("a\tb", "1 tabs"),
            ("a\tb c\td", "\"d\" is not in the paragraph"),
            ("a\t \td", "the paragraph is empty"),
            ("", "blank"),
        ] {
            std::fs::write(&path, format!("q\tb c\tc\n{line}\nq\tb c\tb\n")).unwrap();
            let message = read_questions(&path).unwrap_err().to_string();
            assert!(message.contains("line 2") && message.contains(named), "{message}");
        }
        std::fs::write(&path, "q\tb c\tc\n").unwrap();
        assert_eq!(read_questions(&path).unwrap(), [Pair::new("q\tb c", "c")]);
    }
}
