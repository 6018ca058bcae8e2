//! `softalign import`: a model folder from one of Hugging Face's, or from a `state_dict` of PyTorch's.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use softalign::{
    Error, Result, files,
    model::{Model, Network, TokenModel, network_of_state_dict},
    text::escaped,
};

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
    let Args { checkpoint, map, out } = args;
    let gpu = open(global)?;
    let (network, tokens) = if checkpoint.is_dir() {
        if map.is_some() {
            let message = "is a folder, which says what its model is; --map is for a state_dict, a safetensors file";
            return Err(Error::data(checkpoint.display().to_string(), message));
        }
        written(Model::import(&gpu, checkpoint)?, out)?
    } else if network_of_state_dict(checkpoint, map.as_deref())?.limits().target_vocabulary > 0 {
        written(Model::import_state_dict(&gpu, checkpoint, map.as_deref())?, out)?
    } else {
        // A stack of modules that reads features.
        let model = TokenModel::import_state_dict(&gpu, checkpoint, map.as_deref())?;
        files::write_folder(out, |folder| model.save(folder))?;
        (model.network, 0)
    };
    if !global.quiet {
        let parameters: usize = network.parameters().iter().map(|parameter| parameter.shape.elements()).sum();
        let (name, out) = (network.name(), escaped(&out.display().to_string()));
        output::note(&format!("{out}: {name} of {parameters} parameters, {tokens} tokens"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a model folder; returns the network and the tokens of its sources.
fn written(model: Model, out: &Path) -> Result<(Network, usize)> {
    files::write_folder(out, |folder| model.save(folder))?;
    Ok((model.network, model.source.size()))
}
