//! `softalign evaluate`: scores of a model on a file.

use std::{path::PathBuf, process::ExitCode};

use softalign::{
    Error, Result, files,
    generate::{SearchOptions, evaluate},
    model::Model,
    text::read_tsv,
};

use super::{Global, open, output};

/// Arguments of `evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Pairs to score on: a line each, source<TAB>target; several lines with one source are several right answers.
    file: PathBuf,
    /// Hypotheses kept at each step; 1 is greedy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    beam: u8,
    /// Also write the scores as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs `evaluate`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let pairs = read_tsv(&args.file)?;
    let gpu = open(global)?;
    let model = Model::load(&gpu, &args.model)?;
    let (scores, _) = evaluate(&model, &pairs, &SearchOptions::beam(args.beam.into()))?;
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
