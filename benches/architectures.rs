//! How long each architecture that answers sources takes to learn a built-in task, as one table in Markdown:
//!
//!     cargo bench --bench architectures -- numbers dates
//!
//! A run is validated every 15,000 pairs. It ends when that finds 99 % of the answers to unseen sources exactly right, or else with a
//! validation after three times the minutes of the default architecture. Kernels that the driver has never compiled count: the second
//! time it says what they took.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use softalign::{
    Gpu, GpuOptions, Result,
    model::{ARCHITECTURES, BatchShape, Kind, Learns, Model},
    text::Task,
    train::{Budget, Data, Destination, Event, Optimizer, TrainOptions, Trainer, train},
};

/// The share of answers that a model is trained to, in percent.
const GOAL: f64 = 99.0;
/// Pairs that are learnt between validations.
const BETWEEN: usize = 15_000;
/// The longest time for a model, in those of the default one.
const PATIENCE: u32 = 3;

/// What a run has come to.
struct Run {
    parameters: usize,
    tokens_per_second: f64,
    exact_match: f64,
    took: Duration,
    /// Bytes of a training step of a batch of the longest sources and answers, with gradients and moments.
    memory: u64,
}

fn main() -> Result<()> {
    let tasks: Vec<Task> = std::env::args().filter_map(|name| name.parse().ok()).collect();
    if tasks.is_empty() {
        // `cargo bench` without a task runs the other benches.
        return Ok(());
    }
    let gpu = Gpu::open(&GpuOptions::default())?;
    println!("{}\n", gpu.info().name);
    println!("| task | architecture | parameters | tokens/s | exact match | minutes | memory of a step |");
    println!("|---|---|---|---|---|---|---|");
    for task in tasks {
        let mut limit = None;
        for kind in ARCHITECTURES.iter().filter(|kind| kind.learns().any(|learns| learns == Learns::Pairs)) {
            let run = learn(&gpu, task, kind, limit)?;
            limit.get_or_insert(PATIENCE * run.took);
            println!(
                "| `{task}` | `{}` | {} | {:.0} | {:.1} % | {:.1} | {:.0} MB |",
                kind.name,
                run.parameters,
                run.tokens_per_second,
                run.exact_match,
                run.took.as_secs_f64() / 60.0,
                run.memory as f64 / 1e6
            );
        }
    }
    Ok(())
}

/// Trains a model of an architecture at its default sizes, for as long as the limit says.
fn learn(gpu: &Gpu, task: Task, kind: &Kind, limit: Option<Duration>) -> Result<Run> {
    let options = TrainOptions::new(Data::Task(task)).with_architecture(kind.name);
    let options = TrainOptions { validate_every: Some((BETWEEN / options.batch) as u64), ..options };
    let minutes = limit.map(|limit| limit.as_secs_f64() / 60.0);
    let budget = Budget { epochs: Some(30), minutes, ..Budget::default() };
    let folder = std::env::temp_dir().join(format!("softalign-{}-{}-{task}", std::process::id(), kind.name));
    let (began, reached) = (Instant::now(), Cell::new(false));
    let (mut parameters, mut exact_match, mut speeds) = (0, 0.0, Vec::new());
    let stop = || reached.get();
    train(gpu, &options, budget, Destination { folder: &folder, overwrite: true }, &stop, &mut |event| match event {
        Event::Started { parameters: count, .. } => parameters = count,
        Event::Step { tokens_per_second, .. } => speeds.push(tokens_per_second),
        Event::Validated { found, .. } => {
            exact_match = found.scores.map_or(0.0, |scores| scores.exact_match);
            reached.set(exact_match >= GOAL);
        }
        _ => {}
    })?;
    let took = began.elapsed();
    speeds.sort_by(f64::total_cmp);
    let tokens_per_second = speeds.get(speeds.len() / 2).copied().unwrap_or_default();
    let memory = memory(gpu, task, &options, Model::load(gpu, &folder)?)?;
    std::fs::remove_dir_all(&folder).map_err(|source| softalign::Error::Io { path: folder, source })?;
    Ok(Run { parameters, tokens_per_second, exact_match, took, memory })
}

fn memory(gpu: &Gpu, task: Task, options: &TrainOptions, model: Model) -> Result<u64> {
    let (mut source, mut target) = (0, 0);
    for pair in task.generate(options.seed).train {
        source = source.max(model.encode(&pair.source)?.len());
        target = target.max(model.target.encode(&pair.target)?.len() + 1);
    }
    let (network, parameters) = (model.network, model.parameters);
    let before = gpu.counters().bytes;
    let mut trainer = Trainer::new(gpu, network, &parameters, Optimizer::default(), options.regularisation())?;
    trainer.prepare(BatchShape { rows: options.batch, source, target })?;
    let of_parameters: u64 = parameters.blocks().iter().map(|block| block.bytes()).sum();
    Ok(of_parameters + gpu.counters().bytes - before)
}
