//! Tests of what a whole process has, its memory above all, which no other test may change meanwhile: one after the other.
#![cfg(target_os = "linux")]

#[path = "../suite/common/mod.rs"]
mod common;

mod memory;
mod soak;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the test that has the process.
fn alone() -> MutexGuard<'static, ()> {
    static PROCESS: Mutex<()> = Mutex::new(());
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}
