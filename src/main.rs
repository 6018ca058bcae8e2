//! The `softalign` command: reads its arguments, runs one subcommand, turns the outcome into an exit code.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
