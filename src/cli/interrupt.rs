//! Ctrl-C: asks a long task to stop where it can save what it has; asked twice, it ends the process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A flag that Ctrl-C sets.
pub fn flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let set = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            // A second Ctrl-C ends at once: all work since the last save is lost.
            std::process::exit(130);
        }
    });
    if let Err(error) = set {
        tracing::warn!("Ctrl-C will not save anything: {error}");
    }
    stop
}
