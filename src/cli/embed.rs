//! `softalign embed`: vectors that stand for texts.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use serde::Serialize;
use softalign::{
    Error, Result,
    generate::Embedder,
    model::Model,
    text::{as_line, is_blank},
};

use super::{Global, groups, open, output, progress::Bar};

/// Arguments of `embed`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder of an encoder alone, such as `softalign import` makes of a BERT.
    model: PathBuf,
    /// Texts; without any, lines of standard input. Each is answered by a line, a blank one by an empty line.
    text: Vec<String>,
    /// Print a JSON object for each text in place of a line of numbers.
    #[arg(long)]
    jsonl: bool,
    /// Stop at a text that the model cannot read, such as one too long for it. Otherwise its line is empty, and a warning names it.
    #[arg(long)]
    strict: bool,
}

/// Runs `embed`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let gpu = open(global)?;
    let model = Model::load(&gpu, &args.model)?;
    let bar = Bar::new(global, None, "texts");
    let origin = if args.text.is_empty() { "standard input, line" } else { "TEXT" };
    let mut writer = Writer { embedder: Embedder::new(&model)?, model, args: &args, origin, bar, read: 0, embedded: 0 };
    let start = Instant::now();
    if args.text.is_empty() {
        groups::in_groups(groups::stdin(), |lines| writer.write(lines))?;
    } else {
        let texts: Vec<String> = args.text.iter().map(|text| as_line(text).into_owned()).collect();
        writer.write(&texts)?;
    }
    let (texts, seconds) = (writer.embedded, start.elapsed().as_secs_f64());
    writer.bar.println(&format!("{texts} texts in {seconds:.1} s, {:.1} texts/s", texts as f64 / seconds));
    Ok(ExitCode::SUCCESS)
}

/// An embedding as `--jsonl` prints it.
#[derive(Serialize)]
struct Line<'a> {
    sentence: u64,
    source: &'a str,
    embedding: &'a [f32],
}

/// The writer of embeddings.
struct Writer<'a> {
    embedder: Embedder,
    model: Model,
    args: &'a Args,
    /// The name of a text without its number, for messages.
    origin: &'static str,
    bar: Bar,
    /// Texts read so far.
    read: u64,
    /// Those of them that have an embedding.
    embedded: usize,
}

impl Writer<'_> {
    fn write(&mut self, texts: &[String]) -> Result<()> {
        let (mut tokens, mut stopped) = (Vec::new(), Ok(()));
        for (text, number) in texts.iter().zip(self.read + 1..) {
            match self.tokens(text, number) {
                Ok(found) => tokens.push(found),
                Err(error) => {
                    stopped = Err(error);
                    break;
                }
            }
        }
        let known: Vec<Vec<u32>> = tokens.iter().flatten().cloned().collect();
        let mut found = self.embedder.embed(&known)?.into_iter();
        for ((text, tokens), number) in texts.iter().zip(&tokens).zip(self.read + 1..) {
            let embedding = tokens.as_ref().and_then(|_| found.next()).unwrap_or_default();
            output::print(&self.line(text, number, &embedding)?)?;
        }
        self.embedded += known.len();
        self.read += tokens.len() as u64;
        self.bar.update(self.read, "");
        stopped
    }

    /// The tokens of a text, or nothing where it is blank or the model cannot read it.
    fn tokens(&self, text: &str, number: u64) -> Result<Option<Vec<u32>>> {
        if is_blank(text) {
            return Ok(None);
        }
        match self.model.encode(text) {
            Err(error) if !self.args.strict => {
                let place = format!("{} {number}", self.origin);
                tracing::warn!("{place}: {error}. Its line is empty");
                Ok(None)
            }
            Err(error) => Err(Error::data(format!("{} {number}", self.origin), error.to_string())),
            Ok(tokens) => Ok(Some(tokens)),
        }
    }

    fn line(&self, text: &str, number: u64, embedding: &[f32]) -> Result<String> {
        if self.args.jsonl {
            let line = Line { sentence: number, source: text, embedding };
            return serde_json::to_string(&line).map_err(|error| Error::data("--jsonl", error.to_string()));
        }
        Ok(embedding.iter().map(f32::to_string).collect::<Vec<_>>().join(" "))
    }
}
