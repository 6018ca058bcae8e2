//! The loop over data: steps, validations, checkpoints, and going on where a run stopped.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;

use super::{
    Budget, Data, Decay, Optimizer, Progress, Reading, TrainOptions, Trainer,
    checkpoint::{self, CHECKPOINT, Saved},
    monitor::Monitor,
};
use crate::{
    Error, Gpu, Result, files,
    generate::{Generator, evaluate_with},
    kernels::unusable,
    model::{Config, FILES, Model},
    text::{Buckets, Pair, Scores, Tokenizer, encode_pairs},
};

/// The file that says what a folder's run was told.
const OPTIONS: &str = "run.json";
/// The file that its metrics go to, a JSON object a line.
const METRICS: &str = "metrics.jsonl";
/// Steps between readings of loss and norm.
const READ_EVERY: u64 = 10;
/// Sources that a validation during training looks at, at most.
const VALIDATED: usize = 1_000;
/// The longest time, in seconds, that a kill can cost.
const CHECKPOINT_EVERY: f64 = 120.0;
/// Samples shown at a validation.
const SAMPLES: usize = 3;

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// The data is read and the model made or restored.
    Started {
        /// Pairs to learn from.
        train: usize,
        /// Pairs to check with.
        valid: usize,
        /// Values of all parameters.
        parameters: usize,
        /// Steps already done by earlier sessions.
        resumed: u64,
        /// Steps of the whole run, as far as the budget says.
        total: Option<u64>,
    },
    /// Loss and norm of a step, every few steps.
    Step {
        /// The step's numbers.
        reading: Reading,
        /// Target tokens per second in this session.
        tokens_per_second: f64,
        /// Steps of the whole run, by the budget and the speed so far.
        total: Option<u64>,
    },
    /// A validation.
    Validated {
        /// Steps done.
        step: u64,
        /// Scores on (at most a thousand of) the pairs to check with.
        scores: Scores,
        /// A few sources with what the model made of them, and the reference.
        samples: &'a [(Pair, String)],
        /// Whether it is the best so far: then the model folder holds it.
        best: bool,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How far it is.
    pub progress: Progress,
    /// Whether it was interrupted; the same command goes on.
    pub interrupted: bool,
}

/// Trains a model into `folder` until the budget is used up or `stop` says so (asked after every step), then saves.
///
/// A folder that holds the same run is resumed, bit for bit; `overwrite` starts anew.
///
/// # Errors
/// [`Error::Data`] for wrong options or data, a folder that holds another run or a finished one;
/// [`Error::NonFinite`] if the loss stays infinite or NaN; what the device reports.
pub fn train(
    gpu: &Gpu,
    options: &TrainOptions,
    budget: Budget,
    folder: &Path,
    overwrite: bool,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    options.check()?;
    budget.check()?;
    let earlier = examine(folder, options, budget, overwrite)?;
    let (train, valid) = options.pairs()?;
    let gpu = &with_tiles(gpu, earlier.as_ref());
    let earlier = earlier.map(|saved| saved.progress);
    let mut run = Run::new(gpu, options, budget, folder, train, valid, earlier)?;
    observe(Event::Started {
        train: run.buckets.examples().len(),
        valid: run.valid.len(),
        parameters: run.model.parameters.elements(),
        resumed: run.progress.step,
        total: run.total(),
    });
    run.go(stop, observe)
}

/// The device with the tiles that the run began with, whatever was measured since: others may round in another way.
fn with_tiles(gpu: &Gpu, earlier: Option<&Saved>) -> Gpu {
    let Some(tiles) = earlier.map(|saved| &saved.tiles).filter(|tiles| *tiles != gpu.tile_table()) else {
        return gpu.clone();
    };
    match unusable(gpu, tiles) {
        Some(why) => tracing::warn!("{why}: the run goes on with the default, and not bit for bit"),
        None => tracing::info!("the run goes on with the tiles that it began with"),
    }
    gpu.with_tile_table(tiles.clone())
}

/// What an earlier session of this run has left in the folder. Changes nothing.
fn examine(folder: &Path, options: &TrainOptions, budget: Budget, overwrite: bool) -> Result<Option<Saved>> {
    let show = folder.display().to_string();
    let file = folder.join(OPTIONS);
    if overwrite || !folder.exists() {
        return Ok(None);
    }
    if !file.exists() {
        if std::fs::read_dir(folder).map_err(Error::io(folder))?.next().is_none() {
            return Ok(None);
        }
        let message = "is not empty and holds no run; choose another --out, or --overwrite it";
        return Err(Error::data(&show, message));
    }
    let other = |message: String| Error::data(&show, format!("{message}; choose another --out, or --overwrite it"));
    let found: TrainOptions = serde_json::from_slice(&files::read(&file)?)
        .map_err(|error| other(format!("{OPTIONS} cannot be read ({error})")))?;
    if &found != options {
        return Err(other(format!("holds a different run ({})", difference(&found, options))));
    }
    let saved = checkpoint::saved(folder)?;
    let progress = saved.as_ref().map(|saved| &saved.progress);
    if let Some(progress) = progress.filter(|progress| progress.finished && used_up(&budget, progress)) {
        let message = format!(
            "this run is finished, after {} steps; more --epochs, --steps, --minutes or --patience go on",
            progress.step
        );
        return Err(other(message));
    }
    Ok(saved)
}

/// Makes the folder this run's, before its first step: what an earlier run left there goes, other files stay.
fn claim(folder: &Path, options: &TrainOptions) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    for name in [CHECKPOINT, METRICS].into_iter().chain(FILES) {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(Error::io(path))?;
        }
    }
    let text = serde_json::to_vec_pretty(options).map_err(|error| Error::data(OPTIONS, error.to_string()))?;
    files::write_atomically(&folder.join(OPTIONS), &text)
}

/// The first option that differs.
fn difference(found: &TrainOptions, wanted: &TrainOptions) -> String {
    // By way of the text: a value made directly would show 0.1 as 0.10000000149011612.
    let value = |options| serde_json::from_str(&serde_json::to_string(options)?);
    let (found, wanted) = (value(found), value(wanted));
    let (Ok(serde_json::Value::Object(found)), Ok(serde_json::Value::Object(wanted))) = (found, wanted) else {
        return "other options".into();
    };
    let differing = found.iter().find(|(name, value)| wanted.get(*name) != Some(value));
    differing.map_or_else(
        || "other options".into(),
        |(name, value)| format!("{name} is {value} there and {} here", wanted.get(name).unwrap_or_default()),
    )
}

fn used_up(budget: &Budget, progress: &Progress) -> bool {
    budget.epochs.is_some_and(|epochs| progress.epoch >= epochs)
        || budget.steps.is_some_and(|steps| progress.step >= steps)
        || budget.minutes.is_some_and(|minutes| progress.seconds >= minutes * 60.0)
        || budget.patience.is_some_and(|patience| progress.unimproved >= patience)
}

struct Run<'a> {
    options: &'a TrainOptions,
    budget: Budget,
    folder: PathBuf,
    model: Model,
    trainer: Trainer,
    monitor: Monitor,
    generator: Generator,
    buckets: Buckets,
    epoch_steps: u64,
    valid: Vec<Pair>,
    metrics: File,
    progress: Progress,
    /// Progress at the start of this session, and when that was.
    start: (Progress, Instant),
    /// Seconds of training at the last checkpoint.
    saved: f64,
    skipped: u32,
}

impl<'a> Run<'a> {
    fn new(
        gpu: &Gpu,
        options: &'a TrainOptions,
        budget: Budget,
        folder: &Path,
        train: Vec<Pair>,
        valid: Vec<Pair>,
        earlier: Option<Progress>,
    ) -> Result<Self> {
        let sources = train.iter().map(|pair| pair.source.as_str());
        let targets = train.iter().map(|pair| pair.target.as_str());
        let source = Tokenizer::train(options.source_unit, sources, options.max_vocabulary)?;
        let target = Tokenizer::train(options.target_unit, targets, options.max_vocabulary)?;
        let examples = encode_pairs(&options.data_name(), &train, &source, &target, options.max_length)?;
        if let Data::Files { valid: path, .. } = &options.data {
            // Found out now rather than at the first validation.
            encode_pairs(&path.display().to_string(), &valid, &source, &target, options.max_length)?;
        }
        // Multiples of two cost little padding and keep the kernels' 16-byte paths in most shapes.
        let buckets = Buckets::new(examples, options.batch, 2)?;
        let config = Config {
            embedding: options.embedding,
            hidden: options.hidden,
            attention: options.hidden,
            readout: options.readout,
            readout_size: options.hidden,
            encoder_layers: options.layers,
            dropout: options.dropout,
            max_length: options.max_length,
            ..Config::new(source.size(), target.size())
        };
        let model = Model::new(gpu, config, source, target, options.seed)?;
        let optimizer = Optimizer {
            clip_norm: Some(options.clip_norm),
            weight_decay: options.weight_decay,
            ..Optimizer::default()
        };
        let trainer = Trainer::new(gpu, &model.network, &model.parameters, optimizer, options.label_smoothing)?;
        // Only now: data or a model that cannot be used leave the folder as it was.
        match earlier {
            Some(_) => checkpoint::load(gpu, folder, &trainer)?,
            None => claim(folder, options)?,
        }
        let progress = earlier.unwrap_or_default();
        let metrics = metrics(&folder.join(METRICS), progress.step)?;
        Ok(Self {
            options,
            budget,
            folder: folder.to_owned(),
            monitor: Monitor::new(gpu, &trainer.loss, &trainer.state.report),
            generator: Generator::new(&model),
            trainer,
            model,
            epoch_steps: buckets.in_order().len() as u64,
            buckets,
            valid: spread(valid),
            metrics,
            progress: Progress { finished: false, ..progress },
            start: (progress, Instant::now()),
            saved: progress.seconds,
            skipped: 0,
        })
    }

    fn go(&mut self, stop: &dyn Fn() -> bool, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        let mut plans = self.buckets.epoch(self.options.seed, self.progress.epoch);
        let mut interrupted = false;
        loop {
            if self.progress.batch >= self.epoch_steps {
                self.progress.epoch += 1;
                self.progress.batch = 0;
                plans = self.buckets.epoch(self.options.seed, self.progress.epoch);
            }
            // Also where a session ended between the step and its validation, so that resuming loses none.
            if self.validation_is_due() {
                self.validate(observe)?;
            }
            if used_up(&self.budget, &self.progress) {
                break;
            }
            let batch = self.buckets.batch(&plans[self.progress.batch as usize]);
            let step = self.progress.step + 1;
            self.trainer.step(&batch, step as u32, self.options.seed as u32, self.learning_rate(step))?;
            self.progress.step = step;
            self.progress.batch += 1;
            self.progress.tokens += batch.target_tokens as u64;
            self.progress.seconds = self.start.0.seconds + self.start.1.elapsed().as_secs_f64();
            if step.is_multiple_of(READ_EVERY) {
                self.monitor.request(step)?;
            }
            self.report(false, observe)?;
            if stop() {
                interrupted = true;
                break;
            }
            if self.progress.seconds - self.saved > CHECKPOINT_EVERY {
                self.checkpoint()?;
            }
        }
        self.progress.finished = !interrupted;
        if interrupted {
            self.report(true, observe)?;
            if self.progress.best.is_none() {
                // Not validated yet, but better than no model at all.
                self.model.save(&self.folder)?;
            }
            self.checkpoint()?;
        } else if self.progress.validated != self.progress.step || self.progress.best.is_none() {
            self.validate(observe)?;
        } else {
            self.checkpoint()?;
        }
        Ok(Outcome { progress: self.progress, interrupted })
    }

    fn learning_rate(&self, step: u64) -> f32 {
        self.options.learning_rate * self.options.schedule.share(step, self.epoch_steps, self.progress.halvings)
    }

    fn validation_is_due(&self) -> bool {
        let at_its_step = match self.options.validate_every {
            Some(every) => self.progress.step.is_multiple_of(every),
            None => self.progress.batch == 0,
        };
        at_its_step && self.progress.validated != self.progress.step
    }

    /// Steps of the whole run, by the budget and the speed so far.
    fn total(&self) -> Option<u64> {
        let done = self.progress.seconds;
        let by_time = self.budget.minutes.filter(|_| self.progress.step > 0 && done > 0.0);
        [
            self.budget.steps,
            self.budget.epochs.map(|epochs| epochs.saturating_mul(self.epoch_steps)),
            by_time.map(|minutes| (self.progress.step as f64 * minutes * 60.0 / done).ceil() as u64),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn report(&mut self, wait: bool, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        for reading in self.monitor.readings(wait)? {
            if reading.skipped > self.skipped {
                self.skipped = reading.skipped;
                let error = Error::NonFinite { step: u64::from(reading.last_skipped), what: "loss or gradient norm" };
                tracing::warn!("{error}");
                // Now and then a step may overflow; a run in which most do is lost.
                if reading.skipped > 100 {
                    return Err(error);
                }
            }
            let session = self.start.1.elapsed().as_secs_f64().max(1e-9);
            let tokens_per_second = (self.progress.tokens - self.start.0.tokens) as f64 / session;
            self.log(&json!({
                "step": reading.step, "epoch": self.progress.epoch, "loss": reading.loss, "grad_norm": reading.norm,
                "learning_rate": self.learning_rate(reading.step), "tokens_per_second": tokens_per_second,
                "seconds": self.progress.seconds,
            }))?;
            observe(Event::Step { reading, tokens_per_second, total: self.total() });
        }
        Ok(())
    }

    fn validate(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        self.report(true, observe)?;
        let (scores, texts) = evaluate_with(&mut self.generator, &self.model, &self.valid, 1)?;
        self.progress.seconds = self.start.0.seconds + self.start.1.elapsed().as_secs_f64();
        self.progress.validated = self.progress.step;
        let better = |(exact, per): (f64, f64)| (scores.exact_match, -scores.per) > (exact, -per);
        let best = self.progress.best.is_none_or(better);
        if best {
            self.progress.best = Some((scores.exact_match, scores.per));
            self.progress.unimproved = 0;
            self.model.save(&self.folder)?;
        } else {
            self.progress.unimproved += 1;
            if let Decay::Plateau { patience } = self.options.schedule.decay
                && self.progress.unimproved.is_multiple_of(patience)
            {
                self.progress.halvings += 1;
            }
        }
        self.checkpoint()?;
        self.log(&json!({
            "step": self.progress.step, "epoch": self.progress.epoch, "seconds": self.progress.seconds,
            "valid": scores, "best": best,
        }))?;
        // Other samples each time, the same ones in every run.
        let first = self.progress.step as usize * SAMPLES;
        let samples: Vec<_> = (first..first + SAMPLES.min(texts.len()))
            .map(|index| {
                let text = texts[index % texts.len()].clone();
                // Of several right answers the one that was given, if it is right.
                let answers = || self.valid.iter().filter(|pair| pair.source == text.source).map(|pair| &pair.target);
                let reference = answers().find(|target| **target == text.target).or_else(|| answers().next());
                let reference = reference.cloned().unwrap_or_default();
                (text, reference)
            })
            .collect();
        observe(Event::Validated { step: self.progress.step, scores, samples: &samples, best });
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.saved = self.progress.seconds;
        checkpoint::save(&self.model.gpu, &self.folder, &self.trainer, &self.progress)
    }

    fn log(&mut self, value: &serde_json::Value) -> Result<()> {
        // In one piece, so that whoever reads along, or a run that is killed, finds whole lines.
        self.metrics.write_all(format!("{value}\n").as_bytes()).map_err(Error::io(self.folder.join(METRICS)))
    }
}

/// At most [`VALIDATED`] sources with all their targets, from all over the file, which may be sorted.
fn spread(valid: Vec<Pair>) -> Vec<Pair> {
    let mut seen = HashSet::new();
    let sources: Vec<&str> =
        valid.iter().map(|pair| pair.source.as_str()).filter(|source| seen.insert(*source)).collect();
    let step = sources.len().div_ceil(VALIDATED).max(1);
    let kept: HashSet<String> = sources.into_iter().step_by(step).map(str::to_owned).collect();
    valid.into_iter().filter(|pair| kept.contains(&pair.source)).collect()
}

/// Opens the metrics file for appending, without lines from steps that a resumed run will do again.
fn metrics(path: &Path, step: u64) -> Result<File> {
    if path.exists() {
        let text = String::from_utf8_lossy(&files::read(path)?).into_owned();
        let done = |line: &&str| {
            let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
            value.and_then(|value| value.get("step")?.as_u64()).is_some_and(|at| at <= step)
        };
        let kept: String = text.lines().filter(done).flat_map(|line| [line, "\n"]).collect();
        files::write_atomically(path, kept.as_bytes())?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path))
}
