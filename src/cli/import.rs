//! `softalign import`: a model folder from one of Hugging Face's.

use std::{path::PathBuf, process::ExitCode};

use softalign::{Result, files, model::Model, text::escaped};

use super::{Global, open, output};

/// Arguments of `import`.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face folder: config.json, model.safetensors or its shards with their index, in f32, f16 or bf16, and tokenizer.json.
    folder: PathBuf,
    /// Model folder to write; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs `import`.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let gpu = open(global)?;
    let model = Model::import(&gpu, &args.folder)?;
    files::write_folder(&args.out, |folder| model.save(folder))?;
    if !global.quiet {
        let parameters: usize = model.network.parameters().iter().map(|parameter| parameter.shape.elements()).sum();
        let (name, out) = (model.network.name(), escaped(&args.out.display().to_string()));
        output::note(&format!("{out}: {name} of {parameters} parameters, {} tokens", model.source.size()));
    }
    Ok(ExitCode::SUCCESS)
}
