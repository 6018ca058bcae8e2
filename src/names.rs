//! The names of settings in messages.

use std::sync::OnceLock;

/// The function that names them, if a program has its own names.
static NAMED: OnceLock<fn(&str) -> String> = OnceLock::new();

/// Has messages call settings by other names than those of their fields: a program may know `max_length` as `--max-length`. It
/// holds for the whole process, and the first call alone.
pub fn name_settings(named: fn(&str) -> String) {
    let _ = NAMED.set(named);
}

/// A setting as messages call it: its field in backticks, unless the program has another name for it.
pub(crate) fn setting(field: &str) -> String {
    NAMED.get().map_or_else(|| format!("`{field}`"), |named| named(field))
}
