//! Lines of text: the one way in for pairs, alignments, configuration and standard input.
//!
//! A line ends with LF or CRLF; a text without any LF, whose lines must end with CR then, is taken at that. The last line may
//! have no end. Byte-order marks belong to files, not to their text ([`as_line`]). Everything else is text, whether it can
//! be seen or not: NUL, U+2028 and U+3000 end no line.

use std::{
    borrow::Cow,
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use crate::{Error, Result, files};

/// The sign before a text that it is Unicode.
const MARK: char = '\u{feff}';
/// The start of a column that was a file of its own.
const MARKED_COLUMN: &str = "\t\u{feff}";

/// The lines of a text without their ends: UTF-8, checked line by line.
#[derive(Debug)]
pub struct Lines<R> {
    name: String,
    input: R,
    /// The number of the line read last, from 1.
    number: usize,
    /// Lines that have been read and not given.
    ready: VecDeque<String>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`; `name` is the file, for messages.
    pub fn new(name: impl Into<String>, input: R) -> Self {
        Self { name: name.into(), input, number: 0, ready: VecDeque::new() }
    }

    /// Reads up to the next LF.
    fn read(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let place = || format!("{}, line {}", self.name, self.number + 1);
        self.input.read_until(b'\n', &mut bytes).map_err(|source| Error::io(place())(source))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let before = self.number;
        // A line that is no text is one all the same: those behind it can be read.
        self.number += 1;
        let text = decode(&bytes).map_err(|fault| fault.error(&self.name, before))?;
        let text = text.strip_prefix(MARK).unwrap_or(text);
        if text.is_empty() {
            return Ok(None);
        }
        if before == 0 && !text.ends_with('\n') {
            let lines = text.strip_suffix('\r').unwrap_or(text).split('\r');
            let mut lines = lines.map(|line| as_line(line).into_owned());
            let first = lines.next();
            self.ready.extend(lines);
            return Ok(first);
        }
        Ok(Some(as_line(text).into_owned()))
    }
}

impl<R: Read> Lines<BufReader<R>> {
    /// Whether no whole line has been read beyond the one given last, so that the next one may be waited for.
    pub fn is_drained(&self) -> bool {
        self.ready.is_empty() && !self.input.buffer().contains(&b'\n')
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<String>;

    /// # Errors
    /// [`Error::Io`] where the text cannot be read; [`Error::Data`] with line and byte where it is not UTF-8.
    fn next(&mut self) -> Option<Self::Item> {
        self.ready.pop_front().map(Ok).or_else(|| self.read().transpose())
    }
}

/// The lines of a file.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] with line and byte where it is not UTF-8.
pub fn read_lines(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    Lines::new(path.display().to_string(), files::read(path)?.as_slice()).collect()
}

/// The text of a file, such as a configuration, as a whole.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Data`] with line and byte where it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    text_of(&path.display().to_string(), &files::read(path)?).map(str::to_owned)
}

/// The text of the bytes of the file `name`.
///
/// # Errors
/// [`Error::Data`] with line and byte where it is not UTF-8.
pub(crate) fn text_of<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str> {
    let text = decode(bytes).map_err(|fault| fault.error(name, 0))?;
    Ok(text.strip_prefix(MARK).unwrap_or(text))
}

/// The text of a line: without its end, and without the byte-order marks of files, which stand at its start, and behind a tab
/// where files were put side by side.
pub fn as_line(text: &str) -> Cow<'_, str> {
    let line = text.trim_end_matches('\n').trim_end_matches('\r');
    let line = line.strip_prefix(MARK).unwrap_or(line);
    if line.contains(MARKED_COLUMN) { line.replace(MARKED_COLUMN, "\t").into() } else { line.into() }
}

/// The place of the first byte that is not UTF-8, both from 0.
struct Fault {
    line: usize,
    byte: usize,
}

impl Fault {
    /// The error for a text that begins behind so many lines of `name`.
    fn error(&self, name: &str, lines: usize) -> Error {
        let (line, byte) = (lines + self.line + 1, self.byte + 1);
        Error::data(name, format!("line {line}, byte {byte}: not UTF-8; convert the file to UTF-8"))
    }
}

fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or(bytes);
        Fault {
            line: good.iter().filter(|&&byte| byte == b'\n').count(),
            byte: good.iter().rev().take_while(|&&byte| byte != b'\n').count(),
        }
    })
}

/// Lines that belong to as many others one by one, without an empty one behind the last: files of pairs may end in one too.
pub(crate) fn without_last(lines: &[String], wanted: usize) -> &[String] {
    match lines.split_last() {
        Some((last, others)) if others.len() == wanted && last.is_empty() => others,
        _ => lines,
    }
}
