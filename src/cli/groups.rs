//! Lines of standard input in groups, for work that is done better on many at once.

use std::io::{BufReader, Read};

use softalign::{
    Result,
    ranks::{Ranks, of_first},
    text::Lines,
};

/// Lines of a group, at first and at most: the first results come soon, and of many lines those of about one length meet.
const LINES: [usize; 2] = [64, 2048];

/// The most bytes that are read of standard input at once.
const BUFFER: usize = 1 << 20;

/// The lines of standard input.
pub fn stdin() -> Lines<BufReader<impl Read>> {
    Lines::new("standard input", BufReader::with_capacity(BUFFER, std::io::stdin().lock()))
}

/// Hands lines over in groups, in their order. A group ends early where a reader waits for its results before the next line.
///
/// # Errors
/// Those of reading, after the lines before; the first of `work`.
pub fn in_groups(mut lines: Lines<BufReader<impl Read>>, mut work: impl FnMut(&[String]) -> Result<()>) -> Result<()> {
    let (mut read, mut most) = (Vec::new(), LINES[0]);
    loop {
        let next = lines.next().transpose();
        let more = matches!(next, Ok(Some(_)));
        let end = !more && next.is_ok();
        if let Ok(Some(line)) = next {
            read.push(line);
        } else if let Err(error) = next {
            // Lines before a bad one are not lost.
            work(&read)?;
            return Err(error);
        }
        if end || read.len() == most || lines.is_drained() {
            work(&read)?;
            read.clear();
            most = (2 * most).min(LINES[1]);
        }
        if end {
            return Ok(());
        }
    }
}

/// As [`in_groups`], where only rank 0 has the standard input: all ranks get its lines.
///
/// # Errors
/// Those of [`in_groups`]; [`softalign::Error::Rank`] if a rank has ended.
pub fn among(ranks: &dyn Ranks, mut work: impl FnMut(&[String]) -> Result<()>) -> Result<()> {
    if ranks.rank() == 0 {
        in_groups(stdin(), |lines| {
            of_first(ranks, &Some(lines.to_vec()))?;
            work(lines)
        })?;
    }
    while let Some(lines) = of_first::<Option<Vec<String>>>(ranks, &None)? {
        work(&lines)?;
    }
    Ok(())
}
