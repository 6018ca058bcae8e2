//! Tables on standard output, in one style; colours only where a terminal shows them.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

/// An empty table with a header.
pub fn table(header: impl IntoIterator<Item = impl ToString>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED.with_rounded_corners())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.into_iter().map(|name| styled(Cell::new(name), |cell| cell.add_attribute(Attribute::Bold))));
    table
}

/// A figure.
pub fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(comfy_table::CellAlignment::Right)
}

/// An error or a tolerance, with as many digits as mean something.
pub fn error(value: f64) -> Cell {
    number(format!("{value:.1e}"))
}

/// `pass` or `FAIL`.
pub fn verdict(passed: bool) -> Cell {
    let (text, color) = if passed { ("pass", Color::Green) } else { ("FAIL", Color::Red) };
    styled(Cell::new(text), |cell| cell.fg(color))
}

/// A speedup: green where it is faster, red where it is slower, by more than a machine's usual noise.
pub fn speedup(ratio: Option<f64>) -> Cell {
    const NOISE: f64 = 0.05;
    let Some(ratio) = ratio else { return number("new") };
    let cell = number(format!("{ratio:.2} x"));
    match ratio {
        ratio if ratio > 1.0 + NOISE => styled(cell, |cell| cell.fg(Color::Green)),
        ratio if ratio < 1.0 / (1.0 + NOISE) => styled(cell, |cell| cell.fg(Color::Red)),
        _ => cell,
    }
}

fn styled(cell: Cell, style: impl FnOnce(Cell) -> Cell) -> Cell {
    if console::colors_enabled() { style(cell) } else { cell }
}
