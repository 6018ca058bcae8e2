//! `softalign score`: how likely a model finds given targets.

use std::{path::PathBuf, process::ExitCode};

use serde_json::{Value, json};
use softalign::{
    Error, Result, files,
    generate::{Likelihood, Scorer},
    model::Model,
    text::{Example, Pair, read_lines},
};

use super::{
    Global, open, output,
    search::{fills_masks, is_language_model, read_pairs},
};

/// Arguments of `score`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, as `softalign train` writes it.
    model: PathBuf,
    /// Pairs to score: a line each, source<TAB>target; for a language model texts, a line each. Tokens that the target vocabulary
    /// lacks count as <unk>. A pair that is too long for the model gets an empty line, and a warning names its line.
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
    let pairs = match is_language_model(&args.model) {
        true => read_lines(&args.file)?.into_iter().map(|text| Pair::new("", text)).collect(),
        false => read_pairs(&args.model, &args.file)?,
    };
    if fills_masks(&args.model) {
        let message =
            "this model finds masked tokens, and gives texts no probability; `evaluate` says how well it finds them";
        return Err(Error::data(args.model.display().to_string(), message));
    }
    let gpu = open(global)?;
    let model = Model::load(&gpu, &args.model)?;
    let (read, stopped) = read(args, &model, &pairs);
    let examples: Vec<Example> = read.iter().flatten().cloned().collect();
    let mut list = List { args, model: &model, total: Likelihood::default(), scores: Vec::new(), tokens: Vec::new() };
    let mut next = read.iter();
    Scorer::new(&model).score_tokens(&examples, |part| {
        let mut lines = Vec::new();
        for tokens in part {
            for example in next.by_ref() {
                lines.push(list.line(example.as_ref().map(|example| (example, tokens.as_slice()))));
                if example.is_some() {
                    break;
                }
            }
        }
        output::print(&lines.join("\n"))
    })?;
    next.try_for_each(|_| output::print(&list.line(None)))?;
    stopped?;
    list.finish(examples.len(), global.quiet)?;
    Ok(ExitCode::SUCCESS)
}

/// Pairs as tokens, none of one that is too long for the model; under `--strict` those before the first such pair, and its error.
fn read(args: &Args, model: &Model, pairs: &[Pair]) -> (Vec<Option<Example>>, Result<()>) {
    let mut read = Vec::new();
    for (pair, line) in pairs.iter().zip(1..) {
        let wrong = |error: Error| Error::data(format!("{}, line {line}", args.file.display()), error.to_string());
        match model.scored(pair) {
            Ok(example) => read.push(Some(example)),
            Err(error) if args.strict => return (read, Err(wrong(error))),
            Err(error) => {
                tracing::warn!("{}. Its line is empty", wrong(error));
                read.push(None);
            }
        }
    }
    (read, Ok(()))
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
    /// The line of a pair whose tokens have these log-probabilities, or of one that was left out.
    fn line(&mut self, scored: Option<(&Example, &[f32])>) -> String {
        let Some((example, tokens)) = scored else {
            self.scores.push(None);
            self.tokens.push(Value::Null);
            return String::new();
        };
        let found = Likelihood::of(tokens);
        self.total += found;
        self.scores.push(Some(found.log_probability));
        let line = format!("{:.4}", found.log_probability);
        if !self.args.token_scores {
            return line;
        }
        let [_, names] = self.model.names(&example.source, &example.target);
        let named = names.iter().zip(tokens).map(|(token, x)| json!({"token": token, "log_probability": x}));
        self.tokens.push(named.collect());
        let each: Vec<_> = tokens.iter().map(|x| format!("{x:.4}")).collect();
        format!("{line}\t{}", each.join(" "))
    }

    /// Says the totals of so many pairs, and writes them as JSON where they are asked for.
    fn finish(&self, pairs: usize, quiet: bool) -> Result<()> {
        let total = self.total;
        // Of nothing there is none.
        let [perplexity, bits] =
            [total.perplexity(), total.bits_per_token()].map(|figure| (total.tokens > 0).then_some(figure));
        if !quiet {
            let means = perplexity.zip(bits).map_or_else(String::new, |(perplexity, bits)| {
                format!(", perplexity {perplexity:.4}, {bits:.4} bits per token")
            });
            // Not among the results, which are a line for each pair.
            output::note(&format!(
                "{pairs} pairs, {} target tokens with their <eos>: log-probability {:.4}{means}",
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
        let text = serde_json::to_string_pretty(&found).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, (text + "\n").as_bytes())
    }
}
