//! `softalign export`: a Hugging Face folder from a model folder.

use std::{path::PathBuf, process::ExitCode};

use softalign::{Result, model::Model};

use super::{Global, open};

/// Arguments of `export`.
#[derive(clap::Args)]
pub struct Args {
    /// Model folder, of an architecture and settings that Hugging Face has too.
    model: PathBuf,
    /// Hugging Face folder to write, which `from_pretrained` loads; it must not be there yet.
    #[arg(long, value_name = "HF_FOLDER")]
    out: PathBuf,
}

/// Runs `export`.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    Model::load(&open(global)?, &args.model)?.export(&args.out)?;
    Ok(ExitCode::SUCCESS)
}
