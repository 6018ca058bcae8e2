//! The loop over data: steps, validations, checkpoints, and going on where a run stopped.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;

use super::{
    Budget, Data, Decay, Destination, Event, Kept, Optimizer, Outcome, Part, Place, Progress, Session, TrainOptions,
    Trainer,
    checkpoint::{self, Saved},
    folder::{claim, examine},
    kept,
    metrics::Metrics,
    monitor::Monitor,
    validation::Validation,
};
use crate::{
    Error, Gpu, Result,
    kernels::unusable,
    model::{Kind, Metadata, Model, SOURCE, TARGET},
    text::{Buckets, Pair, TokenUnit, Tokenizer, encode_pairs, read_alignment},
};

/// Steps between readings of loss and norm.
const READ_EVERY: u64 = 10;
/// The longest time, in seconds, that a kill can cost.
const CHECKPOINT_EVERY: f64 = 120.0;

/// Trains a model into a folder until the budget is used up or `stop` says so (asked after every batch), then saves.
///
/// A folder that holds the same run is resumed, bit for bit; [`Destination::overwrite`] starts anew.
///
/// # Errors
/// [`Error::Data`] for wrong options or data, a folder that holds another run or a finished one;
/// [`Error::NonFinite`] if the loss stays infinite or NaN; the errors of the device.
pub fn train(
    gpu: &Gpu,
    options: &TrainOptions,
    budget: Budget,
    destination: Destination<'_>,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    options.check()?;
    options.precision.check(gpu)?;
    budget.check()?;
    let folder = destination.folder;
    let earlier = examine(destination, options, budget)?;
    let pairs = options.pairs()?;
    let gpu = &with_tiles(gpu, earlier.as_ref());
    let earlier = earlier.map(|saved| saved.progress);
    let mut run = Run::new(gpu, options, budget, folder, pairs, earlier)?;
    let (train, valid) = (run.buckets.examples().len(), run.validation.pairs().len());
    let parameters = run.model.parameters.elements();
    Session::new(gpu, parameters, train, valid).write(folder)?;
    observe(Event::Started { train, valid, parameters, resumed: run.progress.step, total: run.total() });
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

struct Run<'a> {
    options: &'a TrainOptions,
    budget: Budget,
    folder: PathBuf,
    /// Checksums of the data.
    data: Metadata,
    /// The model that is validated and saved: the parameters, or their average where one is kept.
    model: Model,
    trainer: Trainer,
    monitor: Monitor,
    buckets: Buckets,
    epoch_batches: u64,
    epoch_steps: u64,
    validation: Validation,
    metrics: Metrics,
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
        (train, valid): (Vec<Pair>, Vec<Pair>),
        earlier: Option<Progress>,
    ) -> Result<Self> {
        let data = options.checksums()?;
        // A run that goes on keeps its vocabularies, whatever has become of the file or the trainer they came from.
        let tokenizer = |name: &str, unit: &TokenUnit, texts: Vec<&str>| match folder.join(name) {
            kept if earlier.is_some() && kept.is_file() => Tokenizer::load(kept),
            _ => Tokenizer::train(unit, texts.into_iter(), options.max_vocabulary),
        };
        let sources = train.iter().map(|pair| pair.source.as_str()).collect();
        let targets = train.iter().map(|pair| pair.target.as_str()).collect();
        let source = tokenizer(SOURCE, &options.source_unit, sources)?;
        let target = tokenizer(TARGET, &options.target_unit, targets)?;
        let examples = encode_pairs(&options.data_name(), &train, &source, &target, options.max_length)?;
        if !matches!(options.data, Data::Task(_)) {
            // Found out now rather than at the first validation.
            encode_pairs(&options.valid_name(), &valid, &source, &target, options.max_length)?;
        }
        // Multiples of two cost little padding and keep the kernels' 16-byte paths in most shapes.
        let guide = options.guided_alignment.as_ref();
        let alignment = guide.map(|guide| read_alignment(&guide.file, &examples)).transpose()?;
        let mut buckets = Buckets::new(examples, options.batch_size(), 2)?;
        if let Some(alignment) = alignment {
            buckets = buckets.aligned(alignment);
        }
        let network = Kind::named(&options.architecture)?.make(&options.model(), [source.size(), target.size()])?;
        let mut model = Model::new(gpu, network, source, target, options.seed)?;
        let optimizer = Optimizer {
            clip_norm: Some(options.clip_norm),
            weight_decay: options.weight_decay,
            average_decay: options.ema,
            accumulate: options.accumulate > 1,
            precision: options.precision.dtype(),
            ..Optimizer::default()
        };
        let trainer = Trainer::new(gpu, model.network.clone(), &model.parameters, optimizer, options.regularisation())?;
        if let Some(average) = &trainer.state.average {
            model.parameters = average.clone();
        }
        // Only now: data or a model that cannot be used leave the folder as it was.
        match &earlier {
            Some(earlier) => {
                checkpoint::load(gpu, folder, &trainer)?;
                kept::tidy(folder, &earlier.kept)?;
            }
            None => claim(folder, options)?,
        }
        for (name, tokenizer) in [(SOURCE, &model.source), (TARGET, &model.target)] {
            if earlier.is_none() || !folder.join(name).is_file() {
                tokenizer.save(folder.join(name))?;
            }
        }
        let progress = earlier.unwrap_or_default();
        let epoch_batches = buckets.in_order().len() as u64;
        let metrics = Metrics::open(folder, progress.step)?;
        Ok(Self {
            options,
            budget,
            folder: folder.to_owned(),
            data,
            monitor: Monitor::new(gpu, &trainer.state.report),
            validation: Validation::new(&model, valid, &options.scoring())?,
            trainer,
            model,
            epoch_batches,
            epoch_steps: epoch_batches.div_ceil(options.accumulate as u64),
            buckets,
            metrics,
            saved: progress.seconds,
            progress: Progress { finished: false, ..progress.clone() },
            start: (progress, Instant::now()),
            skipped: 0,
        })
    }

    fn go(&mut self, stop: &dyn Fn() -> bool, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        let mut plans = self.buckets.epoch(self.options.seed, self.progress.epoch);
        let interrupted = 'session: loop {
            if self.progress.batch >= self.epoch_batches {
                self.progress.epoch += 1;
                self.progress.batch = 0;
                plans = self.buckets.epoch(self.options.seed, self.progress.epoch);
            }
            // Also where a session ended between the step and its validation, so that resuming loses none.
            if self.validation_is_due() {
                self.validate(observe)?;
            }
            if self.budget.used_up(&self.progress) {
                break false;
            }
            let plans = plans.iter().skip(self.progress.batch as usize).take(self.options.accumulate);
            // First of all: a batch that the device cannot hold may be more than the host can hold.
            plans.clone().try_for_each(|plan| self.trainer.prepare(self.buckets.shape(plan)).map(|_| ()))?;
            let batches: Vec<_> = plans.map(|plan| self.buckets.batch(plan)).collect();
            let step = self.progress.step + 1;
            let all = Part::of(&batches);
            let (seed, learning_rate) = (self.options.seed as u32, self.learning_rate(step));
            let mut stopped = false;
            for (index, batch) in (0..).zip(&batches) {
                self.trainer.part(batch, Part { index, ..all }, step as u32, seed, learning_rate)?;
                stopped = stop();
                // A step that is not complete has changed nothing; the next session makes it from its first batch on.
                if stopped && (index as usize) + 1 < batches.len() {
                    break 'session true;
                }
            }
            self.progress.step = step;
            self.progress.batch += batches.len() as u64;
            self.progress.tokens += all.target_tokens as u64;
            self.progress.seconds = self.start.0.seconds + self.start.1.elapsed().as_secs_f64();
            if step.is_multiple_of(READ_EVERY) {
                self.monitor.request(step)?;
            }
            self.report(false, observe)?;
            if stopped {
                break true;
            }
            if self.progress.seconds - self.saved > CHECKPOINT_EVERY {
                self.checkpoint()?;
            }
        };
        let mut averaged = None;
        if interrupted {
            self.report(true, observe)?;
            if self.progress.best.is_none() {
                // Not validated yet, but better than no model at all.
                self.model.save(&self.folder)?;
            }
        } else {
            if self.progress.validated != self.progress.step || self.progress.best.is_none() {
                self.validate(observe)?;
            }
            averaged = self.average(observe)?;
            self.progress.finished = true;
        }
        self.checkpoint()?;
        let mut progress = self.progress.clone();
        progress.best = averaged.or(progress.best);
        Ok(Outcome { progress, interrupted })
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
            let mut line = json!({
                "step": reading.step, "epoch": self.progress.epoch, "loss": reading.loss, "grad_norm": reading.norm,
                "learning_rate": self.learning_rate(reading.step), "tokens_per_second": tokens_per_second,
                "seconds": self.progress.seconds, "total": self.total(),
            });
            if let (Some(scale), Some(fields)) = (reading.loss_scale, line.as_object_mut()) {
                fields.insert("loss_scale".to_owned(), scale.into());
            }
            self.metrics.log(&line)?;
            observe(Event::Step { reading, tokens_per_second, total: self.total() });
        }
        Ok(())
    }

    fn validate(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        self.report(true, observe)?;
        let (found, texts) = self.validation.run(&self.model)?;
        self.progress.seconds = self.start.0.seconds + self.start.1.elapsed().as_secs_f64();
        self.progress.validated = self.progress.step;
        let (metric, step) = (self.options.metric, self.progress.step);
        let place = metric.place(&found);
        let best = self.progress.best.is_none_or(|best| metric.is_better(place, best));
        if best {
            self.progress.best = Some(place);
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
        if let Some(rank) = kept::rank(&self.progress.kept, place, self.options.keep_best, metric) {
            kept::save(&self.folder, step, &self.model)?;
            self.progress.kept.insert(rank, Kept { step, place });
            self.progress.kept.truncate(self.options.keep_best);
        }
        self.checkpoint()?;
        // Not before: a session that is killed in between goes on from a checkpoint that names those that go.
        kept::tidy(&self.folder, &self.progress.kept)?;
        self.metrics.log(&json!({
            "step": step, "epoch": self.progress.epoch, "seconds": self.progress.seconds, "valid": found, "best": best,
        }))?;
        let samples = self.validation.samples(step, &texts);
        observe(Event::Validated { step, found, samples: &samples, best });
        Ok(())
    }

    /// Validates the average of the kept models, and makes it the run's model where it is the best. The progress still says
    /// what the best single model came to: a run that goes on compares with that.
    fn average(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Option<Place>> {
        let kept = &self.progress.kept;
        if kept.len() < 2 {
            return Ok(None);
        }
        let parameters = kept::average(&self.model.gpu, &self.folder, kept, &self.model.parameters)?;
        let model = Model { parameters, ..self.model.clone() };
        let (found, _) = self.validation.of(&model).run(&model)?;
        let place = self.options.metric.place(&found);
        let best = self.progress.best.is_none_or(|best| self.options.metric.is_better(place, best));
        if best {
            model.save(&self.folder)?;
        }
        let (models, steps) = (kept.len(), kept.iter().map(|kept| kept.step).collect::<Vec<_>>());
        self.metrics.log(&json!({
            "step": self.progress.step, "seconds": self.progress.seconds, "average": found, "average_of": steps,
            "average_is_best": best,
        }))?;
        observe(Event::Averaged { models, found, best });
        Ok(best.then_some(place))
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.saved = self.progress.seconds;
        checkpoint::save(&self.model.gpu, &self.folder, &self.trainer, &self.progress, &self.data)
    }
}
