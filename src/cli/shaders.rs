//! `softalign shaders`: every specialisation of every shader as plain WGSL, or in the languages that drivers take, for other
//! compilers and curious people to read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rayon::prelude::*;
use softalign::gpu::{AdapterClass, Shader, Specialisation, Tiles};
use softalign::gpu::{
    PORTABLE_MEMORY,
    translate::{self, Language, Needs},
};
use softalign::kernels::SHADERS;
use softalign::text::escaped;
use softalign::{Error, Result};

use super::{Global, output};

/// Options of `softalign shaders`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder to write to: `CLASS/KERNEL/SPECIALISATION.wgsl` for each class of adapter, files of the same name replaced.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write this language instead, each form once: `LANGUAGE/NEEDS/KERNEL/SPECIALISATION`, where NEEDS is `portable` or the
    /// optional features that the form uses; may be given several times. Checks are in only with `--checked`.
    #[arg(long = "to", value_name = "LANGUAGE")]
    languages: Vec<To>,
}

/// The languages by name.
#[derive(Clone, Copy, clap::ValueEnum)]
enum To {
    Wgsl,
    Spirv,
    Msl,
    Hlsl,
    Glsl,
}

impl To {
    fn language(self) -> Language {
        match self {
            Self::Wgsl => Language::Wgsl,
            Self::Spirv => Language::SpirV,
            Self::Msl => Language::Msl,
            Self::Hlsl => Language::Hlsl,
            Self::Glsl => Language::Glsl,
        }
    }

    /// Of the folder, and of the files: what the compilers of the language go by.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Wgsl => ("wgsl", "wgsl"),
            Self::Spirv => ("spirv", "spv"),
            Self::Msl => ("msl", "metal"),
            Self::Hlsl => ("hlsl", "hlsl"),
            Self::Glsl => ("glsl", "comp"),
        }
    }
}

/// Writes the files. It needs no adapter.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written, [`Error::Shader`] if a form has no translation.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    if global.checked && args.languages.is_empty() {
        return Err(Error::data("--checked", "what is translated has checks; name a language by --to"));
    }
    let files = if args.languages.is_empty() { by_class(args)? } else { by_language(args, global.checked)? };
    output::print(&format!("{files} files written to {}", escaped(&args.out.display().to_string())))?;
    Ok(ExitCode::SUCCESS)
}

fn by_class(args: &Args) -> Result<usize> {
    let mut files = 0;
    for (class, tiles) in Tiles::all() {
        for shader in SHADERS {
            for form in (shader.specialisations)(&tiles) {
                let text = shader.expand(&form)?.text;
                write(&args.out.join(folder(class, &tiles)), shader, &form, "wgsl", text.as_bytes())?;
                files += 1;
            }
        }
    }
    Ok(files)
}

fn folder(class: AdapterClass, tiles: &Tiles) -> String {
    match tiles.subgroup {
        Some(size) => format!("{}-subgroups{size}{}", class.name(), if tiles.wide { "-wide" } else { "" }),
        None if tiles.cooperative.is_some() => format!("{}-cooperative", class.name()),
        None => format!("{}{}", class.name(), if tiles.memory > PORTABLE_MEMORY { "-memory" } else { "" }),
    }
}

fn by_language(args: &Args, checked: bool) -> Result<usize> {
    let forms: Vec<_> = SHADERS
        .iter()
        .flat_map(|shader| translate::forms(shader).into_iter().map(move |form| (shader, form)))
        .collect();
    let written = forms.par_iter().map(|(shader, form)| {
        let expanded = shader.expand(form)?;
        let parsed = expanded.parse()?;
        let needs = Needs::of(&parsed.0);
        let mut files = 0;
        for to in &args.languages {
            let (folder, ending) = to.names();
            if let Some(text) = translate::translate(&expanded, &parsed, needs, to.language(), checked)? {
                write(&args.out.join(folder).join(needs.to_string()), shader, form, ending, &text)?;
                files += 1;
            }
        }
        Ok(files)
    });
    written.try_reduce(|| 0, |sum, files| Ok(sum + files))
}

fn write(folder: &Path, shader: &Shader, form: &Specialisation, ending: &str, text: &[u8]) -> Result<()> {
    let name = form.label();
    let file = if name.is_empty() { "main" } else { &name };
    let path = folder.join(shader.name).join(format!("{file}.{ending}"));
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(Error::io(&path))?;
    std::fs::write(&path, text).map_err(Error::io(&path))
}
