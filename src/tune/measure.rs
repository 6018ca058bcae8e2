//! Times tiles against each other, so that neither noise nor order chooses.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Problem, Row, Subject, Timed, describe};
use crate::{
    Error, Gpu, Result,
    gpu::TileTable,
    graph::Pool,
    validate::{relative_error, widen},
};

/// The share by which another tile must be faster than the default.
pub const MARGIN: f64 = 0.03;

/// The largest error against the default's results, which were proved on other shapes. Sums here are up to some thousand terms
/// long, and two tiles may add them in another order.
const TOLERANCE: f64 = 1e-4;

/// A measurement repeats what takes less time than this: a submit has a cost of its own.
const SHORTEST: Duration = Duration::from_millis(4);

/// Measurements of each tile, at least and at most.
const ROUNDS: [usize; 2] = [5, 15];

/// After the least number of measurements, more only while all tiles together took less time than this.
const ENOUGH: Duration = Duration::from_secs(2);

/// The time for which the default runs before anything is timed: a GPU that has idled takes a while to raise its clock.
const WARM_UP: Duration = Duration::from_millis(100);

/// A tile this much slower than the best after three measurements is out.
const HOPELESS: f64 = 1.3;

/// Submits a work once more.
pub(super) type Submit<'a> = Box<dyn FnMut() -> Result<wgpu::SubmissionIndex> + 'a>;

struct Runner<'a> {
    tile: Value,
    submit: Submit<'a>,
    times: Vec<f64>,
}

impl Runner<'_> {
    fn median(&self) -> f64 {
        self.quartile(2)
    }

    /// Number 1 to 3 of the times' quartiles.
    fn quartile(&self, number: usize) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() * number / 4).copied().unwrap_or(f64::INFINITY)
    }

    /// Whether it is faster than another by more than the times of either spread.
    fn leads(&self, other: &Self) -> bool {
        self.quartile(3) < other.quartile(1)
    }

    /// Whether it is faster by [`MARGIN`] as well.
    fn beats(&self, other: &Self) -> bool {
        self.median() < other.median() * (1.0 - MARGIN) && self.leads(other)
    }
}

/// The fastest tile for a class of shapes; `None` if stopped.
///
/// # Errors
/// The errors of the device for the default; other tiles that fail are given to `refused` and left out.
pub(super) fn fastest(
    gpu: &Gpu,
    kernel: &'static str,
    subject: &Subject,
    tiles: &[&Value],
    stop: &dyn Fn() -> bool,
    refused: &mut dyn FnMut(String),
) -> Result<Option<Row>> {
    let class = (subject.class)(subject.shape);
    let problem = Problem::new(|problem| (subject.build)(problem, subject.shape))?;
    let default = (subject.tile)(gpu, subject.shape);
    if !tiles.contains(&&default) {
        return Err(Error::data(kernel, "the default tile is wrong on this driver; see `softalign validate`"));
    }
    let pool = Pool::default();
    let compile = |tile: &Value| -> Result<(Runner<'_>, Vec<Vec<f32>>)> {
        let mut table = TileTable::default();
        table.set(kernel, class, Some(tile.clone()));
        let program = problem.compile(&gpu.with_tile_table(table), &pool)?;
        let results = problem.results(&program)?;
        let submit = Box::new(move || program.recording().submit(0));
        Ok((Runner { tile: tile.clone(), submit, times: Vec::new() }, results))
    };
    let (first, results) = compile(&default)?;
    let wanted: Vec<_> = results.iter().map(|values| widen(values)).collect();
    let mut runners = vec![first];
    for tile in tiles.iter().filter(|tile| ***tile != default) {
        if stop() {
            return Ok(None);
        }
        let judged = compile(tile).and_then(|(runner, results)| {
            let errors = results.iter().zip(&wanted).map(|(values, wanted)| relative_error(values, wanted, 0.0));
            match errors.fold(0.0, f64::max) {
                error if error <= TOLERANCE => Ok(runner),
                error => Err(Error::data(kernel, format!("wrong by {error:.1e}: not chosen"))),
            }
        });
        match judged {
            Ok(runner) => runners.push(runner),
            Err(lost @ Error::DeviceLost { .. }) => return Err(lost),
            Err(error) => refused(format!("{kernel} {class}, {}: {error}", describe(tile))),
        }
    }
    let repeats = repeats(gpu, &mut runners[0])?;
    if !race(gpu, &mut runners, repeats, stop)? {
        return Ok(None);
    }
    for runner in &runners {
        tracing::debug!("{kernel} {class}, {}: {:.3} ms", describe(&runner.tile), runner.median());
    }
    // The winner of many is partly a winner by luck: it must win again, against the default alone.
    let winners = (1..runners.len()).filter(|runner| runners[*runner].beats(&runners[0]));
    let winner = winners
        .min_by(|a, b| runners[*a].median().total_cmp(&runners[*b].median()))
        .map(|winner| runners.swap_remove(winner));
    runners.truncate(1);
    if let Some(winner) = winner {
        runners.push(winner);
        runners.iter_mut().for_each(|runner| runner.times.clear());
        if !race(gpu, &mut runners, repeats, stop)? {
            return Ok(None);
        }
    }
    let timed = |runner: &Runner| Timed { tile: runner.tile.clone(), ms: runner.median() };
    let default = timed(&runners[0]);
    let best = runners.get(1).filter(|best| best.beats(&runners[0])).map(timed).unwrap_or(default.clone());
    Ok(Some(Row { kernel, class, shape: subject.shape, default, best }))
}

/// Two works, each timed in turn with the other.
pub(super) struct Turns {
    /// The medians of their milliseconds.
    pub ms: [f64; 2],
    /// Whether the first is faster by more than the times of either spread.
    pub first_leads: bool,
}

/// Times two works in turns; `None` if stopped.
///
/// # Errors
/// The errors of the device.
pub(super) fn in_turns(gpu: &Gpu, works: [Submit<'_>; 2], stop: &dyn Fn() -> bool) -> Result<Option<Turns>> {
    let mut runners = works.map(|submit| Runner { tile: Value::Null, submit, times: Vec::new() });
    let repeats = repeats(gpu, &mut runners[0])?;
    let finished = race(gpu, &mut runners, repeats, stop)?;
    let first_leads = runners[0].leads(&runners[1]);
    Ok(finished.then(|| Turns { ms: runners.map(|runner| runner.median()), first_leads }))
}

/// Runs for as long as a clock takes to rise, and says how often a measurement repeats what it times.
fn repeats(gpu: &Gpu, runner: &mut Runner<'_>) -> Result<usize> {
    let start = Instant::now();
    let mut once = f64::INFINITY;
    while start.elapsed() < WARM_UP {
        once = once.min(time(gpu, runner, 1)?);
    }
    Ok((SHORTEST.as_secs_f64() * 1e3 / once).ceil().clamp(1.0, 200.0) as usize)
}

/// Times every runner in turns, there and back; false if stopped.
fn race(gpu: &Gpu, runners: &mut [Runner<'_>], repeats: usize, stop: &dyn Fn() -> bool) -> Result<bool> {
    let start = Instant::now();
    for round in 0..ROUNDS[1] {
        if round >= ROUNDS[0] && start.elapsed() > ENOUGH {
            break;
        }
        let best = runners.iter().map(Runner::median).fold(f64::INFINITY, f64::min);
        for turn in 0..runners.len() {
            if stop() {
                return Ok(false);
            }
            let index = if round % 2 == 0 { turn } else { runners.len() - 1 - turn };
            let runner = &mut runners[index];
            if round < 3 || index == 0 || runner.median() < best * HOPELESS {
                let ms = time(gpu, runner, repeats)?;
                runner.times.push(ms);
            }
        }
    }
    Ok(true)
}

/// Milliseconds of one of `repeats` runs.
fn time(gpu: &Gpu, runner: &mut Runner<'_>, repeats: usize) -> Result<f64> {
    let start = Instant::now();
    let mut last = None;
    for _ in 0..repeats {
        last = Some((runner.submit)()?);
    }
    gpu.wait(last)?;
    Ok(start.elapsed().as_secs_f64() * 1e3 / repeats as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        GpuOptions,
        gpu::Recorder,
        graph::{Context, Operation},
        kernels::{copy::Copy, matmul::Matrix},
    };

    /// Copies its input as often as its tile says; 0 leaves the output wrong.
    #[derive(Debug)]
    struct Repeated;

    const ROWS: usize = 64;
    const COLUMNS: usize = 4096;

    impl Operation for Repeated {
        fn name(&self) -> &'static str {
            "repeated"
        }

        fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
            let times = recorder.gpu().tile_table().get("repeated", "any").and_then(Value::as_u64).unwrap_or(10);
            let copy = Copy { rows: ROWS, columns: COLUMNS, batch: 1 };
            let (from, to) = (Matrix::rows(&context.inputs[0]), Matrix::rows(&context.outputs[0]));
            (0..times).try_for_each(|_| copy.record(recorder, from, None, to))
        }
    }

    fn found(others: &[u64], stop: &dyn Fn() -> bool) -> (Option<Row>, Vec<String>) {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let subject = Subject {
            shape: &[],
            class: |_| "any",
            tile: |_, _| json!(10),
            build: |problem, _| {
                let input = problem.values([ROWS, COLUMNS], 1.0);
                Ok(vec![problem.graph.push_one(Repeated, &[input], [ROWS, COLUMNS])])
            },
        };
        let tiles: Vec<_> = [10].iter().chain(others).map(|times| json!(times)).collect();
        let mut refused = Vec::new();
        let tiles: Vec<_> = tiles.iter().collect();
        let row = fastest(&gpu, "repeated", &subject, &tiles, stop, &mut |why| refused.push(why)).unwrap();
        (row, refused)
    }

    #[test]
    fn the_fastest_is_found_and_what_is_wrong_is_not_chosen() {
        let (row, refused) = found(&[0, 20, 2], &|| false);
        let row = row.unwrap();
        assert_eq!((row.default.tile, row.best.tile), (json!(10), json!(2)));
        assert!(row.best.ms < row.default.ms / 2.0, "{} {}", row.best.ms, row.default.ms);
        assert_eq!(refused.len(), 1);
        assert!(refused[0].starts_with("repeated any, 0: repeated: wrong by"), "{refused:?}");
    }

    #[test]
    fn the_first_leads_what_takes_far_longer() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let gpu = &gpu;
        let pauses = |ms| -> Submit<'_> {
            Box::new(move || {
                std::thread::sleep(Duration::from_millis(ms));
                Ok(gpu.queue().submit(None))
            })
        };
        for (works, leads) in [([1, 40], true), ([40, 1], false)] {
            let turns = in_turns(gpu, works.map(pauses), &|| false).unwrap().unwrap();
            assert_eq!((turns.first_leads, turns.ms[0] < turns.ms[1]), (leads, leads), "{works:?}");
        }
    }

    #[test]
    fn what_is_slower_leaves_the_default() {
        let (row, refused) = found(&[40], &|| false);
        let row = row.unwrap();
        assert_eq!((&row.best, refused), (&row.default, Vec::new()));
        let mut table = TileTable::default();
        table.set("repeated", "any", Some(json!(3)));
        row.enter(&mut table);
        assert!(table.is_empty());
        assert_eq!(found(&[40], &|| true).0, None, "stopped");
    }
}
