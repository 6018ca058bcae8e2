//! Errors as codes, with a text.

use std::{
    cell::RefCell,
    ffi::{CString, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
};

use softalign::{Error, Result};

/// What a call has come to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what it says.
    Ok = 0,
    /// An argument, a shape, or data that cannot be used.
    Invalid = 1,
    /// A file that could not be read.
    Io = 2,
    /// No adapter could be used.
    NoAdapter = 3,
    /// The device or the system has no memory left, or a limit that is too low.
    Memory = 4,
    /// The driver failed, or the device is gone.
    Device = 5,
    /// A fault of softalign's own. What the call was given should be freed and not be used again.
    Internal = 6,
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

impl From<&Error> for Status {
    fn from(error: &Error) -> Self {
        match error {
            Error::Shape { .. } | Error::Data { .. } => Self::Invalid,
            Error::Io { .. } => Self::Io,
            Error::NoAdapter { .. } => Self::NoAdapter,
            Error::OutOfMemory { .. } | Error::Limit { .. } => Self::Memory,
            _ => Self::Device,
        }
    }
}

/// Does what a function says, and keeps the text of its error.
pub fn call(does: impl FnOnce() -> Result<()>) -> Status {
    // A panic must not unwind into C.
    let (status, text) = match catch_unwind(AssertUnwindSafe(does)) {
        Ok(Ok(())) => (Status::Ok, String::new()),
        Ok(Err(error)) => (Status::from(&error), error.to_string()),
        Err(_) => (Status::Internal, "a fault of softalign's own; its message is on the standard error".to_owned()),
    };
    // A text of C ends at its first zero.
    LAST.set(CString::new(text.replace('\0', " ")).unwrap_or_default());
    status
}

/// Does what a function says that frees and cannot fail.
pub fn free(does: impl FnOnce()) {
    // The hook for panics has told of one: a caller could do nothing about it.
    let _ = catch_unwind(AssertUnwindSafe(does));
}

/// The text of this thread's last error; empty where its last call was none. It is valid until the thread's next call.
#[unsafe(no_mangle)]
pub extern "C" fn softalign_error() -> *const c_char {
    LAST.with_borrow(|text| text.as_ptr())
}
