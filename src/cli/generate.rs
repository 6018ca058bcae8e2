//! `softalign generate`: text from a model folder.

mod alignments;
mod answer;
mod source;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use softalign::{
    Error, Result,
    generate::{Generator, Hypothesis, Sampling, SearchOptions},
    model::{Model, WEIGHTS},
    text::as_line,
};

use super::{
    Global, agree_on, groups, open,
    search::{Search, is_language_model, number},
};
use alignments::Alignments;
use answer::{Answer, Printer};
use source::{Input, Reader};

/// The file name that stands for the terminal.
const TERMINAL: &str = "-";

/// Arguments of `generate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Sources; without any, lines of standard input. Each is answered by a line, a blank one by an empty line.
    text: Vec<String>,
    /// Print the best N different texts of each source, or N samples: a line each, with the source's number, the text's rank, its
    /// score and the text, between tabs. The search is at least N wide; where it finds fewer, a warning says so. A text that the
    /// model can spell in several ways counts once, with the best of their scores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    n_best: Option<u8>,
    /// Print a JSON object for each source in place of lines of text.
    #[arg(long)]
    jsonl: bool,
    /// Print each source, a tab and its text: pairs for `train`, with which another model learns from this one (sequence-level
    /// distillation, Kim and Rush 2016). Sources without a text are left out.
    #[arg(long, conflicts_with_all = ["jsonl", "n_best"])]
    pairs: bool,
    /// Add each text's tokens and the logarithms of their probabilities to the objects of --jsonl.
    #[arg(long, requires = "jsonl")]
    token_scores: bool,
    /// Begin every text with this prefix.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Read what stands behind a tab in a source as the prefix of its text, in place of --prefix.
    #[arg(long)]
    prefix_column: bool,
    /// Stop at a source that the model cannot read, such as one too long for it. Otherwise its answer is empty, and a warning
    /// names its line.
    #[arg(long)]
    strict: bool,
    /// Draw the alignment of one source, the attention of each target token, as PNG or SVG; without a file, as a grid in the
    /// terminal.
    #[arg(long, value_name = "FILE.png", num_args = 0..=1, default_missing_value = TERMINAL)]
    attention: Option<PathBuf>,
    /// Write the alignment of each source with its best text, a line each: in the Pharaoh form, 0-0 1-2, the source token that
    /// each target token attended to most; to a file that ends in .jsonl all weights, a JSON object a line; to one that ends in
    /// .json an array of them, when all is done.
    #[arg(long, value_name = "FILE")]
    alignments: Option<PathBuf>,
    #[command(flatten)]
    search: Search,
    #[command(flatten)]
    sample: Sample,
}

/// Options of sampling.
#[derive(clap::Args)]
#[command(next_help_heading = "Sampling")]
struct Sample {
    /// Draw texts at random instead of searching for the likeliest.
    #[arg(long, conflicts_with = "beam")]
    sample: bool,
    /// Temperature, which divides the logits before a draw: less than 1 favours likely tokens, more than 1 unlikely ones.
    #[arg(long, value_name = "T", default_value_t = 1.0, requires = "sample", value_parser = temperature, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from the K likeliest tokens [default: from all].
    #[arg(long, value_name = "K", requires = "sample", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Draw from the fewest tokens that hold this share of the probability.
    #[arg(long, value_name = "P", default_value_t = 1.0, requires = "sample", value_parser = share, allow_negative_numbers = true)]
    top_p: f32,
    /// Seed of the samples: the same seed, source and place of the source draw the same text.
    #[arg(long, value_name = "SEED", default_value_t = 1, requires = "sample")]
    seed: u64,
}

fn temperature(text: &str) -> Result<f32, String> {
    let wanted = "a number from 0.01 to 100; greedy is the default, without --sample";
    number(text, |value| (0.01..=100.0).contains(&value), wanted)
}

fn share(text: &str) -> Result<f32, String> {
    number(text, |value| value > 0.0 && value <= 1.0, "a share over 0, up to 1")
}

impl Args {
    fn options(&self) -> SearchOptions {
        let Sample { sample, temperature, top_k, top_p, seed } = self.sample;
        let n_best = usize::from(self.n_best.unwrap_or(1));
        let mut options = self.search.options();
        options.attended |= self.alignments.is_some();
        if sample {
            let top_k = top_k.unwrap_or(0) as usize;
            options.sampling = Some(Sampling { temperature, top_k, top_p });
            return SearchOptions { n_best, seed, ..options };
        }
        if options.beam < n_best {
            tracing::info!("--n-best {n_best} searches as --beam {n_best} does");
            options.beam = n_best;
        }
        // Of a list all are asked for, as some may be spellings of one text.
        SearchOptions { n_best: if n_best > 1 { options.beam } else { 1 }, seed, ..options }
    }
}

impl Args {
    /// Checks that nothing is asked of a source where the model reads none.
    fn check_without_source(&self) -> Result<()> {
        let of_source = [
            ("--prefix-column", self.prefix_column),
            ("--attention", self.attention.is_some()),
            ("--alignments", self.alignments.is_some()),
            ("--replace-unk", self.search.replace_unk),
            ("--coverage-penalty", self.search.options().coverage_penalty > 0.0),
        ];
        of_source.into_iter().find(|(_, given)| *given).map_or(Ok(()), |(option, _)| {
            Err(Error::data(
                option,
                "is about a source, and this is a language model: it has no source, and continues texts",
            ))
        })
    }
}

/// Runs `generate`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    if args.attention.as_ref().is_some_and(|path| path != Path::new(TERMINAL)) && args.text.len() != 1 {
        return Err(Error::data("--attention", "a file shows one source; give exactly one TEXT, before --attention"));
    }
    if args.jsonl && args.attention.as_ref().is_some_and(|path| path == Path::new(TERMINAL)) {
        let message = "a grid would stand among the objects of --jsonl; give it a file, or see --alignments";
        return Err(Error::data("--attention", message));
    }
    if is_language_model(&args.model) {
        args.check_without_source()?;
    }
    agree_on(global, &[args.model.join(WEIGHTS)])?;
    let gpu = open(global)?;
    let options = args.options();
    let (model, generator) = args.search.load(&gpu, &args.model, &options)?;
    let generator = generator.among(global.ranks.clone());
    let origin = if args.text.is_empty() { "standard input, line" } else { "TEXT" };
    let mut writer = Writer {
        reader: Reader::new(&args, &model, origin, &generator, &options)?,
        printer: Printer::new(&args, &model, &generator),
        model: &model,
        alignments: args.alignments.as_deref().filter(|_| global.writes()).map(Alignments::new).transpose()?,
        generator,
        options,
        read: 0,
    };
    if args.text.is_empty() {
        match &global.ranks {
            Some(ranks) => groups::among(ranks.as_ref(), |lines| writer.answer(lines))?,
            None => groups::in_groups(groups::stdin(), |lines| writer.answer(lines))?,
        }
    } else {
        let texts: Vec<String> = args.text.iter().map(|text| as_line(text).into_owned()).collect();
        writer.answer(&texts)?;
    }
    writer.alignments.map_or(Ok(()), Alignments::finish)?;
    Ok(ExitCode::SUCCESS)
}

/// The writer of answers to sources.
struct Writer<'a> {
    reader: Reader<'a>,
    printer: Printer<'a>,
    model: &'a Model,
    alignments: Option<Alignments>,
    generator: Generator,
    options: SearchOptions,
    /// Lines read so far.
    read: u64,
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
        let inputs: Vec<&Input> = read.iter().filter_map(|source| source.input.as_ref()).collect();
        let [tokens, prefixes]: [Vec<_>; 2] = [
            inputs.iter().map(|input| input.tokens.clone()).collect(),
            inputs.iter().map(|input| input.prefix.clone()).collect(),
        ];
        let found = self.generator.generate_behind(&tokens, &prefixes, &self.options)?;
        self.options.first += inputs.len() as u64;
        let mut found = found.into_iter();
        for (source, number) in read.iter().zip(self.read + 1..) {
            let hypotheses: Vec<Hypothesis> = source.input.as_ref().and_then(|_| found.next()).unwrap_or_default();
            let answer = Answer { number, source, hypotheses };
            self.printer.print(&mut self.generator, &answer)?;
            if let Some(alignments) = &mut self.alignments {
                alignments.add(self.model, &mut self.generator, &answer)?;
            }
        }
        self.read += read.len() as u64;
        stopped
    }
}
