//! Settings as the command line calls them.

use clap::{Arg, Command, CommandFactory as _};

use super::Cli;

/// A text of the library with the command line's names of options, such as --max-length, for fields in backticks.
pub fn named(text: &str) -> String {
    let command = Cli::command();
    let options = command.get_subcommands().chain([&command]).flat_map(Command::get_arguments);
    options.filter_map(Arg::get_long).fold(text.to_owned(), |text, option| {
        text.replace(&format!("`{}`", option.replace('-', "_")), &format!("--{option}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_becomes_its_option_and_nothing_else_does() {
        assert_eq!(named("`batch`: raise `max_length`, not `y`"), "--batch: raise --max-length, not `y`");
        assert_eq!(named("with `trace` or `check_finite`"), "with --trace or --check-finite");
    }
}
