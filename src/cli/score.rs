//! `softalign score`: how likely a model finds given targets.

use std::{path::PathBuf, process::ExitCode};

use serde_json::json;
use softalign::{
    Error, Result, files,
    generate::{Likelihood, Scorer},
    model::Model,
    text::{encode_pairs, read_tsv},
};

use super::{Global, open, output};

/// Arguments of `score`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Pairs to score: a line each, source<TAB>target. Tokens that the target vocabulary lacks count as <unk>.
    file: PathBuf,
    /// Also write the log-probabilities and their totals as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs `score`.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let pairs = read_tsv(&args.file)?;
    let gpu = open(global)?;
    let model = Model::load(&gpu, &args.model)?;
    let longest = model.network.limits().max_length;
    let name = args.file.display().to_string();
    let examples = encode_pairs(&name, &pairs, &model.source, &model.target, longest)?;
    let mut scores = Vec::with_capacity(examples.len());
    let mut total = Likelihood::default();
    Scorer::new(&model).score_in_parts(&examples, |part| {
        let lines: Vec<_> = part.iter().map(|found| format!("{:.4}", found.log_probability)).collect();
        part.iter().for_each(|found| total += *found);
        scores.extend(part.iter().map(|found| found.log_probability));
        output::print(&lines.join("\n"))
    })?;
    let (perplexity, bits) = (total.perplexity(), total.bits_per_token());
    // Not among the results, which are a line for each pair.
    output::note(&format!(
        "{} pairs, {} target tokens with their <eos>: log-probability {:.4}, perplexity {perplexity:.4}, \
         {bits:.4} bits per token",
        examples.len(),
        total.tokens,
        total.log_probability
    ));
    if let Some(path) = &args.json {
        let found = json!({
            "pairs": examples.len(), "tokens": total.tokens, "log_probability": total.log_probability,
            "perplexity": perplexity, "bits_per_token": bits, "log_probabilities": scores,
        });
        let text = serde_json::to_vec_pretty(&found).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}
