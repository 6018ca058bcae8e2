//! `softalign generate`: text from a model folder.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use softalign::{
    Error, Result,
    generate::{Generator, SearchOptions, draw_alignment},
    model::Model,
    text::{EOS, Tokenizer, UNK},
};

use super::{Global, grid, open, output};

/// Lines of standard input that are decoded together, where so many are there already.
const LINES: usize = 64;

/// The file name that stands for the terminal.
const TERMINAL: &str = "-";

/// Arguments of `generate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Sources; without any, lines of standard input, each answered by a line.
    text: Vec<String>,
    /// Hypotheses kept at each step; 1 is greedy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    beam: u8,
    /// Print this many hypotheses for each source, best first, each behind its score and a tab.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    n_best: Option<u8>,
    /// Draw what each target token attended to (of one source) as PNG or SVG; without a file, as a grid in the terminal.
    #[arg(long, value_name = "FILE.png", num_args = 0..=1, default_missing_value = TERMINAL)]
    attention: Option<PathBuf>,
}

/// Runs `generate`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    if args.attention.as_ref().is_some_and(|path| path != Path::new(TERMINAL)) && args.text.len() != 1 {
        return Err(Error::data("--attention", "a file shows one source; give exactly one TEXT, before --attention"));
    }
    let gpu = open(global)?;
    let model = Model::load(&gpu, &args.model)?;
    let mut generator = Generator::new(&model);
    if !args.text.is_empty() {
        answer(&args, &model, &mut generator, &args.text)?;
    } else {
        let mut lines = Vec::new();
        let mut input = BufReader::new(std::io::stdin().lock());
        for number in 1.. {
            let mut line = String::new();
            let read = input.read_line(&mut line).map_err(Error::io(format!("standard input, line {number}")));
            let more = matches!(read, Ok(bytes) if bytes > 0);
            if more {
                let ending = line.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
                lines.push(ending.unwrap_or(&line).to_owned());
            }
            // Whoever waits for an answer before the next line gets it, and lines before a bad one are not lost.
            if !more || lines.len() == LINES || input.buffer().is_empty() {
                answer(&args, &model, &mut generator, &lines)?;
                lines.clear();
            }
            if read? == 0 {
                break;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(args: &Args, model: &Model, generator: &mut Generator, texts: &[String]) -> Result<()> {
    // An empty line has an empty answer; the others are decoded together.
    let kept: Vec<&String> = texts.iter().filter(|text| !text.is_empty()).collect();
    let sources = kept.iter().map(|text| encode(model, text)).collect::<Result<Vec<_>>>()?;
    let count = args.n_best.unwrap_or(1).max(1);
    let found = generator.generate(&sources, &SearchOptions::beam(args.beam.max(count).into()))?;
    let mut answers = sources.iter().zip(found);
    for text in texts {
        if text.is_empty() {
            output::print("")?;
            continue;
        }
        let Some((source, hypotheses)) = answers.next() else { break };
        if hypotheses.is_empty() {
            output::print("")?;
        }
        for hypothesis in hypotheses.iter().take(count.into()) {
            let text = model.target.decode(&hypothesis.tokens);
            match args.n_best {
                Some(_) => output::print(&format!("{:.4}\t{text}", hypothesis.score))?,
                None => output::print(&text)?,
            }
            if !hypothesis.finished {
                tracing::warn!("`{text}` was cut at the model's max_length");
            }
        }
        if let (Some(path), Some(best)) = (&args.attention, hypotheses.first()) {
            draw(model, generator, source, &best.tokens, path)?;
        }
    }
    Ok(())
}

fn encode(model: &Model, text: &str) -> Result<Vec<u32>> {
    let tokens = model.encode(text)?;
    let pieces = model.source.tokens(text)?;
    for (piece, _) in pieces.iter().zip(&tokens).filter(|(_, token)| **token == UNK) {
        tracing::warn!("the model has not seen `{piece}`; it reads <unk>");
    }
    Ok(tokens)
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
