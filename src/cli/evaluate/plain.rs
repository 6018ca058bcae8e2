//! `softalign evaluate` of a language model: the likelihood of a text.

use std::{path::Path, process::ExitCode};

use softalign::{Error, Result, files, generate::evaluate_plain, text::read_plain};

use super::Args;
use crate::cli::{Global, open, output};

/// Evaluates the language model in `folder` on the text.
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
    let found = evaluate_plain(&generator, &model, &text)?;
    output::print(&format!("tokens               {}", found.tokens))?;
    output::print(&format!("bytes                {}", found.bytes))?;
    for (name, value) in [
        ("perplexity", found.perplexity),
        ("bits per token", found.bits_per_token),
        ("bits per byte", found.bits_per_byte),
    ] {
        output::print(&format!("{name:<20} {value:.4}"))?;
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&found).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, (text + "\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
