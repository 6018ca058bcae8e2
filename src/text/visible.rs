//! Characters that one cannot see.

use std::sync::LazyLock;

use regex::Regex;

/// Everything that leaves no ink: white space, control characters, and what Unicode has programs ignore where they cannot show
/// it, such as U+200B and the byte-order mark.
#[expect(clippy::expect_used, reason = "the pattern is part of the program, and tests use it")]
static BLANK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\p{White_Space}\p{Cc}\p{Default_Ignorable_Code_Point}]*$").expect("a pattern that can be read")
});

/// Whether a text shows nothing at all.
pub fn is_blank(text: &str) -> bool {
    BLANK.is_match(text)
}

/// Whether a character can be seen, or is a mere space.
fn is_visible(c: char) -> bool {
    // Quotes are escaped for Rust's sake alone, and marks that join a letter are only where they stand alone.
    matches!(c, '\'' | '"' | '\\') || String::from_iter(['a', c]).escape_debug().count() == 2
}

/// A text as messages quote it: characters that one cannot see as Rust writes them, such as `\0`, `\t` or `\u{200b}`.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    shown
}
