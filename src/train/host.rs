//! The name of this machine.

/// The name of this machine; a browser does not tell.
pub(super) fn host() -> String {
    #[cfg(any(unix, windows))]
    return gethostname::gethostname().to_string_lossy().into_owned();
    #[cfg(not(any(unix, windows)))]
    return "localhost".to_owned();
}
