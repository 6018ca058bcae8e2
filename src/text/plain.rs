//! Plain text, as language models learn it: in windows, each token predicted from those before it in its window.

use std::path::Path;

use super::{Example, Tokenizer, is_blank, read_lines};
use crate::{Error, Result};

/// The share of a text, one of so many, that is held out for validation where there is no text of its own for that.
const HELD_OUT: usize = 10;

/// Reads a text ([`read_lines`]); every line of it ends with LF, the last one too.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is not UTF-8, or blank.
pub fn read_plain(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let text: String = read_lines(path)?.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    if is_blank(&text) {
        return Err(Error::data(path.display().to_string(), "the text is blank; give it something to learn"));
    }
    Ok(text)
}

/// The most of a text, and its last tenth. They part where a line begins, if one does so there.
pub fn hold_out(text: &str) -> (&str, &str) {
    let from = text.len() - text.len() / HELD_OUT;
    let line = text.get(..from).and_then(|before| Some(before.rfind('\n')? + 1)).filter(|at| *at > 0);
    let scalar = || (0..=from).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let place = line.unwrap_or_else(scalar);
    text.split_at(place)
}

/// The tokens of a text.
///
/// # Errors
/// [`Error::Data`] where the tokenizer refuses it.
pub fn encode_plain(text: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    for piece in pieces(text) {
        tokens.extend(tokenizer.encode(piece)?);
    }
    Ok(tokens)
}

/// Pieces of a text that no token crosses: tokenizers take memory by the length of what they are given at once.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, behind) = rest.split_at(piece(rest));
        rest = behind;
        Some(piece)
    })
}

/// The length of the first piece: up to a line's end that stands between two letters or signs. Tokens may take several spaces
/// together.
fn piece(text: &str) -> usize {
    let ends = text.match_indices('\n').map(|(at, _)| at);
    let apart = |at: &usize| {
        let (before, behind) = text.split_at(*at);
        let solid = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        solid(before.chars().next_back()) && solid(behind.chars().nth(1))
    };
    ends.into_iter().find(apart).map_or(text.len(), |at| at + 1)
}

/// A text of these tokens in windows of `length`, each token in one of them. The first one is of `shift` tokens, unless that is 0,
/// and the last one holds the text's end.
pub fn windows(tokens: &[u32], length: usize, shift: usize) -> Vec<Example> {
    let cut = |window: &[u32]| Example { source: Vec::new(), target: window.to_vec(), cut: true };
    let (first, rest) = tokens.split_at(shift.min(tokens.len()));
    let first = Some(first).filter(|first| !first.is_empty());
    let mut windows: Vec<_> = first.into_iter().chain(rest.chunks(length.max(1))).map(cut).collect();
    match windows.last_mut() {
        Some(last) if last.target.len() < length => last.cut = false,
        _ => windows.push(Example::new(Vec::new(), Vec::new())),
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_every_token_once_and_the_end() {
        for (count, length, shift, last) in [
            (7, 3, 0, 1),
            (6, 3, 0, 0),
            (2, 3, 0, 2),
            (0, 3, 0, 0),
            (3, 1, 0, 0),
            (7, 3, 2, 2),
            (5, 3, 2, 0),
            (1, 3, 2, 1),
        ] {
            let tokens: Vec<u32> = (0..count).collect();
            let windows = windows(&tokens, length, shift);
            let all: Vec<u32> = windows.iter().flat_map(|window| window.target.clone()).collect();
            assert_eq!(all, tokens);
            let (end, others) = windows.split_last().unwrap();
            let lengths: Vec<_> = others.iter().map(|window| window.target.len()).collect();
            let (first, full) = lengths.split_at(usize::from(shift > 0 && !lengths.is_empty()));
            assert!(
                first.iter().all(|first| *first == shift) && full.iter().all(|full| *full == length),
                "{lengths:?}"
            );
            assert!(others.iter().all(|window| window.cut));
            assert_eq!((end.cut, end.target.len()), (false, last));
            assert!(windows.iter().all(|window| window.predicted() <= length), "{windows:?}");
        }
    }

    #[test]
    fn pieces_part_single_line_ends() {
        let parts = |text| pieces(text).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parts("a\nb\n"), ["a\n", "b\n"]);
        assert_eq!(parts("a\n\nb \nc\n d\ne"), ["a\n\nb \nc\n d\n", "e"]);
        assert!(parts("").is_empty());
    }

    #[test]
    fn a_tenth_is_held_out_from_a_line_on() {
        let text: String = (0..30).map(|line| format!("line {line:02}\n")).collect();
        let (train, valid) = hold_out(&text);
        assert_eq!((train.len(), valid.len()), (27 * 8, 3 * 8));
        assert_eq!(hold_out("ééééééééééé"), ("éééééééééé", "é"));
    }
}
