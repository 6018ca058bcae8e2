//! Alignment weights in the terminal: a row for each target token, a column for each source token, shades for weights.

use console::{Term, style};
use softalign::{Error, Result};
use unicode_width::UnicodeWidthStr as _;

use super::output;

/// The least weight of each shade.
const SHADES: [(f32, char); 4] = [(0.75, '█'), (0.5, '▓'), (0.25, '▒'), (0.05, '░')];
/// Wider tokens are cut.
const WIDEST: usize = 16;
/// In a narrower terminal nothing can be read.
const NARROWEST: usize = 16;

/// Prints weights, a row of source weights for each target token, in as many blocks of columns as the terminal asks for.
///
/// # Errors
/// [`Error::Data`] for a terminal that is too narrow; [`Error::Io`].
pub fn print(source: &[String], target: &[String], weights: &[f32]) -> Result<()> {
    // A file or a pipe is as wide as it takes.
    let width = Term::stdout().size_checked().map_or(usize::MAX, |(_, columns)| columns.into());
    lines(source, target, weights, width)?.iter().try_for_each(|line| output::print(line))
}

fn lines(source: &[String], target: &[String], weights: &[f32], width: usize) -> Result<Vec<String>> {
    if width < NARROWEST {
        let message = format!(
            "the terminal has {width} columns, and a grid takes {NARROWEST}; widen it, or give --attention a FILE.png"
        );
        return Err(Error::data("--attention", message));
    }
    // Half of the terminal is for the grid itself.
    let most = WIDEST.min(width / 2 - 2);
    let rows: Vec<String> = target.iter().map(|token| cut(token, most)).collect();
    let columns: Vec<String> = source.iter().map(|token| cut(token, most)).collect();
    let margin = rows.iter().map(|token| token.width()).max().unwrap_or(0) + 1;
    let mut lines = Vec::new();
    let mut first = 0;
    while first < columns.len() {
        let mut room = width - margin;
        let fitting = columns.iter().skip(first).take_while(|token| {
            let fits = cell(token) <= room;
            room = room.saturating_sub(cell(token));
            fits
        });
        let end = first + fitting.count().max(1);
        if first > 0 {
            lines.push(String::new());
        }
        let tokens = columns.get(first..end).unwrap_or_default();
        let heads: String = tokens.iter().map(|token| padded(token, cell(token))).collect();
        lines.push(format!("{:margin$}{}", "", heads.trim_end()));
        for (token, weights) in rows.iter().zip(weights.chunks(columns.len())) {
            let label = format!("{}{token} ", " ".repeat(margin - 1 - token.width()));
            let shades: String = tokens
                .iter()
                .zip(weights.iter().skip(first))
                .flat_map(|(token, weight)| std::iter::repeat_n(shade(*weight), cell(token)))
                .collect();
            lines.push(format!("{label}{}", style(shades.trim_end()).blue()).trim_end().to_owned());
        }
        first = end;
    }
    let legend: Vec<_> = SHADES.iter().rev().map(|(least, shade)| format!("{shade} {:.0} %", least * 100.0)).collect();
    lines.push(style(format!("{:margin$}from {}", "", legend.join(", "))).dim().to_string());
    Ok(lines)
}

/// The width of a token's column: cells are about as wide as they are high, and labels do not touch.
fn cell(token: &str) -> usize {
    (token.width() + 1).max(2)
}

fn padded(token: &str, width: usize) -> String {
    format!("{token}{}", " ".repeat(width.saturating_sub(token.width())))
}

/// A token of no more columns than `most`.
fn cut(token: &str, most: usize) -> String {
    if token.width() <= most {
        return token.to_owned();
    }
    let mut kept = String::new();
    for character in token.chars() {
        kept.push(character);
        if kept.width() >= most {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

fn shade(weight: f32) -> char {
    SHADES.iter().find(|(least, _)| weight >= *least).map_or(' ', |(_, shade)| *shade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    /// Lines without the escape sequences of colours.
    fn plain(source: &str, target: &str, weights: &[f32], width: usize) -> Vec<String> {
        let lines = lines(&tokens(source), &tokens(target), weights, width).unwrap();
        lines.iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
    }

    #[test]
    fn letters_words_and_wide_characters_stand_in_columns() {
        let weights = [1.0, 0.0, 0.0, 0.6, 0.3, 0.1, 0.0, 0.02, 0.98];
        let lines = plain("a b <eos>", "x yy <eos>", &weights, 80);
        assert_eq!(lines[..4], ["      a b <eos>", "    x ██", "   yy ▓▓▒▒░░░░░░", "<eos>     ██████"]);
        assert_eq!(lines[4], "      from ░ 5 %, ▒ 25 %, ▓ 50 %, █ 75 %");
        let lines = plain("私 は 猫", "the cat", &[0.9, 0.0, 0.0, 0.0, 0.0, 1.0], 80);
        assert_eq!(lines[..3], ["    私 は 猫", "the ███", "cat       ███"]);
    }

    #[test]
    fn a_narrow_terminal_gets_blocks_and_a_very_narrow_one_an_answer() {
        let source: Vec<String> = (0..30).map(|at| format!("s{at}")).collect();
        let weights = vec![1.0; 60];
        for width in [16, 20, 41, 80] {
            let lines = plain(&source.join(" "), "internationalisation 猫", &weights, width);
            assert!(lines[..lines.len() - 1].iter().all(|line| line.width() <= width), "{width}: {lines:#?}");
            let heads: String = lines.iter().filter(|line| line.starts_with(' ')).cloned().collect();
            assert!(source.iter().all(|token| heads.contains(token)), "{heads}");
        }
        assert!(lines(&source, &tokens("a b"), &weights, 10).unwrap_err().to_string().contains("widen it"));
    }
}
