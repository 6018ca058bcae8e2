//! `--jsonl`: JSON objects in, JSON objects out, line by line, for a program that asks and waits for its answers.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
};

use serde::Serialize;
use serde_json::{Map, Value};
use softalign::{Error, Result};

use super::{
    Options, Writer,
    answer::{Answer, Written},
    source::Source,
    without_source,
};
use crate::cli::{groups, interrupt, output};

/// The most lines that are answered together: a signal waits for no more than these.
const TOGETHER: usize = 64;
/// Groups of lines that may wait to be answered; what comes after them stays in the pipe.
const WAITING: usize = 64;

/// Lines, each with what was wrong with it; none at the end.
type Lines = Option<Vec<Result<String>>>;

/// What a line asks for.
struct Asked {
    /// The line's number, from 1.
    number: u64,
    /// What it calls itself.
    id: Value,
    request: Result<Request>,
}

struct Request {
    source: Source,
    options: Options,
    /// Whether it brings a seed of its own: its samples do not depend on its place.
    seeded: bool,
}

/// An answer as it is printed.
#[derive(Serialize)]
struct Object<'a> {
    id: &'a Value,
    line: u64,
    #[serde(flatten)]
    said: Said,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    Text {
        #[serde(flatten)]
        best: Written,
        #[serde(skip_serializing_if = "Option::is_none")]
        n_best: Option<Vec<Written>>,
    },
    Error {
        error: String,
    },
}

/// Whether an error is about what was asked; others are about the device and the files, and concern all that follows.
fn is_of_request(error: &Error) -> bool {
    matches!(error, Error::Data { .. } | Error::Shape { .. } | Error::Limit { .. } | Error::OutOfMemory { .. })
}

impl Writer<'_> {
    /// Answers lines of standard input as they come, until there are no more or a signal asks to stop.
    ///
    /// # Errors
    /// The errors of the device; [`Error::Io`]; under `--strict` the first that a line is answered with.
    pub fn serve(&mut self) -> Result<()> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let wake = sender.clone();
        // Where there is no room for a word, there are lines to receive, and the flag is seen behind them.
        let stop = interrupt::flag_and(move || {
            let _ = wake.try_send(None);
        });
        thread::spawn(move || read_lines(&sender));
        let mut ended = false;
        while !ended && !stop.load(Ordering::Relaxed) {
            let Ok(Some(mut lines)) = receiver.recv() else { break };
            // What has come meanwhile is answered together.
            while !ended && lines.len() < TOGETHER {
                match receiver.try_recv() {
                    Ok(Some(more)) => lines.extend(more),
                    Ok(None) => ended = true,
                    Err(_) => break,
                }
            }
            let asked = lines.into_iter().map(|line| self.asked(line)).collect::<Result<Vec<_>>>()?;
            self.respond(&asked, &stop)?;
        }
        Ok(())
    }

    /// Answers sources that are given as plain texts.
    ///
    /// # Errors
    /// Those of [`Writer::serve`].
    pub fn answer_in_objects(&mut self, texts: &[String]) -> Result<()> {
        let options = self.args.options.clone();
        let asked = texts.iter().zip(1..).map(|(text, number)| {
            let source = self.reader.read_with(number, text, &options);
            let request = source.map(|source| Request { source, options: options.clone(), seeded: false });
            Asked { number, id: Value::Null, request }
        });
        let asked: Vec<_> = asked.collect();
        self.respond(&asked, &AtomicBool::new(false))
    }

    /// What a line asks for.
    ///
    /// # Errors
    /// [`Error::Io`] where it could not be read.
    fn asked(&mut self, line: Result<String>) -> Result<Asked> {
        self.read += 1;
        let number = self.read;
        let (id, request) = match line.and_then(|line| object(&line)) {
            Ok(mut fields) => (fields.remove("id").unwrap_or_default(), self.request(number, fields)),
            Err(error) if is_of_request(&error) => (Value::Null, Err(error)),
            Err(error) => return Err(error),
        };
        Ok(Asked { number, id, request })
    }

    fn request(&self, number: u64, mut fields: Map<String, Value>) -> Result<Request> {
        let text = fields.remove("text");
        let seeded = fields.contains_key("seed");
        let options = self.args.options.but_for(fields)?;
        let text = text.ok_or_else(|| Error::data("`text`", "is missing: the source, as a string"))?;
        let text: String = serde_json::from_value(text).map_err(|error| Error::data("`text`", error.to_string()))?;
        let reads_source = self.model.network.limits().reads_source();
        if let Some(field) = options.of_source().filter(|_| !reads_source) {
            return Err(without_source(format!("`{field}`")));
        }
        Ok(Request { source: self.reader.read_with(number, &text, &options)?, options, seeded })
    }

    /// Prints an answer to each request, in their order; those of the same options are searched together.
    fn respond(&mut self, asked: &[Asked], stop: &AtomicBool) -> Result<()> {
        for run in asked.chunk_by(Asked::is_like) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.respond_alike(run)?;
        }
        Ok(())
    }

    /// Answers requests of the same options.
    fn respond_alike(&mut self, run: &[Asked]) -> Result<()> {
        let requests: Vec<&Request> = run.iter().filter_map(|asked| asked.request.as_ref().ok()).collect();
        let sources: Vec<&Source> = requests.iter().map(|request| &request.source).collect();
        let found = match requests.first() {
            Some(Request { options, seeded: true, .. }) => self.search(&sources, options, 0),
            Some(Request { options, .. }) => {
                let first = self.searched;
                self.searched += sources.iter().filter(|source| source.input.is_some()).count() as u64;
                self.search(&sources, options, first)
            }
            None => Ok(Vec::new()),
        };
        let (mut found, fault) = match found {
            Err(error) if !is_of_request(&error) => return Err(error),
            Err(error) => (Vec::new().into_iter(), Some(error)),
            Ok(found) => (found.into_iter(), None),
        };
        for Asked { number, id, request } in run {
            let said = match (request, &fault) {
                (Err(error), _) | (Ok(_), Some(error)) => self.refused(*number, error)?,
                (Ok(request), None) => {
                    let Request { source, options, .. } = request;
                    let hypotheses = found.next().unwrap_or_default();
                    self.said(&Answer { number: *number, source, options, hypotheses })?
                }
            };
            let object = serde_json::to_string(&Object { id, line: *number, said });
            output::print(&object.map_err(|error| Error::data("--jsonl", error.to_string()))?)?;
        }
        Ok(())
    }

    /// An answer, or what is wrong with the request for it.
    fn said(&mut self, answer: &Answer<'_>) -> Result<Said> {
        let texts = match self.printer.written(&mut self.generator, answer) {
            Err(error) if is_of_request(&error) => return self.refused(answer.number, &error),
            texts => texts?,
        };
        self.illustrate(answer)?;
        let Some(best) = texts.first().cloned() else {
            return self.refused(answer.number, &Error::data("the search", "has found no text"));
        };
        Ok(Said::Text { best, n_best: answer.options.n_best.map(|_| texts) })
    }

    /// An error as an answer, unless it is to end the run.
    fn refused(&mut self, number: u64, error: &Error) -> Result<Said> {
        let place = self.reader.place(number);
        if self.args.strict {
            return Err(Error::data(place, error.to_string()));
        }
        let source = Source { place, text: String::new(), input: None };
        self.illustrate(&Answer { number, source: &source, options: &self.args.options, hypotheses: Vec::new() })?;
        Ok(Said::Error { error: error.to_string() })
    }
}

impl Asked {
    /// Whether the two can be searched together.
    fn is_like(&self, other: &Self) -> bool {
        match (&self.request, &other.request) {
            (Ok(one), Ok(other)) => !one.seeded && !other.seeded && one.options == other.options,
            _ => false,
        }
    }
}

/// The fields of a JSON object.
fn object(line: &str) -> Result<Map<String, Value>> {
    let wanted = "write an object such as {\"id\": 1, \"text\": \"...\"} on each line";
    match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::data("the line", format!("is no JSON object; {wanted}"))),
        Err(error) => {
            let said = error.to_string();
            // The parser knows of one line.
            let said = said.split(" at line ").next().unwrap_or_default();
            Err(Error::data("the line", format!("is no JSON: {said} at column {}; {wanted}", error.column())))
        }
    }
}

/// Sends the lines of standard input on, in groups: a group ends where the next line is not there yet.
fn read_lines(sender: &SyncSender<Lines>) {
    let (mut lines, mut group) = (groups::stdin(), Vec::new());
    while let Some(line) = lines.next() {
        let broken = line.as_ref().is_err_and(|error| !is_of_request(error));
        group.push(line);
        let full = broken || group.len() == TOGETHER || lines.is_drained();
        if full && sender.send(Some(std::mem::take(&mut group))).is_err() || broken {
            return;
        }
    }
    // The other side may have ended by itself.
    let _ = sender.send(Some(group)).and_then(|()| sender.send(None));
}
