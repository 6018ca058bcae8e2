//! `softalign import`: a model folder from one of Hugging Face's, or from a `state_dict` of PyTorch's.

use std::{path::PathBuf, process::ExitCode};

use softalign::{Error, Result, files, model::Model, text::escaped};

use super::{Global, open, output};

/// Arguments of `import`.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face folder: config.json, model.safetensors or its shards with their index, in f32, f16 or bf16, and tokenizer.json.
    /// Or a state_dict of PyTorch's, a safetensors file: without --map the default model's, with source.tokenizer.json and
    /// target.tokenizer.json beside it.
    checkpoint: PathBuf,
    /// What a state_dict does not say of its model: a JSON file with its architecture, vocabularies and names, as the guide has it.
    #[arg(long, value_name = "MAP.json")]
    map: Option<PathBuf>,
    /// Model folder to write; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs `import`.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let gpu = open(global)?;
    let model = match (&args.map, args.checkpoint.is_dir()) {
        (Some(_), true) => {
            let message = "is a folder, which says what its model is; --map is for a state_dict, a safetensors file";
            return Err(Error::data(args.checkpoint.display().to_string(), message));
        }
        (None, true) => Model::import(&gpu, &args.checkpoint)?,
        (map, false) => Model::import_state_dict(&gpu, &args.checkpoint, map.as_deref())?,
    };
    files::write_folder(&args.out, |folder| model.save(folder))?;
    if !global.quiet {
        let parameters: usize = model.network.parameters().iter().map(|parameter| parameter.shape.elements()).sum();
        let (name, out) = (model.network.name(), escaped(&args.out.display().to_string()));
        output::note(&format!("{out}: {name} of {parameters} parameters, {} tokens", model.source.size()));
    }
    Ok(ExitCode::SUCCESS)
}
