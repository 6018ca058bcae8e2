//! `softalign evaluate` of a language model: the likelihood of a text, or of the tokens of it that were masked.

use std::{path::Path, process::ExitCode};

use serde::Serialize;
use softalign::{
    Error, Result, files,
    generate::{evaluate_masked, evaluate_plain},
    model::Answers,
    text::read_plain,
};

use super::{Args, SEED};
use crate::cli::{Global, open, output};

/// Evaluates the language model, or the encoder that finds masked tokens, in `folder` on the text.
pub fn run(args: &Args, folder: &Path, global: &Global) -> Result<ExitCode> {
    for (option, given) in [
        ("--hypotheses", args.hypotheses.is_some()),
        ("--group-references", args.group_references),
        ("--tokenize", args.tokenize.is_some()),
        ("--strict", args.strict),
        ("--bootstrap", args.bootstrap.is_some()),
        ("an option of a search", !args.search.is_plain()),
    ] {
        if given {
            let message =
                "is for texts that a model writes for sources, and this is a language model: it has a perplexity alone";
            return Err(Error::data(option, message));
        }
    }
    let text = read_plain(&args.file)?;
    let gpu = open(global)?;
    let (model, generator) = args.search.load(&gpu, folder, &args.search.options())?;
    let generator = generator.among(global.ranks.clone());
    if matches!(model.network.answers(), Answers::Filled { .. }) {
        let found = evaluate_masked(&generator, &model, &text, SEED)?;
        let figures = [("perplexity", found.perplexity), ("bits per token", found.bits_per_token)];
        return print((args, global), &[("tokens", found.tokens), ("masked tokens", found.masked)], &figures, &found);
    }
    let found = evaluate_plain(&generator, &model, &text)?;
    let figures = [
        ("perplexity", found.perplexity),
        ("bits per token", found.bits_per_token),
        ("bits per byte", found.bits_per_byte),
    ];
    print((args, global), &[("tokens", found.tokens), ("bytes", found.bytes)], &figures, &found)
}

fn print(
    (args, global): (&Args, &Global),
    counts: &[(&str, usize)],
    figures: &[(&str, f64)],
    found: &impl Serialize,
) -> Result<ExitCode> {
    counts.iter().try_for_each(|(name, count)| output::print(&format!("{name:<20} {count}")))?;
    figures.iter().try_for_each(|(name, value)| output::print(&format!("{name:<20} {value:.4}")))?;
    if let Some(path) = args.json.as_ref().filter(|_| global.writes()) {
        let text = serde_json::to_string_pretty(found).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, (text + "\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
