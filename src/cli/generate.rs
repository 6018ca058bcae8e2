//! `softalign generate`: text from a model folder.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use softalign::{
    Error, Result,
    generate::{Generator, Hypothesis, Sampling, SearchOptions, draw_alignment, replace_unknown},
    model::Model,
    text::{EOS, Tokenizer, UNK},
};

use super::{
    Global, grid, open, output,
    search::{Search, number},
};

/// Lines of standard input that are decoded together, at first and at most: the first answers come soon, and of many lines
/// those of about one length meet.
const LINES: [usize; 2] = [64, 2048];

/// The most bytes that are read of standard input at once.
const BUFFER: usize = 1 << 20;

/// The file name that stands for the terminal.
const TERMINAL: &str = "-";

/// Arguments of `generate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Sources; without any, lines of standard input, each answered by a line. Text after a tab in a line is the prefix of its
    /// answer.
    text: Vec<String>,
    /// Print this many texts for each source, best first, or samples, each after its score and a tab.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    n_best: Option<u8>,
    /// Begin every text with this prefix.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Draw the alignment of one source, the attention of each target token, as PNG or SVG; without a file, as a grid in the
    /// terminal.
    #[arg(long, value_name = "FILE.png", num_args = 0..=1, default_missing_value = TERMINAL)]
    attention: Option<PathBuf>,
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
        if sample {
            let top_k = top_k.unwrap_or(0) as usize;
            options.sampling = Some(Sampling { temperature, top_k, top_p });
        } else {
            options.beam = options.beam.max(n_best);
        }
        SearchOptions { n_best, seed, ..options }
    }
}

/// Runs `generate`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    if args.attention.as_ref().is_some_and(|path| path != Path::new(TERMINAL)) && args.text.len() != 1 {
        return Err(Error::data("--attention", "a file shows one source; give exactly one TEXT, before --attention"));
    }
    let gpu = open(global)?;
    let options = args.options();
    let (model, generator) = args.search.load(&gpu, &args.model, &options)?;
    let prefix = target(&model, args.prefix.as_deref().unwrap_or_default())?;
    let mut writer = Writer { options, args: &args, model: &model, generator, prefix };
    if args.text.is_empty() {
        let input = BufReader::with_capacity(BUFFER, std::io::stdin().lock());
        writer.answer_lines(input)?;
    } else {
        writer.answer(&args.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The generator of answers to sources.
struct Writer<'a> {
    args: &'a Args,
    model: &'a Model,
    generator: Generator,
    options: SearchOptions,
    prefix: Vec<u32>,
}

impl Writer<'_> {
    fn answer_lines(&mut self, mut input: BufReader<impl std::io::Read>) -> Result<()> {
        let (mut lines, mut most) = (Vec::new(), LINES[0]);
        for number in 1.. {
            let mut line = String::new();
            let read = input.read_line(&mut line).map_err(Error::io(format!("standard input, line {number}")));
            let more = matches!(read, Ok(bytes) if bytes > 0);
            if more {
                let ending = line.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
                lines.push(ending.unwrap_or(&line).to_owned());
            }
            // A reader that waits for an answer before the next line gets it, and lines before a bad one are not lost.
            if !more || lines.len() == most || input.buffer().is_empty() {
                self.answer(&lines)?;
                lines.clear();
                most = (2 * most).min(LINES[1]);
            }
            if read? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn answer(&mut self, texts: &[String]) -> Result<()> {
        // An empty line has an empty answer; the others are decoded together, as far as they can be read.
        let (mut kept, mut sources, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        let mut unreadable = Ok(());
        for text in texts.iter().filter(|text| !text.is_empty()) {
            match self.read(text) {
                Ok((text, source, prefix)) => {
                    kept.push(text);
                    sources.push(source);
                    prefixes.push(prefix);
                }
                Err(error) => {
                    unreadable = Err(error);
                    break;
                }
            }
        }
        let found = self.generator.generate_behind(&sources, &prefixes, &self.options)?;
        self.options.first += sources.len() as u64;
        let mut answers = kept.iter().zip(&sources).zip(found);
        for text in texts {
            if text.is_empty() {
                output::print("")?;
                continue;
            }
            let Some(((text, source), hypotheses)) = answers.next() else { break };
            self.print(text, &hypotheses)?;
            if let (Some(path), Some(best)) = (&self.args.attention, hypotheses.first()) {
                draw(self.model, &mut self.generator, source, &best.tokens, path)?;
            }
        }
        unreadable
    }

    /// A source, its tokens and those of its prefix.
    fn read<'t>(&self, text: &'t str) -> Result<(&'t str, Vec<u32>, Vec<u32>)> {
        let (text, prefix) = match text.split_once('\t') {
            Some((text, prefix)) => (text, target(self.model, prefix)?),
            None => (text, self.prefix.clone()),
        };
        Ok((text, source(self.model, text)?, prefix))
    }

    fn print(&self, source: &str, hypotheses: &[Hypothesis]) -> Result<()> {
        if hypotheses.is_empty() {
            tracing::warn!("no text for `{source}`: the options leave none");
            output::print("")?;
        }
        for hypothesis in hypotheses {
            let text = match self.options.attended {
                true => replace_unknown(self.model, source, hypothesis)?,
                false => self.model.target.decode(&hypothesis.tokens),
            };
            match self.args.n_best {
                Some(_) => output::print(&format!("{:.4}\t{text}", hypothesis.score))?,
                None => output::print(&text)?,
            }
            if !hypothesis.finished {
                tracing::warn!("`{text}` was cut at the greatest length");
            }
        }
        Ok(())
    }
}

/// The tokens of a source; says which pieces the model has not seen.
fn source(model: &Model, text: &str) -> Result<Vec<u32>> {
    let tokens = model.encode(text)?;
    warn_of_unknown(&model.source, text, &tokens)?;
    Ok(tokens)
}

/// The tokens of a prefix; says which pieces the model has not seen.
fn target(model: &Model, text: &str) -> Result<Vec<u32>> {
    let tokens = model.target.encode(text)?;
    warn_of_unknown(&model.target, text, &tokens)?;
    Ok(tokens)
}

fn warn_of_unknown(tokenizer: &Tokenizer, text: &str, tokens: &[u32]) -> Result<()> {
    if tokens.contains(&UNK) {
        let pieces = tokenizer.tokens(text)?;
        for (piece, _) in pieces.iter().zip(tokens).filter(|(_, token)| **token == UNK) {
            tracing::warn!("the model has not seen `{piece}`; it reads <unk>");
        }
    }
    Ok(())
}

fn draw(model: &Model, generator: &mut Generator, source: &[u32], target: &[u32], path: &Path) -> Result<()> {
    let weights = generator.alignment(source, target)?;
    let name = |tokenizer: &Tokenizer, tokens: &[u32]| -> Vec<String> {
        tokens.iter().map(|token| tokenizer.token(*token)).collect()
    };
    let mut rows = name(&model.target, target);
    rows.push(model.target.token(EOS));
    let columns = name(&model.source, source);
    if path == Path::new(TERMINAL) {
        return grid::print(&columns, &rows, &weights);
    }
    draw_alignment(path, &columns, &rows, &weights)
}
