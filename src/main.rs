//! The `softalign` command.
fn main() {}
