//! The loop over data: steps, validations, checkpoints, and going on where a run stopped.

use std::{path::PathBuf, time::Instant};

use serde_json::{Value, json};

use super::{
    Budget, Decay, Destination, Event, Kept, Optimizer, Outcome, Part, Place, Progress, RankOptions, Schedule, Session,
    Teachers, TrainOptions, Trainer, Validated,
    agreement::{of_parameters, told},
    checkpoint::{self, Saved},
    corpus::{Corpus, Encoded, Examples},
    folder::{claim, examine, lock, remove_unfinished, write_options},
    kept,
    lock::Lock,
    metrics::Metrics,
    monitor::Monitor,
    pace::Pace,
    team::Team,
    validation::Validation,
};
use crate::{
    Error, Gpu, Result,
    kernels::unusable,
    model::{Metadata, Model},
    names::setting,
    ranks::{Ranks, agree},
    text::{Batch, BatchPlan, Buckets, Pair},
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
/// [`Error::Data`] for wrong options or data, a folder that holds another run or a finished one, or in which another session is
/// at work; [`Error::NonFinite`] if the loss stays infinite or NaN, [`Error::Lost`] if that of a validation is; the errors of the
/// device.
pub fn train(
    gpu: &Gpu,
    options: &TrainOptions,
    budget: Budget,
    destination: Destination<'_>,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    train_with(None, gpu, (options, budget), destination, stop, observe)
}

/// Trains like [`train`], as one of several ranks, all of which call this with the same arguments, each with a device of its own, and
/// get the same outcome: the run that one process would make, with the whole of each batch, but for the rounding of sums. Rank 0
/// writes the folder, which all can read; a run may go on with another number of ranks, and whether they share the optimiser's state or
/// not: neither changes what is saved.
///
/// # Errors
/// Those of [`train`]; [`Error::Rank`] if a rank differs from the others in what it was told or has read, cannot begin, or has
/// ended.
pub fn train_among(
    ranks: RankOptions,
    gpu: &Gpu,
    (options, budget): (&TrainOptions, Budget),
    destination: Destination<'_>,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    train_with(Some(ranks), gpu, (options, budget), destination, stop, observe)
}

fn train_with(
    ranks: Option<RankOptions>,
    gpu: &Gpu,
    (options, budget): (&TrainOptions, Budget),
    destination: Destination<'_>,
    stop: &dyn Fn() -> bool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    let team = Team(ranks);
    let begun = Begun::new(gpu, (options, budget), destination, &team);
    agree(team.ranks(), || match &begun {
        Ok(begun) => {
            let told = told(gpu, (options, budget), destination, &begun.corpus.sums, begun.earlier.as_ref());
            told.map(|told| [told, vec![(setting("shard"), team.shard().is_some().to_string())]].concat())
        }
        Err(error) => Err(Error::data("its start", error.to_string())),
    })?;
    let Begun { lock, corpus, earlier } = begun?;
    let gpu = &team.with_tiles(with_tiles(gpu, earlier.as_ref()))?;
    let earlier = earlier.map(|saved| saved.progress);
    let run = Run::new(gpu, (options, budget), destination, (lock, earlier), corpus, team.clone());
    agree(team.ranks(), || match &run {
        Ok(run) => of_parameters(gpu, &run.trainer),
        Err(error) => Err(Error::data("its start", error.to_string())),
    })?;
    let mut run = run?;
    let (train, valid) = (run.examples.len(), run.validation.len());
    let parameters = run.model.parameters.elements();
    if team.writes() {
        Session::new(gpu, parameters, train, valid).write(destination.folder)?;
    }
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

/// What a run has before anything of it is made.
struct Begun {
    lock: Option<Lock>,
    corpus: Corpus,
    earlier: Option<Saved>,
}

impl Begun {
    fn new(
        gpu: &Gpu,
        (options, budget): (&TrainOptions, Budget),
        destination: Destination<'_>,
        team: &Team,
    ) -> Result<Self> {
        options.check()?;
        options.precision.check(gpu)?;
        budget.check()?;
        let lock = if team.writes() { lock(destination)? } else { None };
        let mut corpus = Corpus::read(options)?;
        let earlier = examine(destination, options, &corpus.sums, budget)?;
        if let Some(saved) = &earlier {
            corpus.remember(&saved.sums);
        }
        Ok(Self { lock, corpus, earlier })
    }
}

struct Run<'a> {
    options: &'a TrainOptions,
    budget: Budget,
    folder: PathBuf,
    team: Team,
    _lock: Option<Lock>,
    /// Checksums of what was read.
    sums: Metadata,
    /// The model that is validated and saved: the parameters, or their average where one is kept.
    model: Model,
    trainer: Trainer,
    monitor: Monitor,
    examples: Examples,
    /// Steps of an epoch.
    epoch_steps: u64,
    schedule: Schedule,
    validation: Validation,
    /// Where this process writes.
    metrics: Option<Metrics>,
    pace: Pace,
    progress: Progress,
    /// Seconds of training before this session, and when that began.
    start: (f64, Instant),
    /// The progress that the last checkpoint holds.
    saved: Option<Progress>,
    skipped: u32,
}

impl<'a> Run<'a> {
    fn new(
        gpu: &Gpu,
        (options, budget): (&'a TrainOptions, Budget),
        destination: Destination<'_>,
        (lock, earlier): (Option<Lock>, Option<Progress>),
        corpus: Corpus,
        team: Team,
    ) -> Result<Self> {
        let (folder, writes) = (destination.folder, team.writes());
        let sums = corpus.sums.clone();
        let encoded = Encoded::new(corpus, options, earlier.is_some().then_some(folder))?;
        let Encoded { network, source, target, examples, valid } = encoded;
        let mut model = match options.from.as_ref().filter(|_| earlier.is_none()) {
            Some(from) => Model::beginning_with(gpu, from, (network, source, target), options.seed)?,
            None => Model::new(gpu, network, source, target, options.seed)?,
        };
        // A run of 0.1.0 goes on as it began.
        let spares_biases = earlier.as_ref().is_none_or(|earlier| earlier.spares_biases);
        let optimizer = Optimizer { spares_biases, shard: team.shard(), ..options.optimizer() };
        let teachers = Teachers::load(options, &model, folder)?;
        let (network, regularisation) = (model.network.clone(), options.regularisation());
        let trainer = Trainer::new(gpu, network, &model.parameters, optimizer, regularisation)?;
        let trainer = trainer.taught_by(teachers).among(team.all());
        model.parameters = trainer.state.average.as_ref().unwrap_or(&trainer.state.parameters).clone();
        let validation = Validation::new(&model, valid, &options.scoring(), team.all())?;
        if earlier.is_some() {
            checkpoint::load(gpu, folder, &trainer)?;
        }
        // Only now: data or a model that cannot be used leave the folder as it was.
        let lock = if team.writes() {
            let going_on = earlier.as_ref().map(|earlier| earlier.kept.as_slice());
            Some(take_over(destination, lock, options, &model, going_on)?)
        } else {
            None
        };
        let epoch_steps = (examples.epoch(0)?.in_order().len() as u64).div_ceil(options.accumulate as u64);
        let schedule = schedule(options, earlier.as_ref(), budget.length(epoch_steps));
        let mut progress = earlier.clone().unwrap_or_default();
        (progress.finished, progress.warmup, progress.spares_biases) = (false, Some(schedule.warmup), spares_biases);
        Ok(Self {
            options,
            budget,
            folder: folder.to_owned(),
            _lock: lock,
            team,
            sums,
            monitor: Monitor::new(gpu, &trainer.state.report),
            validation,
            trainer,
            model,
            epoch_steps,
            schedule,
            examples,
            metrics: if writes { Some(Metrics::open(folder, progress.step)?) } else { None },
            pace: Pace::new(),
            start: (progress.seconds, Instant::now()),
            progress,
            saved: earlier,
            skipped: 0,
        })
    }

    fn go(&mut self, stop: &dyn Fn() -> bool, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        let mut buckets = self.examples.epoch(self.progress.epoch)?;
        let mut plans = buckets.epoch(self.options.seed, self.progress.epoch);
        self.pace.pause();
        loop {
            if self.progress.batch >= plans.len() as u64 {
                self.progress.epoch += 1;
                self.progress.batch = 0;
                buckets = self.examples.epoch(self.progress.epoch)?;
                plans = buckets.epoch(self.options.seed, self.progress.epoch);
            }
            // Also where a session ended between the step and its validation, so that resuming loses none.
            if self.validation_is_due() {
                self.validate(observe)?;
                self.pace.pause();
            }
            if !self.budget.reached(&self.progress).is_empty() {
                return self.finish(observe);
            }
            let place = self.progress.batch as usize;
            let next: Vec<_> = plans.iter().skip(place).take(self.options.accumulate).collect();
            let stopped = self.step(&buckets, &next, stop)?;
            self.report(false, observe)?;
            if stopped {
                return self.interrupt(observe);
            }
            if self.progress.seconds - self.saved_seconds() > CHECKPOINT_EVERY && self.is_sound()? {
                self.checkpoint()?;
                self.pace.pause();
            }
        }
    }

    /// Makes a step of some batches, and says whether to stop; before the last of them the step is then not made.
    fn step(&mut self, buckets: &Buckets, plans: &[&BatchPlan], stop: &dyn Fn() -> bool) -> Result<bool> {
        let before = self.model.gpu.counters().bind_groups;
        // First of all: a batch that the device cannot hold may be more than the host can hold.
        let shape = |plan: &&BatchPlan| buckets.shape(plan).share(self.team.size());
        plans.iter().map(shape).try_for_each(|shape| self.trainer.prepare(shape).map(|_| ()))?;
        let compiled = self.model.gpu.counters().bind_groups > before;
        let batches: Vec<Batch> = plans.iter().map(|plan| buckets.batch(plan)).collect();
        let step = self.progress.step + 1;
        let all = Part::of(&batches);
        let (seed, learning_rate) = (self.options.seed as u32, self.learning_rate(step));
        let mut stopped = false;
        for (index, batch) in (0..).zip(&batches) {
            let part = Part { index, ..all };
            self.trainer.part(&self.team.share(batch), part, step as u32, seed, learning_rate)?;
            stopped = self.team.any(stop())?;
            // A step that is not complete has changed nothing; the next session makes it from its first batch on.
            if stopped && (index as usize) + 1 < batches.len() {
                return Ok(true);
            }
        }
        self.progress.step = step;
        self.progress.batch += batches.len() as u64;
        self.progress.tokens += all.target_tokens as u64;
        self.count_seconds()?;
        self.pace.step(all.target_tokens as u64, compiled);
        if step.is_multiple_of(READ_EVERY) {
            self.monitor.request(step)?;
        }
        Ok(stopped)
    }

    fn interrupt(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        self.report(true, observe)?;
        if self.is_sound()? {
            if self.progress.best.is_none() {
                // Not validated yet, but better than no model at all.
                self.save_model(&self.model)?;
            }
            self.checkpoint()?;
        } else {
            let step = self.progress.step;
            self.progress = self.saved.clone().unwrap_or_default();
            tracing::warn!("step {step} was not finite, and is not saved");
        }
        Ok(Outcome { progress: self.progress.clone(), interrupted: true })
    }

    fn finish(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        if self.progress.validated != self.progress.step || self.progress.best.is_none() {
            self.validate(observe)?;
        }
        let averaged = self.average(observe)?;
        for (one, bounds) in self.model.network.parameters().iter().filter_map(|one| Some((one, one.bounds?))) {
            let values = self.model.gpu.read(&one.tensor(&self.model.parameters)?)?;
            observe(Event::Bounded { name: &one.name, values: &values, bounds });
        }
        self.progress.finished = true;
        self.checkpoint()?;
        let (step, warmup) = (self.progress.step, self.schedule.warmup);
        if step < warmup {
            tracing::warn!(
                "the run has ended in its warm-up, after {step} of {warmup} steps: no step had the full learning rate"
            );
        }
        let mut progress = self.progress.clone();
        progress.best = averaged.or(progress.best);
        Ok(Outcome { progress, interrupted: false })
    }

    fn learning_rate(&self, step: u64) -> f32 {
        self.options.learning_rate * self.schedule.share(step, self.epoch_steps, self.progress.halvings)
    }

    fn validation_is_due(&self) -> bool {
        let at_its_step = match self.options.validate_every {
            Some(every) => self.progress.step.is_multiple_of(every),
            None => self.progress.batch == 0,
        };
        at_its_step && self.progress.validated != self.progress.step
    }

    /// By the clock of rank 0: whether a run's minutes are over must be the same for all ranks.
    fn count_seconds(&mut self) -> Result<()> {
        self.progress.seconds = self.team.first(self.start.0 + self.start.1.elapsed().as_secs_f64())?;
        Ok(())
    }

    fn log(&mut self, line: &Value) -> Result<()> {
        self.metrics.as_mut().map_or(Ok(()), |metrics| metrics.log(line))
    }

    /// Makes the run's folder hold a model, or the model that is validated.
    fn save_model(&self, model: &Model) -> Result<()> {
        if self.team.writes() { model.save(&self.folder) } else { Ok(()) }
    }

    fn saved_seconds(&self) -> f64 {
        self.saved.as_ref().map_or(self.start.0, |saved| saved.seconds)
    }

    /// Whether a session could go on from here: the last step was made, and every parameter is a number.
    fn is_sound(&mut self) -> Result<bool> {
        self.trainer.complete_average()?;
        let (gpu, state) = (&self.model.gpu, &self.trainer.state);
        let skipped = state.read_report(gpu)?;
        let made = skipped.skipped == 0 || u64::from(skipped.last_skipped) != self.progress.step;
        Ok(made && state.is_finite(gpu)?)
    }

    /// Steps of the whole run, by the budget and the speed of recent steps.
    fn total(&self) -> Option<u64> {
        let by_time = self.budget.minutes.zip(self.pace.seconds_per_step()).map(|(minutes, seconds)| {
            let left = (minutes * 60.0 - self.progress.seconds).max(0.0);
            self.progress.step.saturating_add((left / seconds).ceil() as u64)
        });
        self.budget.length(self.epoch_steps).into_iter().chain(by_time).min()
    }

    /// Seconds that the steps to come will take, as fast as recent ones.
    fn seconds_left(&self) -> Option<f64> {
        Some(self.total()?.saturating_sub(self.progress.step) as f64 * self.pace.seconds_per_step()?)
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
            let (tokens_per_second, total) = (self.pace.tokens_per_second(), self.total());
            let mut line = json!({
                "step": reading.step, "epoch": self.progress.epoch, "loss": reading.loss, "grad_norm": reading.norm,
                "learning_rate": self.learning_rate(reading.step), "tokens_per_second": tokens_per_second,
                "seconds": self.progress.seconds, "total": total,
            });
            if let (Some(scale), Some(fields)) = (reading.loss_scale, line.as_object_mut()) {
                fields.insert("loss_scale".to_owned(), scale.into());
            }
            self.log(&line)?;
            let seconds_left = self.seconds_left();
            observe(Event::Step { reading, tokens_per_second, total, seconds_left });
        }
        Ok(())
    }

    fn validate(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        self.report(true, observe)?;
        self.trainer.complete_average()?;
        let (found, texts) = self.validation.run(&self.model)?;
        self.count_seconds()?;
        if !found.cross_entropy.is_finite() || !self.trainer.state.is_finite(&self.model.gpu)? {
            return self.lose(found, &texts, observe);
        }
        self.progress.validated = self.progress.step;
        let (metric, step) = (self.options.metric, self.progress.step);
        let place = metric.place(&found);
        let best = self.progress.best.is_none_or(|best| metric.is_better(place, best));
        if best {
            self.progress.best = Some(place);
            self.progress.unimproved = 0;
            self.save_model(&self.model)?;
        } else {
            self.progress.unimproved += 1;
            if let Decay::Plateau { patience } = self.options.schedule.decay
                && self.progress.unimproved.is_multiple_of(patience)
            {
                self.progress.halvings += 1;
            }
        }
        if let Some(rank) = kept::rank(&self.progress.kept, place, self.options.keep_best, metric) {
            if self.team.writes() {
                kept::save(&self.folder, step, &self.model)?;
            }
            self.progress.kept.insert(rank, Kept { step, place });
            self.progress.kept.truncate(self.options.keep_best);
        }
        self.checkpoint()?;
        // Not before: a session that is killed in between goes on from a checkpoint that names those that go.
        if self.team.writes() {
            kept::tidy(&self.folder, &self.progress.kept)?;
        }
        self.log(&json!({
            "step": step, "epoch": self.progress.epoch, "seconds": self.progress.seconds, "valid": found, "best": best,
        }))?;
        let samples = self.validation.samples(step, &texts);
        observe(Event::Validated { step, found, samples: &samples, best });
        Ok(())
    }

    /// Ends a run whose parameters are lost, and leaves what it has saved.
    fn lose(&mut self, found: Validated, texts: &[Pair], observe: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        let step = self.progress.step;
        self.log(&json!({
            "step": step, "epoch": self.progress.epoch, "seconds": self.progress.seconds, "valid": found, "best": false,
        }))?;
        let samples = self.validation.samples(step, texts);
        observe(Event::Validated { step, found, samples: &samples, best: false });
        let what = if found.cross_entropy.is_finite() { "a parameter" } else { "the cross-entropy of the validation" };
        Err(Error::Lost { step, what, checkpoint: self.saved.as_ref().map(|saved| saved.step) })
    }

    /// Validates the average of the kept models, and makes it the run's model where it is the best. The progress still says
    /// what the best single model came to: a run that goes on compares with that.
    fn average(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Option<Place>> {
        let kept = &self.progress.kept;
        if kept.len() < 2 {
            return Ok(None);
        }
        // Rank 0 may still be writing the last of them.
        self.team.ranks().map_or(Ok(()), Ranks::barrier)?;
        let parameters = kept::average(&self.model.gpu, &self.folder, kept, &self.model.parameters)?;
        let model = Model { parameters, ..self.model.clone() };
        let (found, _) = self.validation.of(&model).run(&model)?;
        let place = self.options.metric.place(&found);
        let better = |best| self.options.metric.is_better(place, best);
        let best = found.cross_entropy.is_finite() && self.progress.best.is_none_or(better);
        if best {
            self.save_model(&model)?;
        }
        let (models, steps) = (kept.len(), kept.iter().map(|kept| kept.step).collect::<Vec<_>>());
        self.log(&json!({
            "step": self.progress.step, "seconds": self.progress.seconds, "average": found, "average_of": steps,
            "average_is_best": best,
        }))?;
        observe(Event::Averaged { models, found, best });
        Ok(best.then_some(place))
    }

    fn checkpoint(&mut self) -> Result<()> {
        let gpu = &self.model.gpu;
        // Where they are shared, all ranks take part.
        let moments = checkpoint::moments(gpu, &self.trainer, self.team.writes())?;
        if self.team.writes() {
            checkpoint::save(gpu, &self.folder, (&self.trainer, moments), &self.progress, &self.sums)?;
        }
        self.saved = Some(self.progress.clone());
        Ok(())
    }
}

/// The schedule of a run of so many steps, if that is known. One that goes on keeps the warm-up that it began with.
fn schedule(options: &TrainOptions, earlier: Option<&Progress>, steps: Option<u64>) -> Schedule {
    let wanted = options.schedule;
    let whole = steps.map_or(wanted, |steps| wanted.within(steps));
    match earlier {
        None => {
            if let Some(steps) = steps.filter(|_| whole.warmup < wanted.warmup) {
                let Schedule { warmup, .. } = whole;
                tracing::info!("warm-up of {warmup} steps instead of {}: half of this run of {steps}", wanted.warmup);
            }
            whole
        }
        Some(earlier) => {
            let warmup = earlier.warmup.unwrap_or(wanted.warmup);
            if warmup != whole.warmup {
                tracing::warn!("the run keeps the warm-up of {warmup} steps that it began with, not {}", whole.warmup);
            }
            Schedule { warmup, ..wanted }
        }
    }
}

/// Makes the folder this session's: of the run that goes on, with the models that it keeps, or else of a new one.
fn take_over(
    destination: Destination<'_>,
    lock: Option<Lock>,
    options: &TrainOptions,
    model: &Model,
    going_on: Option<&[Kept]>,
) -> Result<Lock> {
    let folder = destination.folder;
    let lock = match (lock, going_on) {
        (Some(lock), Some(kept)) => {
            remove_unfinished(folder)?;
            kept::tidy(folder, kept)?;
            // Its files may lie elsewhere now.
            write_options(folder, options)?;
            lock
        }
        (lock, _) => claim(destination, lock, options)?,
    };
    if options.from.is_some() {
        model.save_parts(folder)?;
    }
    for (name, tokenizer) in model.tokenizers() {
        if going_on.is_none() || !folder.join(name).is_file() {
            tokenizer.save(folder.join(name))?;
        }
    }
    Ok(lock)
}
