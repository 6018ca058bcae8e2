//! `softalign generate`: text from a model folder.

mod alignments;
mod answer;
mod jsonl;
mod options;
mod source;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use softalign::{
    Error, Result,
    generate::{Generator, Hypothesis},
    model::{Model, WEIGHTS},
    text::as_line,
};

use super::{Global, agree_on, flags, groups, open, search::is_language_model};
use alignments::Alignments;
use answer::{Answer, Printer};
use options::Options;
use source::{Reader, Source};

/// The file name that stands for the terminal.
const TERMINAL: &str = "-";

/// Arguments of `generate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Sources; without any, lines of standard input. Each is answered by a line, a blank one by an empty line.
    text: Vec<String>,
    /// Answer each source with a JSON object. Lines of standard input are then objects too: {"id": ..., "text": ..., and options by
    /// their names here with _ for -, such as "max_length": 20}. A line that is wrong is answered by an object with an error. SIGTERM
    /// ends it behind the answer under way.
    #[arg(long)]
    jsonl: bool,
    /// Print each source, a tab and its text: pairs for `train`, with which another model learns from this one (sequence-level
    /// distillation, Kim and Rush 2016). Sources without a text are left out.
    #[arg(long, conflicts_with_all = ["jsonl", "n_best"])]
    pairs: bool,
    /// Read what stands behind a tab in a source as the prefix of its text, in place of --prefix. Objects of --jsonl have a field for
    /// it.
    #[arg(long, conflicts_with = "jsonl")]
    prefix_column: bool,
    /// Stop at a source that the model cannot read, such as one too long for it. Otherwise its answer is empty, and a warning
    /// names its line; under --jsonl it is an error.
    #[arg(long)]
    strict: bool,
    /// Draw the alignment of one source, the attention of each target token, as PNG or SVG; without a file, as a grid in the
    /// terminal, or under --jsonl as numbers in each object.
    #[arg(long, value_name = "FILE.png", num_args = 0..=1, default_missing_value = TERMINAL)]
    attention: Option<PathBuf>,
    /// Write the alignment of each source with its best text, a line each: in the Pharaoh form, 0-0 1-2, the source token that
    /// each target token attended to most; to a file that ends in .jsonl all weights, a JSON object a line; to one that ends in
    /// .json an array of them, when all is done.
    #[arg(long, value_name = "FILE")]
    alignments: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Args {
    /// Checks that nothing is asked of a source where the model reads none.
    fn check_without_source(&self) -> Result<()> {
        let of_source = [
            ("prefix_column", self.prefix_column),
            ("attention", self.attention.is_some()),
            ("alignments", self.alignments.is_some()),
        ];
        let asked = of_source.into_iter().find_map(|(field, asked)| asked.then_some(field));
        asked.or(self.options.of_source()).map_or(Ok(()), |field| Err(without_source(flags::option(field))))
    }
}

/// The error for what is asked about a source of a model that reads none.
fn without_source(option: String) -> Error {
    Error::data(option, "is about a source, and this is a language model: it has no source, and continues texts")
}

/// Runs `generate`.
pub fn run(mut args: Args, global: &Global) -> Result<ExitCode> {
    let in_terminal = args.attention.as_ref().is_some_and(|path| path == Path::new(TERMINAL));
    if args.attention.is_some() && !in_terminal && args.text.len() != 1 {
        return Err(Error::data("--attention", "a file shows one source; give exactly one TEXT, before --attention"));
    }
    if is_language_model(&args.model) {
        args.check_without_source()?;
    }
    if args.jsonl && args.text.is_empty() && global.ranks.is_some() {
        return Err(Error::data("--jsonl", "requests are answered as they come, by one process; leave mpirun out"));
    }
    agree_on(global, &[args.model.join(WEIGHTS)])?;
    args.options.attention = args.jsonl && in_terminal;
    let gpu = open(global)?;
    let options = args.options.search();
    if options.sampling.is_none() && options.beam > args.options.search.options().beam {
        tracing::info!("--n-best {} searches as --beam {} does", args.options.texts(), options.beam);
    }
    let (model, generator) = args.options.search.load(&gpu, &args.model, &options)?;
    let generator = generator.among(global.ranks.clone());
    let origin = if args.text.is_empty() { "standard input, line" } else { "TEXT" };
    let mut writer = Writer {
        args: &args,
        reader: Reader::new(&args, &model, origin, &generator)?,
        printer: Printer::new(&args, &model),
        model: &model,
        alignments: args.alignments.as_deref().filter(|_| global.writes()).map(Alignments::new).transpose()?,
        generator,
        read: 0,
        searched: 0,
    };
    let texts: Vec<String> = args.text.iter().map(|text| as_line(text).into_owned()).collect();
    match (args.jsonl, texts.is_empty(), &global.ranks) {
        (true, true, _) => writer.serve()?,
        (true, false, _) => writer.answer_in_objects(&texts)?,
        (false, true, Some(ranks)) => groups::among(ranks.as_ref(), |lines| writer.answer(lines))?,
        (false, true, None) => groups::in_groups(groups::stdin(), |lines| writer.answer(lines))?,
        (false, false, _) => writer.answer(&texts)?,
    }
    writer.alignments.map_or(Ok(()), Alignments::finish)?;
    Ok(ExitCode::SUCCESS)
}

/// The writer of answers to sources.
struct Writer<'a> {
    args: &'a Args,
    reader: Reader<'a>,
    printer: Printer<'a>,
    model: &'a Model,
    alignments: Option<Alignments>,
    generator: Generator,
    /// Lines read so far.
    read: u64,
    /// Sources searched so far, but for those that bring a seed of their own.
    searched: u64,
}

impl Writer<'_> {
    /// Answers lines up to the first that stops the run.
    fn answer(&mut self, lines: &[String]) -> Result<()> {
        let (mut read, mut stopped) = (Vec::new(), Ok(()));
        for (line, number) in lines.iter().zip(self.read + 1..) {
            match self.reader.read(number, line) {
                Ok(source) => read.push(source),
                Err(error) => {
                    stopped = Err(error);
                    break;
                }
            }
        }
        let options = &self.args.options;
        let found = self.search(&read.iter().collect::<Vec<_>>(), options, self.searched)?;
        self.searched += read.iter().filter(|source| source.input.is_some()).count() as u64;
        for ((source, hypotheses), number) in read.iter().zip(found).zip(self.read + 1..) {
            let answer = Answer { number, source, options, hypotheses };
            self.printer.print(&mut self.generator, &answer)?;
            self.illustrate(&answer)?;
        }
        self.read += read.len() as u64;
        stopped
    }

    /// What the models find for each source; nothing for one that is none. `first` is the number of the first, for samples.
    fn search(&mut self, sources: &[&Source], options: &Options, first: u64) -> Result<Vec<Vec<Hypothesis>>> {
        let inputs = sources.iter().filter_map(|source| source.input.as_ref());
        let (tokens, prefixes): (Vec<_>, Vec<_>) =
            inputs.map(|input| (input.tokens.clone(), input.prefix.clone())).unzip();
        let mut options = options.search();
        options.attended |= self.args.alignments.is_some();
        options.first = first;
        let mut found = self.generator.generate_behind(&tokens, &prefixes, &options)?.into_iter();
        let each = sources.iter().map(|source| source.input.as_ref().and_then(|_| found.next()).unwrap_or_default());
        Ok(each.collect())
    }

    /// Draws and writes down the alignment of an answer, where that is asked for.
    fn illustrate(&mut self, answer: &Answer<'_>) -> Result<()> {
        self.printer.draw(&mut self.generator, answer)?;
        match &mut self.alignments {
            Some(alignments) => alignments.add(self.model, &mut self.generator, answer),
            None => Ok(()),
        }
    }
}
