//! Tests of what a whole process has, its memory above all, which no other test may change meanwhile: one after the other.
#![cfg(target_os = "linux")]

#[path = "../suite/common/mod.rs"]
mod common;

mod memory;
mod soak;
