//! The one error type of the library. Every message says what was wrong, where, and what to do.

use std::{io::ErrorKind, path::PathBuf};

use crate::{
    names::setting,
    visible::{escaped, shown},
};

/// The result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, in words a user can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter could be used; `seen` lists backends and what each showed.
    #[error(
        "no usable GPU adapter.\n{seen}\nInstall a Vulkan driver (Debian without a GPU: apt-get install mesa-vulkan-drivers), or name one of those adapters."
    )]
    NoAdapter {
        /// One line per backend.
        seen: String,
    },
    /// The driver refused a device, a pipeline or a command.
    #[error("{kernel}: the driver reported: {message}")]
    Gpu {
        /// The kernel, Program or action that was at work.
        kernel: String,
        /// The driver's own words.
        message: String,
    },
    /// The device went away (unplugged, reset by a watchdog, destroyed).
    #[error(
        "the device was lost in {program} at step {step}: {message}. Start again; a training run resumes from its last checkpoint. With the option {} the error names the kernel.",
        setting("trace")
    )]
    DeviceLost {
        /// The Program last submitted.
        program: String,
        /// The step last submitted.
        step: u64,
        /// The driver's own words.
        message: String,
    },
    /// A shader did not pass preprocessing or validation.
    #[error("shader {shader}: {message}")]
    Shader {
        /// The shader's name and specialisation.
        shader: String,
        /// The fault, with the line in the original file.
        message: String,
    },
    /// The adapter cannot hold or run something this large.
    #[error("{what} needs {need}, and this adapter's {limit} is {have}. {remedy}")]
    Limit {
        /// The thing asked for.
        what: String,
        /// The amount that it needs.
        need: u64,
        /// The name of the limit.
        limit: &'static str,
        /// The limit's value.
        have: u64,
        /// A remedy.
        remedy: String,
    },
    /// The driver has no memory left for a buffer or texture. What was made before is unharmed.
    #[error(
        "{what} needs {need} bytes, and the driver says that the adapter's memory does not hold them ({message}). This process has {} there, and {} free. Use a smaller batch or model, shorter sequences, or another adapter.",
        bytes(.held), bytes(.free)
    )]
    OutOfMemory {
        /// The purpose of the buffer or texture.
        what: String,
        /// Its bytes.
        need: u64,
        /// Bytes that this device has been given, where its backend counts them.
        held: Option<u64>,
        /// Bytes that are free, where the driver or the system says so: [`crate::Gpu::free_memory`].
        free: Option<u64>,
        /// The driver's own words.
        message: String,
    },
    /// An argument of an operation has the wrong shape or type.
    #[error("{operation}: {argument}: wanted {wanted}, got {got}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// The shape or type that the operation takes.
        wanted: String,
        /// The shape or type given.
        got: String,
    },
    /// Data, a model folder or a setting that cannot be used. Settings are called as the fields of the options are, in
    /// backticks, or as [`crate::name_settings`] has them.
    #[error("{}: {message}", escaped(.path))]
    Data {
        /// The file, folder or setting.
        path: String,
        /// The fault (with the line where there is one) and a remedy.
        message: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}{}", shown(.path), way_out(.source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A training step produced an infinity or a NaN.
    #[error(
        "step {step}: the {what} is not finite; the update was skipped. Lower the learning rate, or look at the data of this step; with the option {} the error names the kernel and the tensor.",
        setting("check_finite")
    )]
    NonFinite {
        /// The step.
        step: u64,
        /// Loss or gradient norm.
        what: &'static str,
    },
    /// The parameters of a training run are lost: the model computes no numbers any more.
    #[error(
        "step {step}: {what} is not finite: the parameters are lost. {}. Start again with a lower {} or {}, and another folder or {}.",
        kept(.checkpoint), setting("learning_rate"), setting("clip_norm"), setting("overwrite")
    )]
    Lost {
        /// The step.
        step: u64,
        /// Validation loss, or a parameter.
        what: &'static str,
        /// The step of the last checkpoint, which is whole.
        checkpoint: Option<u64>,
    },
    /// One of several ranks has ended, or is at odds with the others, all of which get this error.
    #[error("rank {rank}: {message}")]
    Rank {
        /// Its number.
        rank: usize,
        /// The fault, and a remedy.
        message: String,
    },
    /// Where a value became infinite or NaN, which was looked for.
    #[error("{program} at step {step}: {kernel} wrote {found}; {cause}.")]
    BecameNonFinite {
        /// The Program, and the dispatch in it.
        program: String,
        /// The step.
        step: u64,
        /// The kernel and its specialisation.
        kernel: String,
        /// The value, the tensor by its name in the shader, and the place in it.
        found: String,
        /// Which of the tensors that it had read held such values already.
        cause: String,
    },
}

/// A number of bytes that may not be known.
fn bytes(count: &Option<u64>) -> String {
    count.map_or_else(|| "an unknown number of bytes".into(), |count| format!("{count} bytes"))
}

/// What a lost run has left.
fn kept(checkpoint: &Option<u64>) -> String {
    match checkpoint {
        Some(step) => format!("The checkpoint of step {step} and the best model so far are whole"),
        None => "Nothing was saved before".into(),
    }
}

/// A remedy for a failure, where the system's own words do not give one.
fn way_out(source: &std::io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "; make room and start again: what was whole there still is, and a training run goes on from its last checkpoint"
        }
        _ => "",
    }
}

impl Error {
    /// A [`Error::Data`] for `path`.
    pub fn data(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Data { path: path.into(), message: message.into() }
    }

    /// Turns an [`std::io::Error`] on `path` into an [`Error::Io`]; for `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
