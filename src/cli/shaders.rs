//! `softalign shaders`: every specialisation of every shader as plain WGSL, for other compilers and curious people to read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use softalign::gpu::{AdapterClass, Shader, Specialisation, Tiles};
use softalign::kernels::SHADERS;
use softalign::{Error, Result};

use super::output;

/// Options of `softalign shaders`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder to write to: `CLASS/KERNEL/SPECIALISATION.wgsl` for each class of adapter, files of the same name replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes the files. It needs no adapter.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut files = 0;
    for (class, tiles) in Tiles::all() {
        for shader in SHADERS {
            for specialisation in (shader.specialisations)(&tiles) {
                write(&args.out.join(folder(class, &tiles)), shader, &specialisation)?;
                files += 1;
            }
        }
    }
    output::print(&format!("{files} files written to {}", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn folder(class: AdapterClass, tiles: &Tiles) -> String {
    match tiles.subgroup {
        Some(size) => format!("{}-subgroups{size}{}", class.name(), if tiles.wide { "-wide" } else { "" }),
        None => class.name().to_owned(),
    }
}

fn write(folder: &Path, shader: &Shader, specialisation: &Specialisation) -> Result<()> {
    let expanded = shader.expand(specialisation)?;
    let name = specialisation.label();
    let file = if name.is_empty() { "main.wgsl".to_owned() } else { format!("{name}.wgsl") };
    let path = folder.join(shader.name).join(file);
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(Error::io(&path))?;
    std::fs::write(&path, &expanded.text).map_err(Error::io(&path))
}
