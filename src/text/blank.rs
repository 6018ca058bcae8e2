//! Texts that show nothing.

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
