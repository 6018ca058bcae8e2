//! `softalign export`: a Hugging Face folder, or a `state_dict` of PyTorch's, from a model folder.

use std::{path::PathBuf, process::ExitCode};

use softalign::{
    Error, Result, files,
    model::{Model, TokenModel, WEIGHTS},
    text::read_text,
};

use super::{Global, open};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder; for a Hugging Face folder, of an architecture and settings that they have too.
    model: PathBuf,
    /// Hugging Face folder to write, which `from_pretrained` loads; or, where the name ends in .safetensors, a state_dict, which
    /// `load_state_dict(strict=True)` takes. It must not be there yet.
    #[arg(long, value_name = "HF_FOLDER|FILE.safetensors")]
    out: PathBuf,
    /// The map that a state_dict was imported by, to write it under the names that it had.
    #[arg(long, value_name = "MAP.json")]
    map: Option<PathBuf>,
}

/// Runs `export`.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let of_pytorch = args.out.extension().is_some_and(|end| end == "safetensors");
    if args.map.is_some() && !of_pytorch {
        let message = "is no name of a safetensors file, which alone is written under the names of a --map";
        return Err(Error::data(args.out.display().to_string(), message));
    }
    let gpu = open(global)?;
    if of_pytorch {
        let [config, weights] = ["config.json", WEIGHTS].map(|name| args.model.join(name));
        let model = TokenModel::load(&gpu, &read_text(&config)?, &files::read(&weights)?)?;
        model.export_state_dict(&args.out, args.map.as_deref())?;
    } else {
        Model::load(&gpu, &args.model)?.export(&args.out)?;
    }
    Ok(ExitCode::SUCCESS)
}
