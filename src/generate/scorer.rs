//! Log-probabilities of given targets, by teacher forcing on the device.

use std::{collections::HashMap, ops::AddAssign};

use serde::Serialize;

use crate::{
    Error, Gpu, Result,
    graph::{Parameters, Pool, Program, ProgramOptions, Value},
    kernels::Step,
    model::{Model, Seq2Seq},
    text::{Batch, BatchSize, Buckets, Example},
};

/// Pairs scored at once, where memory allows it.
const ROWS: usize = 64;
/// The most logits of a batch, 64 MiB of them: half of what a binding holds on common drivers.
const LOGITS: usize = 1 << 24;
/// Pairs whose results are kept back, so that they are scored by length and come in their order.
const WINDOW: usize = 1_024;

/// How likely a model finds one target, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Likelihood {
    /// The natural logarithm of the probability of all tokens.
    pub log_probability: f64,
    /// Target tokens, the `<eos>` of each target included.
    pub tokens: usize,
}

impl Likelihood {
    /// The inverse of the tokens' probability, by geometric mean; 1 without tokens.
    pub fn perplexity(&self) -> f64 {
        (-self.log_probability / self.tokens.max(1) as f64).exp()
    }

    /// The mean of -log2 of the tokens' probabilities.
    pub fn bits_per_token(&self) -> f64 {
        -self.log_probability / self.tokens.max(1) as f64 / std::f64::consts::LN_2
    }
}

impl AddAssign for Likelihood {
    fn add_assign(&mut self, other: Self) {
        self.log_probability += other.log_probability;
        self.tokens += other.tokens;
    }
}

/// Scores pairs with a model's parameters as they are at the time of the call.
pub struct Scorer {
    gpu: Gpu,
    network: Seq2Seq,
    parameters: Parameters,
    pool: Pool,
    programs: HashMap<[usize; 3], (Program, Value)>,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scorer").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Scorer {
    /// A scorer for `model`; it shares the model's parameters.
    pub fn new(model: &Model) -> Self {
        Self {
            gpu: model.gpu.clone(),
            network: model.network.clone(),
            parameters: model.parameters.clone(),
            pool: Pool::default(),
            programs: HashMap::new(),
        }
    }

    /// How likely the target of each example is, given its source; without dropout and label smoothing.
    ///
    /// The same examples again need no new Programs.
    ///
    /// # Errors
    /// [`Error::Data`] for an example without a source, or with a token that the model does not have; what the device
    /// reports.
    pub fn score(&mut self, examples: &[Example]) -> Result<Vec<Likelihood>> {
        let mut all = Vec::with_capacity(examples.len());
        self.score_in_parts(examples, |part| {
            all.extend(part);
            Ok(())
        })?;
        Ok(all)
    }

    /// As [`Scorer::score`], but hands over the results part by part, in the order of the examples.
    ///
    /// # Errors
    /// As [`Scorer::score`], and the first error of `receive`.
    pub fn score_in_parts(
        &mut self,
        examples: &[Example],
        mut receive: impl FnMut(&[Likelihood]) -> Result<()>,
    ) -> Result<()> {
        let config = self.network.config();
        for (example, number) in examples.iter().zip(1..) {
            let known = |tokens: &[u32], size| tokens.iter().all(|token| (*token as usize) < size);
            let fits = known(&example.source, config.source_vocabulary)
                && known(&example.target, config.target_vocabulary)
                && !example.source.is_empty();
            if !fits {
                let message = format!(
                    "pair {number} has no source, or a token that the model does not have; encode it with its tokenizers"
                );
                return Err(Error::data("score", message));
            }
        }
        let Some(longest) = examples.iter().map(|example| example.target.len() + 1).max() else { return Ok(()) };
        let rows = (LOGITS / (longest * config.target_vocabulary)).clamp(1, ROWS);
        let buckets = Buckets::new(examples, BatchSize::Sentences(rows), 2)?;
        let shapes = buckets.shapes();
        self.programs.retain(|[_, source, target], _| shapes.contains(&(*source, *target)));
        for window in examples.chunks(WINDOW) {
            let part = Buckets::like(&buckets, window, 2)?;
            let mut found = vec![Likelihood::default(); window.len()];
            for plan in part.in_order() {
                let batch = part.batch(&plan);
                let losses = self.losses(&batch)?;
                for (index, losses) in batch.indices.iter().zip(losses.chunks(batch.target_steps)) {
                    let place = index.and_then(|index| window.get(index).zip(found.get_mut(index)));
                    let Some((example, found)) = place else { continue };
                    let tokens = example.target.len() + 1;
                    let loss: f64 = losses.iter().take(tokens).map(|loss| f64::from(*loss)).sum();
                    *found = Likelihood { log_probability: -loss, tokens };
                }
            }
            receive(&found)?;
        }
        Ok(())
    }

    /// -log p of each token of a batch, `[B, T]`; 0 for padding.
    fn losses(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let shape = [batch.rows, batch.source_steps, batch.target_steps];
        if !self.programs.contains_key(&shape) {
            let (graph, losses) = self.network.scoring_graph(shape)?;
            let options = ProgramOptions {
                label: format!("score {shape:?}"),
                parameters: Some(&self.parameters),
                outputs: &[losses],
                pool: self.pool.clone(),
                ..ProgramOptions::default()
            };
            self.programs.insert(shape, (Program::compile(&self.gpu, &graph, &options)?, losses));
        }
        let Some((program, losses)) = self.programs.get_mut(&shape) else { unreachable!("it was just made") };
        program.write("source", &batch.source)?;
        program.write("lengths", &batch.lengths)?;
        program.write("target_in", &batch.target_in)?;
        program.write("target_out", &batch.target_out)?;
        program.run(Step::default())?;
        program.read(*losses)
    }
}
