//! One session at a time in a run's folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    path::Path,
};

use super::host::host;
use crate::{Error, Result, text::escaped};

/// The file whose lock a session holds. It stays when the session ends: to delete it would let two sessions lock two files.
pub(super) const LOCK: &str = "run.lock";

/// The sole right to write into a run's folder. The system takes it back when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the right, or says who has it.
    ///
    /// # Errors
    /// [`Error::Data`] if another session has it; [`Error::Io`] if the folder cannot be written to.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Some systems do not let others read a locked file.
                let text = fs::read_to_string(&path).unwrap_or_default();
                let holder = text.lines().next().unwrap_or("another process");
                let message =
                    format!("{holder} is training in this folder; wait until it has ended, or choose another folder");
                return Err(Error::data(folder.display().to_string(), message));
            }
            Err(TryLockError::Error(error)) => {
                let folder = escaped(&folder.display().to_string());
                tracing::warn!("{folder}: this file system locks no files ({error}); let no other run use this folder");
            }
        }
        let holder = format!("process {} on {}\n", std::process::id(), host());
        file.set_len(0).and_then(|()| file.write_all(holder.as_bytes())).map_err(Error::io(path))?;
        Ok(Self { _file: file })
    }
}
