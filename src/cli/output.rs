//! Writing to standard output (results) and standard error (everything else) without ever panicking.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use indicatif::MultiProgress;
use softalign::{Error, Result, text::escaped};

/// Every bar on the screen, so that other output can step aside for them.
pub static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Whether another process says what there is to say.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Leaves results and notes to another process, which has the same.
#[cfg(feature = "mpi")]
pub fn be_silent(silent: bool) {
    SILENT.store(silent, Ordering::Relaxed);
}

/// Prints a line, or several, of results on standard output.
///
/// # Errors
/// [`Error::Io`], of kind `BrokenPipe` where the reader is gone: the caller stops, and that is no failure.
pub fn print(text: &str) -> Result<()> {
    print_bytes(text.as_bytes())
}

/// Prints a path as it is, whatever its bytes: others go on with it.
///
/// # Errors
/// As [`print`].
pub fn print_path(path: &Path) -> Result<()> {
    print_bytes(path.as_os_str().as_encoded_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<()> {
    if SILENT.load(Ordering::Relaxed) {
        return Ok(());
    }
    BARS.suspend(|| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    })
    .map_err(Error::io("standard output"))
}

/// A message, of one line or several, with characters that one cannot see written as escapes.
pub fn shown(message: &str) -> String {
    message.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// Prints a line on standard error, above a progress bar if there is one. If nobody can see it, so be it.
pub fn note(text: &str) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    let _ = Stderr.write_all(format!("{}\n", shown(text)).as_bytes());
}

/// Standard error, for writers of whole lines that do not know about the progress bar.
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
