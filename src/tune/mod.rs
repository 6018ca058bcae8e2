//! Measures which tiles are fast on an adapter: what `softalign tune` runs. Each candidate is proved against the CPU reference
//! before it is timed, and one that is wrong is never chosen. Features `train` and `validate`.

#[doc = include_str!("lost.md")]
pub mod lost {}

mod additive_attention;
mod dot_product_attention;
mod gru;
mod matmul;
mod measure;
mod problem;
mod training_step;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

pub use measure::MARGIN;
pub use training_step::Judgement;

use crate::{
    Error, Gpu, Result,
    gpu::{TileTable, tuner},
    graph,
    kernels::{TUNABLE, TunableKernel, unusable},
    validate::{self, Cases},
};
use problem::Problem;

/// Random cases of each of its kernel's checks that a candidate must pass.
const CASES: usize = 6;

/// A shape that stands for its class.
struct Subject {
    shape: &'static [usize],
    class: fn(&[usize]) -> &'static str,
    /// The tile that is chosen on an adapter.
    tile: fn(&Gpu, &[usize]) -> Value,
    build: fn(&mut Problem, &[usize]) -> Result<Vec<graph::Value>>,
}

fn subjects(kernel: &str) -> &'static [Subject] {
    match kernel {
        "additive_attention" => additive_attention::SUBJECTS,
        "dot_product_attention" => dot_product_attention::SUBJECTS,
        "gru" => gru::SUBJECTS,
        "matmul" => matmul::SUBJECTS,
        _ => &[],
    }
}

/// A subject's shape has as many extents as its kernel's `build` takes.
fn extents<const N: usize>(shape: &[usize]) -> [usize; N] {
    std::array::from_fn(|index| shape.get(index).copied().unwrap_or(1))
}

fn as_value(tile: impl Serialize) -> Value {
    serde_json::to_value(tile).unwrap_or_default()
}

/// A tile and the median of its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// The tile, in its kernel's words.
    pub tile: Value,
    /// Milliseconds for the class's shape: forward and backward where the kernel has both.
    pub ms: f64,
}

/// The result for a kernel and a class of shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The kernel.
    pub kernel: &'static str,
    /// The class of shapes.
    pub class: &'static str,
    /// The shape that stands for it.
    pub shape: &'static [usize],
    /// The default.
    pub default: Timed,
    /// The best: another than the default only if it wins by [`MARGIN`] and by more than their times spread, twice.
    pub best: Timed,
}

impl Row {
    /// Whether another tile than the default is the best.
    pub fn is_gain(&self) -> bool {
        self.best.tile != self.default.tile
    }

    /// Puts what was found into a table.
    pub fn enter(&self, table: &mut TileTable) {
        let better = self.is_gain().then(|| self.best.tile.clone());
        table.set(self.kernel, self.class, better);
    }
}

/// An event of tuning, for its display.
#[derive(Debug)]
pub enum Event<'a> {
    /// A measurement begins: `done` of `total` are over, and each tile that wins brings more.
    Begins {
        /// Done so far.
        done: u64,
        /// All of them.
        total: u64,
        /// The name of the measurement.
        what: String,
    },
    /// A candidate gave a wrong result, or the driver refused it: it is out.
    Refused(String),
    /// A class of shapes is decided, by its kernel alone.
    Found(&'a Row),
    /// A training step has been timed without and with a tile that was found.
    Judged(&'a Judgement),
}

/// The kernels that can be tuned.
pub fn kernels() -> Vec<&'static str> {
    TUNABLE.iter().map(|kernel| kernel.name).collect()
}

/// Measures the candidates of the kernels that `only` names (none: all), until `stop` says so (asked between any two
/// measurements), and then training steps with what has won. What is found is reported class by class.
///
/// # Errors
/// [`Error::DeviceLost`]; what else a candidate or a training step may come to is reported as [`Event::Refused`].
pub fn tune(gpu: &Gpu, only: &[String], stop: &dyn Fn() -> bool, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
    let mut others = gpu.tile_table().clone();
    let gpu = &gpu.with_tile_table(TileTable::default());
    let rounds: Vec<_> = TUNABLE
        .iter()
        .filter(|kernel| only.is_empty() || only.iter().any(|name| name == kernel.name))
        .map(|kernel| Round::new(gpu, kernel))
        .collect();
    let mut progress = Progress { done: 0, total: rounds.iter().map(Round::steps).sum() };
    let mut winners = Vec::new();
    for round in &rounds {
        let mut right = Vec::new();
        for tile in &round.tiles {
            if stop() {
                return Ok(());
            }
            progress.begin(format!("proving {} {}", round.kernel.name, describe(tile)), observe);
            match fatal(prove(gpu, round.kernel, tile))? {
                Ok(()) => right.push(tile),
                Err(why) => observe(Event::Refused(format!("{} {}: {why}", round.kernel.name, describe(tile)))),
            }
        }
        for subject in round.subjects {
            if stop() {
                return Ok(());
            }
            let class = (subject.class)(subject.shape);
            progress.begin(format!("timing {} {class}", round.kernel.name), observe);
            let mut refused = |why| observe(Event::Refused(why));
            // The default of another shape may be no candidate, and then no table can choose it.
            let default = (subject.tile)(gpu, subject.shape);
            let mut eligible = right.clone();
            eligible.retain(|tile| **tile == default || round.candidates.contains(tile));
            let found = measure::fastest(gpu, round.kernel.name, subject, &eligible, stop, &mut refused);
            match fatal(found)? {
                Ok(Some(row)) => {
                    observe(Event::Found(&row));
                    if row.is_gain() {
                        progress.total += training_step::ARCHITECTURES.len() as u64;
                        winners.push(row);
                    }
                }
                Ok(None) => {}
                Err(why) => observe(Event::Refused(format!("{} {class}: {why}", round.kernel.name))),
            }
        }
    }
    if winners.is_empty() || stop() {
        return Ok(());
    }
    for kernel in rounds.iter().map(|round| round.kernel) {
        kernel.classes.iter().for_each(|class| others.set(kernel.name, class, None));
    }
    training_step::judge(gpu, others, &winners, stop, &mut progress, observe)
}

struct Progress {
    done: u64,
    total: u64,
}

impl Progress {
    fn begin(&mut self, what: String, observe: &mut dyn FnMut(Event<'_>)) {
        observe(Event::Begins { done: self.done, total: self.total, what });
        self.done += 1;
    }
}

/// A kernel's part of the work.
struct Round {
    kernel: &'static TunableKernel,
    subjects: &'static [Subject],
    candidates: Vec<Value>,
    /// The defaults, then the other candidates.
    tiles: Vec<Value>,
}

impl Round {
    fn new(gpu: &Gpu, kernel: &'static TunableKernel) -> Self {
        let subjects = subjects(kernel.name);
        let defaults = subjects.iter().map(|subject| (subject.tile)(gpu, subject.shape));
        let candidates = (kernel.candidates)(gpu.tiles());
        let mut tiles: Vec<Value> = Vec::new();
        for tile in defaults.chain(candidates.iter().cloned()) {
            if !tiles.contains(&tile) {
                tiles.push(tile);
            }
        }
        Self { kernel, subjects, candidates, tiles }
    }

    fn steps(&self) -> u64 {
        (self.tiles.len() + self.subjects.len()) as u64
    }
}

/// A lost device ends the whole; anything else is the end of one candidate only, and is put in words.
fn fatal<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Err(lost @ Error::DeviceLost { .. }) => Err(lost),
        other => Ok(other.map_err(|error| error.to_string())),
    }
}

/// Runs a kernel's checks with one tile for every shape.
///
/// # Errors
/// [`Error::Data`] for a wrong result; the errors of the device.
pub fn prove(gpu: &Gpu, kernel: &TunableKernel, tile: &Value) -> Result<()> {
    let mut table = TileTable::default();
    for class in kernel.classes {
        table.set(kernel.name, class, Some(tile.clone()));
    }
    let gpu = gpu.with_tile_table(table);
    for check in validate::checks().iter().filter(|check| check.kernel.starts_with(kernel.name) && check.runs_on(&gpu))
    {
        let row = validate::run(&gpu, check, Cases::exactly(CASES), 1)?;
        if !row.passed {
            let message =
                format!("wrong by {:.1e}, where {:.1e} is tolerated: not chosen", row.worst_error, row.tolerance);
            return Err(Error::data(check.kernel, message));
        }
    }
    Ok(())
}

/// The fields in which a tile differs from `other`, in a few words.
pub fn difference(tile: &Value, other: &Value) -> String {
    let Some(fields) = tile.as_object() else { return tile.to_string() };
    describe(
        &fields
            .iter()
            .filter(|(name, value)| other.get(name) != Some(value))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}

/// A tile in a few words.
pub fn describe(tile: &Value) -> String {
    let Some(fields) = tile.as_object() else { return tile.to_string() };
    let word = |(name, value): (&String, &Value)| match value {
        Value::Bool(true) => name.clone(),
        Value::Bool(false) => format!("no {name}"),
        value => format!("{name} {value}"),
    };
    fields.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// The file that keeps the tiles for this adapter, driver and build, if the system has a place for a user's caches.
pub fn cache_file(gpu: &Gpu) -> Option<PathBuf> {
    tuner::folder().map(|folder| tuner::path(gpu, &folder))
}

/// The same device with the tiles that a file holds, if it exists. One that is damaged, or holds what this adapter, driver or
/// build does not have, is ignored with a warning.
pub fn load(gpu: &Gpu, path: &Path) -> Gpu {
    if !path.exists() {
        return gpu.clone();
    }
    let usable = tuner::read(gpu, path).and_then(|table| match unusable(gpu, &table) {
        Some(why) => Err(Error::data(path.display().to_string(), why)),
        None => Ok(table),
    });
    match usable {
        Ok(table) => {
            tracing::debug!("measured tiles: {}", path.display());
            gpu.with_tile_table(table)
        }
        Err(error) => {
            tracing::warn!("{error}; the file is ignored. `softalign tune` writes it anew");
            gpu.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_measured_once() {
        for kernel in TUNABLE {
            let mut measured: Vec<_> = subjects(kernel.name).iter().map(|of| (of.class)(of.shape)).collect();
            let mut classes = kernel.classes.to_vec();
            measured.sort_unstable();
            classes.sort_unstable();
            assert_eq!(measured, classes, "{}", kernel.name);
        }
    }
}
