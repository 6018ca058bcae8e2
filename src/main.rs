//! The `softalign` command: reads its arguments, runs one subcommand, turns the outcome into an exit code.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
