//! Whole files or none: written under a temporary name, synced, then renamed.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

use std::path::Path;

use crate::{Error, Result};

/// Reads a file whole.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io(path))
}

/// Replaces `path` by a file that holds `bytes`. Whatever happens, `path` is the old file or the new one, whole.
/// Feature `text` or `validate`.
///
/// # Errors
/// [`Error::Io`] naming the file.
#[cfg(any(feature = "text", feature = "validate"))]
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    let folder = parent(path);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-");
    // Temporary files are private by default; the renamed one is as readable as any other file (less the umask).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::io(path))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|failed| Error::io(path)(failed.error))?;
    sync_folder(folder)
}

/// Replaces `path` by the file that `write` makes at the place that it is given, as [`write_atomically`] does. Feature `text`.
///
/// # Errors
/// [`Error::Io`] naming the file; the errors of `write`.
#[cfg(feature = "text")]
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = parent(path);
    let room = tempfile::Builder::new().prefix(".writing-").tempdir_in(parent).map_err(Error::io(path))?;
    let made = room.path().join("made");
    // As readable as any other file (less the umask), whoever makes it.
    let permissions =
        std::fs::File::create(&made).and_then(|file| file.metadata()).map_err(Error::io(path))?.permissions();
    write(&made)?;
    let file = std::fs::File::open(&made).map_err(Error::io(path))?;
    file.set_permissions(permissions).and_then(|()| file.sync_all()).map_err(Error::io(path))?;
    std::fs::rename(&made, path).map_err(Error::io(path))?;
    sync_folder(parent)
}

/// The folder that a path is in; that of a bare name is "", which is no folder to create a file in.
#[cfg(any(feature = "text", feature = "validate"))]
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in a folder are on disk: only then is a rename safe. Feature `text` or `validate`.
///
/// # Errors
/// [`Error::Io`] naming the folder.
#[cfg(any(feature = "text", feature = "validate"))]
pub fn sync_folder(folder: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Makes a folder of what `write` puts into the one that it is given, whole or not at all; `path` must not be there, or be an empty
/// folder. Feature `text`.
///
/// # Errors
/// [`Error::Data`] for a folder that holds something; [`Error::Io`] naming the folder; the errors of `write`.
#[cfg(feature = "text")]
pub fn write_folder(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let holds_nothing = |path: &Path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    if path.symlink_metadata().is_ok() && !holds_nothing(path) {
        let message = "is there already; give another folder, or remove it";
        return Err(Error::data(path.display().to_string(), message));
    }
    let parent = parent(path);
    std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
    let folder = tempfile::Builder::new().prefix(".writing-").tempdir_in(parent).map_err(Error::io(path))?;
    write(folder.path())?;
    for entry in std::fs::read_dir(folder.path()).map_err(Error::io(path))? {
        let file = entry.map_err(Error::io(path))?.path();
        std::fs::File::open(&file).and_then(|file| file.sync_all()).map_err(Error::io(path))?;
    }
    sync_folder(folder.path())?;
    std::fs::rename(folder.path(), path).map_err(Error::io(path))?;
    // What it names is gone from there.
    drop(folder.keep());
    sync_folder(parent)
}
