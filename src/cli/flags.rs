//! Options as the command line calls them, and why two of them cannot stand side by side.

use clap::{
    Arg, Command, CommandFactory as _,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;

/// A setting of the library, such as `max_length`, as the option that it is here, such as --max-length.
pub fn option(field: &str) -> String {
    let command = Cli::command();
    let mut options = command.get_subcommands().chain([&command]).flat_map(Command::get_arguments);
    match options.find_map(|argument| argument.get_long().filter(|long| long.replace('-', "_") == field)) {
        Some(long) => format!("--{long}"),
        None => format!("`{field}`"),
    }
}

/// An error about options that exclude one another, with the reason: the help of the one that says so.
pub fn explained(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::ArgumentConflict {
        return error;
    }
    let named: Vec<String> = [ContextKind::InvalidArg, ContextKind::PriorArg]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .flat_map(|value| match value {
            ContextValue::String(name) => vec![name.clone()],
            ContextValue::Strings(names) => names.clone(),
            _ => Vec::new(),
        })
        .collect();
    let mut command = Cli::command();
    // Only then do arguments have the names that errors call them by.
    command.build();
    let mut reasons: Vec<String> = Vec::new();
    for command in command.get_subcommands().chain([&command]) {
        let is_named = |argument: &&Arg| named.contains(&argument.to_string());
        for argument in command.get_arguments().filter(is_named) {
            let reason = argument.get_help().map(|help| format!("{argument}: {help}"));
            let excludes = command.get_arg_conflicts_with(argument).iter().any(is_named);
            // Several commands may have the two.
            reasons.extend(reason.filter(|reason| excludes && !reasons.contains(reason)));
        }
    }
    let reasons = reasons.into_iter().map(StyledStr::from).collect();
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(reasons));
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_field_becomes_its_option_and_nothing_else_does() {
        assert_eq!(["batch", "max_length", "trace", "y"].map(option), ["--batch", "--max-length", "--trace", "`y`"]);
    }

    #[test]
    fn texts_from_elsewhere_exclude_every_option_of_a_search() {
        let command = Cli::command();
        let evaluate = command.find_subcommand("evaluate").unwrap();
        let argument = |id: &str| evaluate.get_arguments().find(|argument| argument.get_id() == id).unwrap();
        let excluded = evaluate.get_arg_conflicts_with(argument("hypotheses"));
        let search = evaluate.get_groups().find(|group| group.get_id() == "Search").unwrap().get_args();
        for id in search {
            assert!(excluded.iter().any(|argument| argument.get_id() == id), "--hypotheses ignores {id}");
        }
    }

    #[test]
    fn options_that_exclude_one_another_say_why() {
        for (line, why) in [
            ("evaluate model pairs --hypotheses texts --beam 5", "No model writes any"),
            ("train numbers --preset g2p", "A recipe"),
            ("validate --golden cases --seed 5", "Instead compare"),
        ] {
            let words = ["softalign"].into_iter().chain(line.split(' '));
            let said = explained(Cli::try_parse_from(words).err().unwrap()).to_string();
            assert!(said.contains("cannot be used with") && said.contains(why), "{said}");
        }
    }
}
