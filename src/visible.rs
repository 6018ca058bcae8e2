//! Characters that one cannot see, where text of users is shown.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

use std::path::Path;

/// Letters without ink, which have the categories of others.
const FILLERS: [char; 7] = ['\u{34f}', '\u{115f}', '\u{1160}', '\u{17b4}', '\u{17b5}', '\u{3164}', '\u{ffa0}'];

/// Zero-width non-joiner and joiner.
const JOINERS: [char; 2] = ['\u{200c}', '\u{200d}'];

/// Whether a character can be seen, or is a mere space.
fn is_visible(c: char) -> bool {
    // Quotes are escaped for Rust's sake alone, and marks that join a letter are only where they stand alone.
    matches!(c, '\'' | '"' | '\\') || String::from_iter(['a', c]).escape_debug().count() == 2 && !FILLERS.contains(&c)
}

/// Whether a joiner beside a character belongs to the way the two sides are written: a letter, a mark on one, or a picture.
fn is_joined(c: char) -> bool {
    let is_mark = !c.is_ascii() && c.escape_debug().count() > 1 && is_visible(c);
    c.is_alphabetic() || is_mark || matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}')
}

/// A text with something else in place of each character that one cannot see. Joiners between letters, which Persian and the
/// scripts of India are not written without, are text.
pub(crate) fn replaced(text: &str, replacement: impl Fn(char) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut before, mut rest) = (None, text.chars());
    while let Some(c) = rest.next() {
        let sides = [before, rest.clone().next()];
        let joins = JOINERS.contains(&c) && sides.into_iter().all(|side| side.is_some_and(is_joined));
        if joins || is_visible(c) {
            shown.push(c)
        } else {
            shown.push_str(&replacement(c))
        }
        before = Some(c);
    }
    shown
}

/// A text as messages quote it: characters that one cannot see as Rust writes them, such as `\0`, `\t` or `\u{200b}`.
pub fn escaped(text: &str) -> String {
    replaced(text, |c| if c.is_ascii() { c.escape_debug().to_string() } else { c.escape_unicode().to_string() })
}

/// A path as messages show it, on one line.
pub(crate) fn shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}
