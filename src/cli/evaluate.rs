//! `softalign evaluate`: scores of a model on a file.

use std::{path::PathBuf, process::ExitCode};

use softalign::{
    Error, Result, files,
    generate::{Resampling, evaluate_in_full},
    text::{Interval, read_tsv},
};

use super::{Global, open, output, search::Search};

/// The seed of the resamples: the same texts have the same intervals.
const SEED: u64 = 1;

/// Arguments of `evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Pairs to score on: a line each, source<TAB>target; several lines with one source are several references.
    file: PathBuf,
    /// Resamples for the 95 % interval beside each score (Koehn 2004); 0 for none.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    bootstrap: u32,
    /// Also write the scores as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    search: Search,
}

/// Runs `evaluate`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let pairs = read_tsv(&args.file)?;
    let gpu = open(global)?;
    let options = args.search.options();
    let (model, mut generator) = args.search.load(&gpu, &args.model, &options)?;
    let resampling = Resampling { resamples: args.bootstrap as usize, seed: SEED };
    let evaluation = evaluate_in_full(&mut generator, &model, &pairs, &options, resampling)?;
    let scores = evaluation.scores;
    output::print(&format!("sources              {}", scores.count))?;
    let intervals = evaluation.intervals.as_ref();
    let tokens = if evaluation.wer.is_some() { "word error rate" } else { "token error rate" };
    let rows: [(&str, f64, &str, Option<Interval>); 7] = [
        ("exact match", scores.exact_match, " %", intervals.map(|found| found.exact_match)),
        (tokens, scores.token_error_rate, " %", intervals.map(|found| found.token_error_rate)),
        ("sentence error rate", scores.sentence_error_rate, " %", intervals.map(|found| found.sentence_error_rate)),
        ("BLEU", scores.bleu, "", intervals.map(|found| found.bleu)),
        ("chrF2", scores.chrf, "", intervals.map(|found| found.chrf)),
        ("perplexity", evaluation.perplexity, "", intervals.map(|found| found.perplexity)),
        ("bits per token", evaluation.bits_per_token, "", intervals.map(|found| found.bits_per_token)),
    ];
    for (name, score, unit, interval) in rows {
        let range = interval.map_or_else(String::new, |found| format!("95 %: {:.2} to {:.2}", found.low, found.high));
        output::print(format!("{name:<20} {:<12}{range}", format!("{score:.2}{unit}")).trim_end())?;
    }
    output::print(&format!("BLEU signature       {}", evaluation.bleu_signature))?;
    output::print(&format!("chrF2 signature      {}", evaluation.chrf_signature))?;
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(&evaluation).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}
