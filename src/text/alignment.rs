//! Word alignments of a corpus, for guided alignment: files in the Pharaoh form, as fast_align, eflomal and GIZA++'s
//! symmetrisation write them.

use std::path::Path;

use super::{Example, escaped, read_lines, without_last};
use crate::{Error, Result};

/// The links of each pair of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// For each pair (source, target) positions of tokens, from 0, each once.
    links: Vec<Vec<(usize, usize)>>,
}

/// Reads a line for each of `examples`: `0-0 1-2 ...`, source and target positions of tokens, from 0, without `<eos>`. A pair that
/// has no links has an empty line.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] for another number of lines, or with the line for everything
/// else.
pub fn read_alignment(path: impl AsRef<Path>, examples: &[Example]) -> Result<Alignment> {
    let path = path.as_ref();
    parse_alignment(&path.display().to_string(), &read_lines(path)?, examples)
}

/// The alignment in the lines of a file of that name, as [`read_alignment`] reads it.
///
/// # Errors
/// [`Error::Data`] as there.
pub fn parse_alignment(name: &str, lines: &[String], examples: &[Example]) -> Result<Alignment> {
    let wrong = |message: String| Error::data(name, message);
    let lines = without_last(lines, examples.len());
    if lines.len() != examples.len() {
        return Err(wrong(format!(
            "has {} in place of a line for each of the {} training pairs; where nothing is aligned it is empty",
            lines.len(),
            examples.len()
        )));
    }
    let links = lines.iter().zip(examples).zip(1..).map(|((line, example), number)| {
        parse_line(line, example).map_err(|why| wrong(format!("line {number}: {why}")))
    });
    Ok(Alignment { links: links.collect::<Result<_>>()? })
}

/// The links on one line, or what is wrong with it.
fn parse_line(line: &str, example: &Example) -> Result<Vec<(usize, usize)>, String> {
    let mut links = Vec::new();
    for link in line.split_whitespace() {
        let positions = link.split_once('-').and_then(|(s, t)| Some((s.parse().ok()?, t.parse().ok()?)));
        let (source, target): (usize, usize) =
            positions.ok_or_else(|| format!("`{}` is no link; write source-target, as in 0-0 1-2", escaped(link)))?;
        for (side, position, count) in
            [("source", source, example.source.len().saturating_sub(1)), ("target", target, example.target.len())]
        {
            if position >= count {
                return Err(format!("`{link}`: the {side} has {count} tokens, numbered from 0"));
            }
        }
        links.push((source, target));
    }
    links.sort_unstable();
    links.dedup();
    Ok(links)
}

impl Alignment {
    /// The links of the pairs that `kept` names, a word for each pair.
    pub fn keep(self, kept: &[bool]) -> Self {
        let links = self.links.into_iter().zip(kept).filter(|(_, kept)| **kept);
        Self { links: links.map(|(links, _)| links).collect() }
    }

    /// Adds the shares that pair `index` expects of the attention to `expected` `[T, S]`, and returns the number of target
    /// tokens that have links: each of these spreads 1 evenly over its source tokens.
    pub(super) fn fill(&self, index: usize, source_steps: usize, expected: &mut [f32]) -> usize {
        let Some(links) = self.links.get(index) else { return 0 };
        let mut aligned = 0;
        for (target, row) in expected.chunks_mut(source_steps).enumerate() {
            let sources = || links.iter().filter(|link| link.1 == target).map(|link| link.0);
            let count = sources().count();
            for source in sources() {
                if let Some(share) = row.get_mut(source) {
                    *share = 1.0 / count as f32;
                }
            }
            aligned += usize::from(count > 0);
        }
        aligned
    }
}
