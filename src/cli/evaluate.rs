//! `softalign evaluate`: scores of a model on a file.

use std::{path::PathBuf, process::ExitCode};

use softalign::{Error, Result, files, generate::evaluate_with, text::read_tsv};

use super::{Global, open, output, search::Search};

/// Arguments of `evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Pairs to score on: a line each, source<TAB>target; several lines with one source are several right answers.
    file: PathBuf,
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
    let (model, mut generator) = args.search.load(&gpu, &args.model)?;
    let (scores, _) = evaluate_with(&mut generator, &model, &pairs, &args.search.options())?;
    output::print(&format!("sources              {}", scores.count))?;
    output::print(&format!("exact match          {:.2} %", scores.exact_match))?;
    output::print(&format!("token error rate     {:.2} %", scores.per))?;
    output::print(&format!("word error rate      {:.2} %", scores.wer))?;
    output::print(&format!("BLEU                 {:.2}", scores.bleu))?;
    output::print(&format!("chrF2                {:.2}", scores.chrf))?;
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(&scores).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}
