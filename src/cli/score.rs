//! `softalign score`: how likely a model finds given targets.

use std::{path::PathBuf, process::ExitCode};

use serde_json::{Value, json};
use softalign::{
    Error, Result, files,
    generate::{Likelihood, Scorer},
    model::Model,
    text::{Example, encode_pairs, fitting, read_tsv},
};

use super::{Global, open, output};

/// Arguments of `score`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Pairs to score: a line each, source<TAB>target. Tokens that the target vocabulary lacks count as <unk>. A pair that is too
    /// long for the model gets an empty line, and a warning.
    file: PathBuf,
    /// Add to each line, behind a tab, the log-probabilities of the target's tokens, its <eos> included, with spaces between.
    #[arg(long)]
    token_scores: bool,
    /// Stop at a pair that is too long for the model.
    #[arg(long)]
    strict: bool,
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
    // Strict about length, or not at all.
    let most = if args.strict { longest } else { usize::MAX };
    let all = encode_pairs(&name, &pairs, &model.source, &model.target, most)?;
    let mut fits = fitting(&name, &all, longest)?.into_iter();
    let examples: Vec<Example> =
        all.into_iter().zip(fits.as_slice()).filter(|(_, fits)| **fits).map(|(one, _)| one).collect();
    let mut list = List { args, model: &model, total: Likelihood::default(), scores: Vec::new(), tokens: Vec::new() };
    let mut next = examples.iter();
    Scorer::new(&model).score_tokens(&examples, |part| {
        let mut lines = Vec::new();
        for tokens in part {
            lines.extend(fits.by_ref().take_while(|fits| !fits).map(|_| list.left_out()));
            lines.extend(next.next().map(|example| list.line(example, tokens)));
        }
        output::print(&lines.join("\n"))
    })?;
    fits.try_for_each(|_| output::print(&list.left_out()))?;
    list.finish(examples.len(), global.quiet)?;
    Ok(ExitCode::SUCCESS)
}

/// The scores found so far.
struct List<'a> {
    args: &'a Args,
    model: &'a Model,
    total: Likelihood,
    /// Of each pair; none of one that was left out.
    scores: Vec<Option<f64>>,
    /// Tokens and their scores of each pair, where they are asked for.
    tokens: Vec<Value>,
}

impl List<'_> {
    /// The line of a pair whose tokens have these log-probabilities.
    fn line(&mut self, example: &Example, tokens: &[f32]) -> String {
        let found = Likelihood::of(tokens);
        self.total += found;
        self.scores.push(Some(found.log_probability));
        let line = format!("{:.4}", found.log_probability);
        if !self.args.token_scores {
            return line;
        }
        let end = self.model.target.specials().eos;
        let names = example.target.iter().chain([&end]).map(|token| self.model.target.token(*token));
        let named = names.zip(tokens).map(|(token, x)| json!({"token": token, "log_probability": x}));
        self.tokens.push(named.collect());
        let each: Vec<_> = tokens.iter().map(|x| format!("{x:.4}")).collect();
        format!("{line}\t{}", each.join(" "))
    }

    fn left_out(&mut self) -> String {
        self.scores.push(None);
        if self.args.token_scores {
            self.tokens.push(Value::Null);
        }
        String::new()
    }

    /// Says the totals of so many pairs, and writes them as JSON where they are asked for.
    fn finish(&self, pairs: usize, quiet: bool) -> Result<()> {
        let (total, perplexity, bits) = (self.total, self.total.perplexity(), self.total.bits_per_token());
        if !quiet {
            // Not among the results, which are a line for each pair.
            output::note(&format!(
                "{pairs} pairs, {} target tokens with their <eos>: log-probability {:.4}, perplexity {perplexity:.4}, \
                 {bits:.4} bits per token",
                total.tokens, total.log_probability
            ));
        }
        let Some(path) = &self.args.json else { return Ok(()) };
        let mut found = json!({
            "pairs": pairs, "tokens": total.tokens, "log_probability": total.log_probability,
            "perplexity": perplexity, "bits_per_token": bits, "log_probabilities": self.scores,
        });
        if let (true, Some(fields)) = (self.args.token_scores, found.as_object_mut()) {
            fields.insert("token_scores".into(), self.tokens.as_slice().into());
        }
        let text = serde_json::to_vec_pretty(&found).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, &text)
    }
}
