//! The command line: what every subcommand shares, and one file per subcommand.
//!
//! A subcommand is a file with `pub struct Args` (`clap::Args`) and `pub fn run(Args, &Global) -> Result<ExitCode>`; it is
//! added by a `mod` line, a variant of [`Command`] and an arm of [`Command::run`].
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod accuracy;
mod bench;
mod devices;
mod embed;
mod evaluate;
mod export;
mod flags;
mod generate;
mod golden;
mod grid;
mod groups;
mod headless;
mod import;
mod interrupt;
mod log;
mod output;
mod progress;
#[cfg(feature = "mpi")]
mod ranks;
mod report;
mod score;
mod search;
mod shaders;
mod table;
mod train;
mod tune;
mod validate;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use softalign::gpu::{AdapterClass, adapter, llvmpipe};
use softalign::ranks::{Ranks, Told, agree};
use softalign::train::RankOptions;
use softalign::{Error, Gpu, GpuOptions, Result, files, tune as tuned};

/// Exit code for a wrong command line (clap's own choice too) and for a machine without a usable adapter.
const EXIT_UNUSABLE: u8 = 2;

/// Attention sequence-to-sequence models, trained and run on any Vulkan, Metal or DX12 GPU.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Adapter to use: its index in `softalign devices` or part of its name [default: SOFTALIGN_ADAPTER, else the best].
    #[arg(long, global = true, value_name = "INDEX|NAME")]
    pub adapter: Option<String>,
    /// Keep every bounds, loop and initialisation check in the shaders (slower).
    #[arg(long, global = true)]
    pub checked: bool,
    /// Submit and wait for one kernel at a time, so that a fault names its kernel (much slower).
    #[arg(long, global = true)]
    pub trace: bool,
    /// Stop at the first kernel that writes an infinite or NaN value, and name the kernel and the place (as slow as --trace).
    #[arg(long, global = true)]
    pub check_finite: bool,
    /// Use the default tiles, not those that `softalign tune` found on this adapter.
    #[arg(long, global = true)]
    pub untuned: bool,
    /// Run the kernels in the forms and tiles of another class of adapter: those of a GPU on a CPU driver, to check or count them.
    #[arg(long, global = true, value_name = "CLASS", value_parser = class())]
    pub tiles: Option<AdapterClass>,
    /// Do without what wgpu calls experimental: the cooperative matrices of a GPU, which multiply in f16, Apple's in
    /// f32 too.
    #[arg(long, global = true)]
    pub no_experimental: bool,
    /// Print results, warnings and errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more on standard error; twice: the log of the GPU layers too.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The ranks that this process is one of, if several were started together.
    #[arg(skip)]
    pub ranks: Option<Arc<dyn Ranks>>,
}

impl Global {
    /// Whether this process is the one that writes results.
    pub fn writes(&self) -> bool {
        self.ranks.as_ref().is_none_or(|ranks| ranks.rank() == 0)
    }

    /// The ranks that train together, if this process is one of several; with `shard` they share the optimiser's state.
    ///
    /// # Errors
    /// [`Error::Data`] if there is nobody to share it with.
    pub fn rank_options(&self, shard: bool) -> Result<Option<RankOptions>> {
        if shard && self.ranks.is_none() {
            let message = "needs several ranks, each of which keeps a part of the optimiser's state; start them by `mpirun -n N`, with \
                 a build that has the feature `mpi`, or leave it out";
            return Err(Error::data("--shard", message));
        }
        Ok(self.ranks.clone().map(|ranks| RankOptions { ranks, shard }))
    }
}

fn class() -> impl TypedValueParser<Value = AdapterClass> {
    PossibleValuesParser::new(AdapterClass::ALL.map(AdapterClass::name))
        .try_map(|name| AdapterClass::ALL.into_iter().find(|class| class.name() == name).ok_or("no class"))
}

#[derive(clap::Subcommand)]
enum Command {
    /// Train a model on a built-in task or on files of sentence pairs.
    Train(Box<train::Args>),
    /// Write text with a trained model.
    Generate(Box<generate::Args>),
    /// Score a trained model on a file.
    Evaluate(evaluate::Args),
    /// Print the log-probability of each given target under a trained model.
    Score(score::Args),
    /// Print the embedding of each text, by a model that is an encoder alone: a line of numbers each.
    Embed(embed::Args),
    /// Make a model folder of a Hugging Face folder, or of a state_dict of PyTorch's.
    Import(import::Args),
    /// Make a Hugging Face folder, or a state_dict of PyTorch's, of a model folder.
    Export(export::Args),
    /// Write a page about a run: settings, curves, examples with their alignments, errors.
    Report(report::Args),
    /// List the adapters of this machine with their limits and features.
    Devices,
    /// Compare every kernel, forward and backward, with the CPU reference on random shapes.
    Validate(validate::Args),
    /// Measure every kernel, the model's training and its generation, and set them against what the adapter can do.
    Bench(bench::Args),
    /// Measure which tiles are fast on this adapter, and keep them for the commands that follow.
    Tune(tune::Args),
    /// Write every specialisation of every shader as plain WGSL or translated.
    Shaders(shaders::Args),
}

impl Command {
    /// Whether processes that are started together do it together.
    #[cfg(feature = "mpi")]
    fn is_shared(&self) -> bool {
        match self {
            Self::Bench(args) => args.as_rank,
            other => matches!(other, Self::Train(_) | Self::Generate(_) | Self::Evaluate(_)),
        }
    }

    fn run(self, global: &Global) -> Result<ExitCode> {
        match self {
            Self::Train(args) => train::run(*args, global),
            Self::Generate(args) => generate::run(*args, global),
            Self::Evaluate(args) => evaluate::run(args, global),
            Self::Score(args) => score::run(&args, global),
            Self::Embed(args) => embed::run(args, global),
            Self::Import(args) => import::run(&args, global),
            Self::Export(args) => export::run(&args, global),
            Self::Report(args) => report::run(&args, global),
            Self::Devices => devices::run(global),
            Self::Validate(args) => validate::run(args, global),
            Self::Bench(args) => bench::run(args, global),
            Self::Tune(args) => tune::run(&args, global),
            Self::Shaders(args) => shaders::run(&args, global),
        }
    }
}

/// Runs the command that the arguments ask for.
pub fn main() -> ExitCode {
    headless::quieten_device_selection();
    softalign::name_settings(flags::option);
    let Cli { global, command } = Cli::try_parse().unwrap_or_else(|error| flags::explained(error).exit());
    #[cfg(feature = "mpi")]
    if command.is_shared() {
        return ranks::run(command, global);
    }
    log::start(&global);
    command.run(&global).unwrap_or_else(failed)
}

/// Says what went wrong, and gives the exit code for it.
fn failed(error: Error) -> ExitCode {
    match error {
        // The reader of the output has closed it: no failure.
        Error::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        error => {
            output::note(&format!("error: {error}"));
            match error {
                Error::NoAdapter { .. } => ExitCode::from(EXIT_UNUSABLE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Opens the adapter that the options name, with the tiles that `softalign tune` found on it, and names it on standard error.
///
/// # Errors
/// [`Error::NoAdapter`] if none matches, [`Error::Gpu`] if the driver refuses a device.
pub fn open(global: &Global) -> Result<Gpu> {
    let environment = GpuOptions::from_env();
    let gpu = Gpu::open(&GpuOptions {
        adapter: global.adapter.clone().or(environment.adapter).or_else(|| adapter_of(global.ranks.as_deref()?)),
        checked: global.checked || environment.checked,
        portable: environment.portable,
        tiles: global.tiles,
        trace: global.trace,
        check_finite: global.check_finite,
        experimental: !global.no_experimental,
    })?;
    if !global.quiet {
        let ranks = global.ranks.as_ref().map_or_else(String::new, |ranks| format!(", rank 0 of {}", ranks.size()));
        output::note(&format!("adapter: {}{ranks}", adapter::describe(gpu.info())));
        if gpu.class() == AdapterClass::Cpu {
            output::note(
                "         This adapter runs the shaders on the CPU: results are right, but slow to come, and the first ones wait \
                 for kernels to be compiled (a minute or more, unless they are cached).",
            );
        }
        if let Some(advice) = llvmpipe::advice(gpu.info()) {
            output::note(&format!("         A newer driver would help: {advice}."));
        }
    }
    let found = if global.untuned || global.tiles.is_some() { None } else { tuned::cache_file(&gpu) };
    Ok(found.map_or(gpu.clone(), |path| tuned::load(&gpu, &path)))
}

/// Makes sure that all ranks have the same command, and the same files.
///
/// # Errors
/// [`Error::Rank`] if one of them has not.
pub fn agree_on(global: &Global, read: &[PathBuf]) -> Result<()> {
    agree(global.ranks.as_deref(), || {
        let command: Vec<_> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        let mut told: Told = vec![
            ("the version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("the command".to_owned(), command.join(" ")),
        ];
        for path in read.iter().filter(|path| !files::is_stream(path)) {
            let sum = crc32c::crc32c(&files::read(path)?);
            told.push((format!("the content of {}", path.display()), format!("{sum:08x}")));
        }
        Ok(told)
    })
}

/// The index of a rank's adapter: the ranks of a machine take its best adapters by turns, as long as they are of one kind.
fn adapter_of(ranks: &dyn Ranks) -> Option<String> {
    let adapters: Vec<_> = adapter::list().iter().map(softalign::wgpu::Adapter::get_info).collect();
    let kind = |info: &softalign::wgpu::AdapterInfo| (AdapterClass::of(info), info.backend, info.name.clone());
    let best = kind(adapters.first()?);
    let alike = adapters.iter().take_while(|info| kind(info) == best).count();
    Some((ranks.local_rank() % alike.max(1)).to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use proptest::prelude::*;

    use super::*;

    /// Words of the command line, right and wrong.
    fn words() -> Vec<String> {
        let command = Cli::command();
        let commands: Vec<_> = command.get_subcommands().chain([&command]).collect();
        let options = commands.iter().flat_map(|command| command.get_arguments()).filter_map(clap::Arg::get_long);
        let mut words: Vec<String> = options.map(|long| format!("--{long}")).collect();
        words.extend(commands.iter().map(|command| command.get_name().to_owned()));
        let values =
            ["", "-", "--", "-q", "-vv", "0", "1", "16", "-1", "4294967296", "18446744073709551615", "nan", "1e40"];
        words.extend(values.map(str::to_owned));
        words.extend(
            ["numbers", "dates", "bpe:9", "linear", "plateau:3", "x.tsv", "\u{0}", "=", "--beam=", "é"]
                .map(str::to_owned),
        );
        words
    }

    #[test]
    fn the_arguments_make_sense_together() {
        Cli::command().debug_assert();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_command_line_is_understood_or_refused_with_code_2(
            command in 0..13_usize,
            rest in prop::collection::vec(prop_oneof![9 => prop::sample::select(words()), 1 => any::<String>()], 0..8),
        ) {
            let all = Cli::command();
            let command = all.get_subcommands().nth(command).map_or("", clap::Command::get_name);
            let line = ["softalign", command].map(str::to_owned).into_iter().chain(rest);
            match Cli::try_parse_from(line) {
                Ok(Cli { command: Command::Train(args), .. }) => {
                    if let Err(error) = args.check() {
                        prop_assert!(matches!(error, Error::Data { .. }), "{}", error);
                    }
                }
                Ok(_) => {}
                // Help and the version are no mistakes.
                Err(error) => prop_assert_eq!(error.exit_code(), if error.use_stderr() { 2 } else { 0 }),
            }
        }
    }
}
