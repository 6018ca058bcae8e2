//! `softalign report`: a page about a run, once or for as long as it goes on.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

use softalign::{
    Error, Gpu, Result,
    generate::Scoring,
    model::WEIGHTS,
    report::{Examined, Report},
    text::{Pair, read_text, spread},
    train::{PAGE, TrainOptions},
};

use super::{
    Global, interrupt, open, output,
    search::{Search, read_pairs},
};

/// Sources examined again whenever a run that is watched has a better model: few, so as not to slow it down.
const WATCHED: usize = 64;
/// Corpora drawn for the intervals of scores.
const RESAMPLES: usize = 1_000;
/// Seconds between looks at a run's files.
const EVERY: u64 = 5;
/// The longest time that Ctrl-C waits.
const NAP: Duration = Duration::from_millis(200);

/// Arguments of `report`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of a run or a model, as `softalign train` writes it.
    folder: PathBuf,
    /// Pairs to examine the model on: a line each, source<TAB>target [default: the run's validation pairs].
    file: Option<PathBuf>,
    /// File for the page [default: report.html in the folder].
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Examine few of the pairs, and write the page again whenever the run has something new, until Ctrl-C. The page reloads
    /// itself.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    search: Search,
}

/// Runs `report`.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let out = args.out.clone().unwrap_or_else(|| args.folder.join(PAGE));
    // Found out before an adapter is opened: a folder that is none, and data that cannot be read.
    let report = Report::of_folder(&args.folder)?;
    let data = data(args)?;
    if args.watch {
        return watch(args, global, data.as_ref(), &out);
    }
    let examined = match &data {
        Some(data) if args.folder.join(WEIGHTS).exists() => Some(data.examine(&open(global)?, args)?),
        Some(_) => {
            tracing::warn!("the folder holds no model yet: the page has no examples and no errors");
            None
        }
        None => None,
    };
    report.with(examined).write(&out)?;
    output::print_path(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn watch(args: &Args, global: &Global, data: Option<&Data>, out: &Path) -> Result<ExitCode> {
    let stop = interrupt::flag();
    let mut gpu = None;
    let (mut seen, mut model, mut examined) = (None, None, None);
    loop {
        // Before they are read: what comes meanwhile is for the next time.
        let now = [WEIGHTS, "metrics.jsonl", "run.json"].map(|name| state(&args.folder.join(name)));
        if let Some(data) = data.filter(|_| now[0].is_some() && model != now[0]) {
            let device = match &gpu {
                Some(gpu) => gpu,
                None => gpu.insert(open(global)?),
            };
            match data.examine(device, args) {
                Ok(found) => (examined, model) = (Some(found), now[0]),
                // Perhaps its files are just being replaced.
                Err(error) => tracing::warn!("{error}"),
            }
        }
        if seen != Some(now) {
            Report::of_folder(&args.folder)?.with(examined.clone()).reloading(EVERY).write(out)?;
            if seen.replace(now).is_none() {
                output::print_path(out)?;
            }
        }
        if nap(&stop) {
            // The last page does not reload itself.
            Report::of_folder(&args.folder)?.with(examined).write(out)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Waits for [`EVERY`] seconds, or until Ctrl-C.
fn nap(stop: &AtomicBool) -> bool {
    let naps = u128::from(EVERY) * 1000 / NAP.as_millis();
    (0..naps).any(|_| {
        std::thread::sleep(NAP);
        stop.load(Ordering::Relaxed)
    })
}

/// The time and size of a file, which change when it is replaced or grows; none if there is no file.
fn state(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The pairs that the model answers.
struct Data {
    name: String,
    pairs: Vec<Pair>,
    /// Distinct sources there are; `pairs` may have fewer.
    sources: usize,
}

impl Data {
    fn examine(&self, gpu: &Gpu, args: &Args) -> Result<Examined> {
        let search = args.search.options();
        let (model, mut generator) = args.search.load(gpu, &args.folder, &search)?;
        let scoring = Scoring {
            name: self.name.clone(),
            // A page is about sources, and shows each once.
            group_references: true,
            resamples: if args.watch { 0 } else { RESAMPLES },
            ..Scoring::default()
        };
        let data = (self.name.clone(), self.pairs.as_slice(), self.sources);
        Examined::new(&mut generator, &model, data, &search, &scoring)
    }
}

/// The pairs that were named, or the run's validation pairs; none if these are gone.
fn data(args: &Args) -> Result<Option<Data>> {
    let (name, pairs) = match &args.file {
        Some(file) => (file.display().to_string(), read_pairs(&args.folder, file)?),
        None => match pairs_of_run(&args.folder) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(
                    "{error}\nThe page has no examples and no errors; a FILE of pairs after the folder gives them."
                );
                return Ok(None);
            }
        },
    };
    let sources = pairs.iter().map(|pair| &pair.source).collect::<HashSet<_>>().len();
    let pairs = if args.watch { spread(pairs, WATCHED) } else { pairs };
    Ok(Some(Data { name, pairs, sources }))
}

fn pairs_of_run(folder: &Path) -> Result<(String, Vec<Pair>)> {
    let path = folder.join("run.json");
    let options: TrainOptions = serde_json::from_str(&read_text(&path)?)
        .map_err(|error| Error::data(path.display().to_string(), format!("cannot be read: {error}")))?;
    Ok((options.valid_name(), options.pairs()?.1))
}
