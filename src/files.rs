//! Files that are whole or not there: written under a temporary name, synced, then renamed. What is no file of its own, a pipe or
//! a device, is written into.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

use std::path::Path;
#[cfg(any(feature = "text", feature = "validate"))]
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
};

use crate::{Error, Result};

/// More links in a row than systems follow.
#[cfg(any(feature = "text", feature = "validate"))]
const MOST_LINKS: usize = 64;

/// How the names of files and folders begin that are not complete yet. Those of a process that was killed stay.
#[cfg(any(feature = "text", feature = "validate"))]
const UNFINISHED: &str = ".writing-";

/// Reads a file whole.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io(path))
}

/// Replaces `path`, or the file that it links to, by a file that holds `bytes`. Whatever happens, it is the old file or the new
/// one, whole, with the old one's permissions. Into a pipe, a device or a descriptor ([`is_stream`]) they are written as they
/// are. Feature `text` or `validate`.
///
/// # Errors
/// [`Error::Io`] naming the file.
#[cfg(any(feature = "text", feature = "validate"))]
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(mut stream) = stream(path).map_err(Error::io(path))? {
        return stream.write_all(bytes).map_err(Error::io(path));
    }
    let target = target(path)?;
    let folder = parent(&target);
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // Temporary files are private by default; the renamed one is as readable as any other file (less the umask).
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(Error::io(path))?;
    if let Ok(old) = target.metadata() {
        file.as_file().set_permissions(old.permissions()).map_err(Error::io(path))?;
    }
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(&target).map_err(|failed| Error::io(path)(failed.error))?;
    sync_folder(folder)
}

/// Replaces `path` by the file that `write` makes at the place that it is given, as [`write_atomically`] does. Feature `text`.
///
/// # Errors
/// [`Error::Io`] naming the file; the errors of `write`.
#[cfg(feature = "text")]
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(mut stream) = stream(path).map_err(Error::io(path))? {
        let room = tempfile::tempdir().map_err(Error::io(path))?;
        let made = room.path().join("made");
        write(&made)?;
        let copied = File::open(&made).and_then(|mut file| io::copy(&mut file, &mut stream));
        return copied.map(drop).map_err(Error::io(path));
    }
    let target = target(path)?;
    let folder = parent(&target);
    let room = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder).map_err(Error::io(path))?;
    let made = room.path().join("made");
    // As readable as the old file, or as any other (less the umask), whoever makes it.
    let mut permissions = File::create(&made).and_then(|file| file.metadata()).map_err(Error::io(path))?.permissions();
    if let Ok(old) = target.metadata() {
        permissions = old.permissions();
    }
    write(&made)?;
    let file = File::open(&made).map_err(Error::io(path))?;
    file.set_permissions(permissions).and_then(|()| file.sync_all()).map_err(Error::io(path))?;
    std::fs::rename(&made, &target).map_err(Error::io(path))?;
    sync_folder(folder)
}

/// The folder that a path is in; that of a bare name is "", which is no folder to create a file in.
#[cfg(any(feature = "text", feature = "validate"))]
fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens `path` to write to it bit by bit: as a new file, or where it is a pipe, a device or a descriptor as what it is. Feature
/// `text` or `validate`.
///
/// # Errors
/// [`Error::Io`] naming the file.
#[cfg(any(feature = "text", feature = "validate"))]
pub fn create(path: &Path) -> Result<File> {
    let opened = stream(path).and_then(|stream| stream.map_or_else(|| File::create(path), Ok));
    opened.map_err(Error::io(path))
}

/// Whether a path names what is connected there rather than a file of its own: a pipe, a device, or a descriptor of a process,
/// such as `/dev/stdin`. Feature `text` or `validate`.
#[cfg(any(feature = "text", feature = "validate"))]
pub fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
        || links(path).any(|path| is_descriptor(&path))
}

/// The file that a path leads to through links, whether it is there or not.
///
/// # Errors
/// [`Error::Io`] for links that lead nowhere.
#[cfg(any(feature = "text", feature = "validate"))]
fn target(path: &Path) -> Result<PathBuf> {
    let file = links(path).find(|path| !path.is_symlink());
    file.ok_or_else(|| Error::io(path)(io::Error::other("this link leads to itself")))
}

/// A path, and those that it leads to link by link, the last perhaps not there yet.
#[cfg(any(feature = "text", feature = "validate"))]
fn links(path: &Path) -> impl Iterator<Item = PathBuf> {
    let next = |path: &PathBuf| Some(path.parent()?.join(path.read_link().ok()?));
    std::iter::successors(Some(path.to_owned()), next).take(MOST_LINKS)
}

#[cfg(any(feature = "text", feature = "validate"))]
fn is_descriptor(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.is_some_and(|folder| folder.ends_with("fd") && ["/proc", "/dev"].iter().any(|root| folder.starts_with(root)))
}

/// What a path leads to, opened, where that is a stream.
#[cfg(any(feature = "text", feature = "validate"))]
fn stream(path: &Path) -> io::Result<Option<File>> {
    let found = path.metadata();
    #[cfg(unix)]
    if let Ok(found) = &found {
        use std::os::{fd::AsFd as _, unix::fs::MetadataExt as _};
        // Opened anew, a file that this process prints to would have a second place to write at, and one would write over the
        // other.
        for printed in [io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?] {
            let printed = File::from(printed);
            let own = printed.metadata()?;
            if (own.dev(), own.ino()) == (found.dev(), found.ino()) {
                return Ok(Some(printed));
            }
        }
    }
    match found {
        Ok(_) if is_stream(path) => OpenOptions::new().append(true).open(path).map(Some),
        _ => Ok(None),
    }
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
    let folder = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent).map_err(Error::io(path))?;
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

/// Removes what killed processes have left unfinished in a folder. Nobody else may be writing there.
///
/// # Errors
/// [`Error::Io`].
#[cfg(feature = "train")]
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if !is_unfinished(&path) {
            continue;
        }
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            // Its writer lives, and has finished it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(Error::io(&path))?,
        }
    }
    Ok(())
}

/// Whether a file or folder has a name as [`write_atomically`] and the others give those that are not complete yet, or as version 0.1.0
/// gave such models: by their step.
#[cfg(feature = "train")]
pub(crate) fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix(UNFINISHED).is_some_and(|rest| {
        let drawn = rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        drawn || rest.parse::<u64>().is_ok()
    })
}
