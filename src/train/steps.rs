//! Training in memory, a step at a time, for a caller that lets nothing wait: a page in a browser.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Part, Reading, TrainOptions, Trainer,
    corpus::{Corpus, Encoded, Examples, Valid},
    monitor::Monitor,
};
use crate::{
    Error, Gpu, Result,
    gpu::Signal,
    model::Model,
    names::setting,
    text::{Batch, BatchPlan, Buckets, Pair},
};

/// Steps under way at most, as in every run.
const UNDER_WAY: usize = 2;

/// The steps of [`train`](super::train) with the same options, and the same numbers, without what surrounds them there: no folder,
/// no checkpoint, no validation. A learning rate that waits for validations stays where it is.
#[derive(Debug)]
pub struct Steps {
    options: TrainOptions,
    model: Model,
    trainer: Trainer,
    monitor: Monitor,
    examples: Examples,
    unseen: Vec<Pair>,
    /// Steps of an epoch.
    epoch_steps: u64,
    epoch: u64,
    buckets: Arc<Buckets>,
    plans: Vec<BatchPlan>,
    /// Batches of the epoch that are behind.
    batch: usize,
    step: u64,
    tokens: u64,
    under_way: VecDeque<Signal<()>>,
}

impl Steps {
    /// A new model, and the data that it learns from.
    ///
    /// # Errors
    /// [`Error::Data`] for wrong options or data, and for options that need a model folder: [`TrainOptions::from`] and
    /// [`TrainOptions::teacher`]; the errors of the device.
    pub fn new(gpu: &Gpu, options: &TrainOptions) -> Result<Self> {
        options.check()?;
        options.precision.check(gpu)?;
        for (name, given) in [("from", options.from.is_some()), ("teacher", options.teacher.is_some())] {
            if given {
                return Err(Error::data(
                    setting(name),
                    "needs a folder, and this run is in memory alone; leave it out",
                ));
            }
        }
        let Encoded { network, source, target, examples, valid } = Encoded::new(Corpus::read(options)?, options, None)?;
        let mut model = Model::new(gpu, network, source, target, options.seed)?;
        let network = model.network.clone();
        let trainer = Trainer::new(gpu, network, &model.parameters, options.optimizer(), options.regularisation())?;
        model.parameters = trainer.state.average.as_ref().unwrap_or(&trainer.state.parameters).clone();
        let buckets = examples.epoch(0)?;
        Ok(Self {
            monitor: Monitor::new(gpu, &trainer.state.report),
            epoch_steps: (buckets.in_order().len() as u64).div_ceil(options.accumulate as u64),
            plans: buckets.epoch(options.seed, 0),
            options: options.clone(),
            unseen: match valid {
                Valid::Pairs(pairs) => pairs,
                Valid::Plain(..) | Valid::Masked(_) => Vec::new(),
            },
            model,
            trainer,
            examples,
            epoch: 0,
            buckets,
            batch: 0,
            step: 0,
            tokens: 0,
            under_way: VecDeque::new(),
        })
    }

    /// The model, which each step changes in place; clones share its parameters.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Pairs that no step learns from, of data that are pairs.
    pub fn unseen(&self) -> &[Pair] {
        &self.unseen
    }

    /// Steps submitted so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Target tokens of the batches so far, without padding.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Submits the next step, once no more than one is still under way, and returns the readings that have arrived since. Lets
    /// other tasks of the thread go on meanwhile.
    ///
    /// # Errors
    /// The errors of kernels, at the first batch of a shape, and of the device.
    pub async fn advance(&mut self) -> Result<Vec<Reading>> {
        if self.under_way.len() == UNDER_WAY
            && let Some(oldest) = self.under_way.pop_front()
        {
            self.model.gpu.hear(&oldest).await?;
        }
        self.submit()?;
        self.under_way.push_back(self.monitor.request(self.step)?);
        self.monitor.readings(false)
    }

    /// Waits for the steps under way, without blocking the thread, and returns the readings that have not been returned yet.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed.
    pub async fn settle(&mut self) -> Result<Vec<Reading>> {
        while let Some(oldest) = self.under_way.pop_front() {
            self.model.gpu.hear(&oldest).await?;
        }
        self.monitor.readings(false)
    }

    fn submit(&mut self) -> Result<()> {
        if self.batch >= self.plans.len() {
            self.epoch += 1;
            self.batch = 0;
            self.buckets = self.examples.epoch(self.epoch)?;
            self.plans = self.buckets.epoch(self.options.seed, self.epoch);
        }
        let plans = self.plans.iter().skip(self.batch).take(self.options.accumulate);
        let batches: Vec<Batch> = plans.map(|plan| self.buckets.batch(plan)).collect();
        let (step, all) = (self.step + 1, Part::of(&batches));
        let learning_rate = self.options.learning_rate * self.options.schedule.share(step, self.epoch_steps, 0);
        for (index, batch) in (0..).zip(&batches) {
            let part = Part { index, ..all };
            self.trainer.part(batch, part, step as u32, self.options.seed as u32, learning_rate)?;
        }
        self.step = step;
        self.batch += batches.len();
        self.tokens += all.target_tokens as u64;
        Ok(())
    }
}
