//! Log-probabilities of given targets, by teacher forcing on the device.

use std::{ops::AddAssign, sync::Arc};

use serde::Serialize;

use super::Generator;
use crate::{
    Error, Gpu, Result,
    graph::{Pool, Program, ProgramOptions, Programs, Targets, Value},
    kernels::Step,
    model::{BatchShape, Layers, Limits, Model, TokenModel},
    ranks::{Ranks, complete, is_own},
    text::{Batch, BatchSize, Buckets, Example},
};

/// Pairs scored at once, where memory allows it.
const ROWS: usize = 64;
/// The most logits of a batch, 64 MiB of them: half of what a binding holds on common drivers.
const LOGITS: usize = 1 << 24;
/// Pairs whose results are kept back, so that they are scored by length and come in their order.
const WINDOW: usize = 1_024;

/// The likelihood of one target, or several, under a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Likelihood {
    /// The natural logarithm of the probability of all tokens.
    pub log_probability: f64,
    /// Target tokens, the `<eos>` of each target included.
    pub tokens: usize,
}

impl Likelihood {
    /// Of a target, from the logarithms of its tokens' probabilities ([`Scorer::score_tokens`]).
    pub fn of(tokens: &[f32]) -> Self {
        Self { log_probability: tokens.iter().map(|x| f64::from(*x)).sum(), tokens: tokens.len() }
    }

    /// The inverse of the tokens' probability, by geometric mean; 1 without tokens.
    pub fn perplexity(&self) -> f64 {
        (-self.log_probability / self.tokens.max(1) as f64).exp()
    }

    /// The mean of -log2 of the tokens' probabilities.
    pub fn bits_per_token(&self) -> f64 {
        self.bits() / self.tokens.max(1) as f64
    }

    /// -log2 of the probability of all tokens: what the text takes when it is compressed by the model.
    pub fn bits(&self) -> f64 {
        -self.log_probability / std::f64::consts::LN_2
    }
}

impl AddAssign for Likelihood {
    fn add_assign(&mut self, other: Self) {
        self.log_probability += other.log_probability;
        self.tokens += other.tokens;
    }
}

/// Scores pairs with the parameters of its models as they are at the time of the call.
pub struct Scorer {
    gpu: Gpu,
    members: Vec<TokenModel>,
    limits: Limits,
    pool: Pool,
    /// By member and shape.
    programs: Programs<(usize, BatchShape), (Program, Value)>,
    ranks: Option<Arc<dyn Ranks>>,
}

/// Examples in batches, which can be scored again and again.
#[derive(Clone, Debug)]
pub struct ScoringBatches {
    windows: Vec<Window>,
}

/// Examples whose results come together, in their order.
#[derive(Clone, Debug)]
struct Window {
    batches: Vec<Batch>,
    /// Tokens of each example that are predicted.
    tokens: Vec<usize>,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scorer").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl Generator {
    /// A scorer for the same models together: by the mean of their probabilities, which the search goes by; among the same ranks.
    /// Feature `text`.
    pub fn scorer(&self) -> Scorer {
        let (gpu, members, limits, ranks) = (self.gpu.clone(), self.members.clone(), self.limits, self.ranks.clone());
        Scorer { gpu, members, limits, pool: Pool::default(), programs: Programs::default(), ranks }
    }
}

impl Scorer {
    /// A scorer for `model`; it shares the model's parameters.
    pub fn new(model: &Model) -> Self {
        Generator::new(model).scorer()
    }

    /// The likelihood of each example's target, given its source; without dropout and label smoothing.
    ///
    /// The same examples again need no new Programs.
    ///
    /// # Errors
    /// [`Error::Data`] for an example without a source, or with a token that the model does not have; the errors of the device.
    pub fn score(&mut self, examples: &[Example]) -> Result<Vec<Likelihood>> {
        let mut all = Vec::with_capacity(examples.len());
        self.score_in_parts(examples, |part| {
            all.extend(part);
            Ok(())
        })?;
        Ok(all)
    }

    /// Scores like [`Scorer::score`], and hands over the results part by part, in the order of the examples.
    ///
    /// # Errors
    /// [`Error::Data`] for an example that cannot be scored; the errors of the device; the first error of `receive`.
    pub fn score_in_parts(
        &mut self,
        examples: &[Example],
        mut receive: impl FnMut(&[Likelihood]) -> Result<()>,
    ) -> Result<()> {
        self.score_tokens(examples, |part| {
            receive(&part.iter().map(|tokens| Likelihood::of(tokens)).collect::<Vec<_>>())
        })
    }

    /// Hands over, part by part and in the order of the examples, the logarithms of the probabilities of each target's tokens,
    /// its `<eos>` included.
    ///
    /// # Errors
    /// [`Error::Data`] for an example that cannot be scored; the errors of the device; the first error of `receive`.
    pub fn score_tokens(
        &mut self,
        examples: &[Example],
        mut receive: impl FnMut(&[Vec<f32>]) -> Result<()>,
    ) -> Result<()> {
        let Some(buckets) = self.buckets(examples)? else { return Ok(()) };
        for window in examples.chunks(WINDOW) {
            let found = self.window(&Window::new(&buckets, window)?)?;
            receive(&found)?;
        }
        Ok(())
    }

    /// Batches of examples for [`Scorer::score_batches`], in the order and the shapes of [`Scorer::score`].
    ///
    /// # Errors
    /// [`Error::Data`] as [`Scorer::score`].
    pub fn batches(&self, examples: &[Example]) -> Result<ScoringBatches> {
        let Some(buckets) = self.buckets(examples)? else { return Ok(ScoringBatches { windows: Vec::new() }) };
        let windows = examples.chunks(WINDOW).map(|window| Window::new(&buckets, window));
        Ok(ScoringBatches { windows: windows.collect::<Result<_>>()? })
    }

    /// The likelihood of each example's target, for examples that are in batches already.
    ///
    /// # Errors
    /// The errors of the device.
    pub fn score_batches(&mut self, batches: &ScoringBatches) -> Result<Vec<Likelihood>> {
        let windows = batches.windows.iter().map(|window| self.window(window));
        let tokens = windows.collect::<Result<Vec<_>>>()?;
        Ok(tokens.iter().flatten().map(|tokens| Likelihood::of(tokens)).collect())
    }

    /// Checks the examples and chooses the shapes of their batches; none without examples.
    fn buckets(&self, examples: &[Example]) -> Result<Option<Buckets>> {
        let limits = self.limits;
        for (example, number) in examples.iter().zip(1..) {
            let known = |tokens: &[u32], size| tokens.iter().all(|token| (*token as usize) < size);
            let fits = known(&example.source, limits.source_vocabulary)
                && known(&example.target, limits.target_vocabulary)
                && example.source.is_empty() != limits.reads_source();
            if !fits {
                let message = format!(
                    "pair {number} has a source where the model reads none, or none where it does, or a token that the model does \
                     not have; encode it with its tokenizers"
                );
                return Err(Error::data("score", message));
            }
        }
        let Some(longest) = examples.iter().map(Example::predicted).max() else { return Ok(None) };
        let rows = (LOGITS / (longest * limits.target_vocabulary)).clamp(1, ROWS);
        let buckets = Buckets::new(examples, BatchSize::Sentences(rows), 2)?;
        Ok(Some(buckets.with_specials(limits.specials, limits.padding)))
    }

    fn window(&mut self, window: &Window) -> Result<Vec<Vec<f32>>> {
        let mut found: Vec<(usize, Vec<u32>)> = Vec::with_capacity(window.tokens.len());
        let ranks = self.ranks.clone();
        let batches = window.batches.iter().enumerate();
        for (_, batch) in batches.filter(|(number, _)| is_own(ranks.as_deref(), *number)) {
            let logarithms = self.logarithms(batch)?;
            let (steps, padding) = (batch.shape.target, self.limits.padding);
            let rows = logarithms.chunks(steps).zip(batch.target_out.chunks(steps));
            for (index, (logarithms, targets)) in batch.indices.iter().zip(rows) {
                let place = index.and_then(|index| Some((index, *window.tokens.get(index)?)));
                let Some((index, tokens)) = place else { continue };
                // An encoder may be asked for tokens here and there.
                let wanted = logarithms.iter().zip(targets).take(tokens).filter(|(_, token)| **token != padding);
                // By their bits, which JSON has for every number.
                found.push((index, wanted.map(|(logarithm, _)| logarithm.to_bits()).collect()));
            }
        }
        let mut all = vec![Vec::new(); window.tokens.len()];
        for (index, bits) in complete(ranks.as_deref(), found)? {
            let logarithms = bits.into_iter().map(f32::from_bits).collect();
            all.get_mut(index).into_iter().for_each(|place| *place = Vec::clone(&logarithms));
        }
        Ok(all)
    }

    /// log p of each token of a batch, `[B, T]`; 0 for padding.
    fn logarithms(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let all: Vec<_> = (0..self.members.len()).map(|member| self.losses(member, batch)).collect::<Result<_>>()?;
        let mean = |at: usize| {
            let losses = || all.iter().filter_map(|losses| losses.get(at)).map(|loss| f64::from(*loss));
            let least = losses().fold(f64::INFINITY, f64::min);
            (losses().map(|loss| (least - loss).exp()).sum::<f64>() / all.len() as f64).ln() - least
        };
        match all.as_slice() {
            [losses] => Ok(losses.iter().map(|loss| -loss).collect()),
            _ => Ok((0..batch.shape.rows * batch.shape.target).map(|at| mean(at) as f32).collect()),
        }
    }

    /// -log p of each token of a batch under one model, `[B, T]`; 0 for padding.
    fn losses(&mut self, member: usize, batch: &Batch) -> Result<Vec<f32>> {
        let Self { gpu, members, limits, pool, programs, .. } = self;
        let Some(TokenModel { network, parameters, .. }) = members.get(member) else {
            return Err(Error::data("score", format!("there is no model {member}")));
        };
        let (program, losses) = programs.get_or_compile((member, batch.shape), |(_, shape)| {
            let mut layers = Layers::new();
            let forward = network.forward(&mut layers, *shape)?;
            let targets = Targets::new(forward.targets, limits.padding);
            let losses = layers.graph.token_losses(forward.logits, targets)?;
            let options = ProgramOptions {
                label: format!("score {shape}"),
                parameters: Some(parameters),
                outputs: &[losses],
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            Ok((Program::compile(gpu, &layers.graph, &options)?, losses))
        })?;
        program.stage(batch)?;
        program.run(Step::default())?;
        program.read(*losses)
    }
}

impl Window {
    fn new(buckets: &Buckets, examples: &[Example]) -> Result<Self> {
        let part = Buckets::like(buckets, examples, 2)?;
        let batches = part.in_order().iter().map(|plan| part.batch(plan)).collect();
        Ok(Self { batches, tokens: examples.iter().map(Example::predicted).collect() })
    }
}
