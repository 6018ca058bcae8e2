//! Answers that one forward pass gives, without a search: classes, parts of sources, and masked tokens.

use super::{
    Generator, Hypothesis, SearchOptions,
    choices::{Choice, combined},
    decoder::Waiting,
    generator::SENTENCES,
    spans::{paragraph, spans},
};
use crate::{
    Error, Result,
    batch::{Batch, BatchShape},
    gpu::ELEMENT,
    graph::{Program, ProgramOptions, Value},
    kernels::Step,
    model::{Answers, Layers, Limits, TokenModel},
    ranks::is_own,
};

/// Batches' lengths are multiples of this.
const WIDTH: usize = 8;

/// What is read for a source.
struct Reading<'a> {
    source: &'a [u32],
    /// The places of the target that are looked at,
    places: Vec<usize>,
    /// and the number of choices at each of them.
    choices: usize,
}

impl Generator {
    /// The likeliest answers to each source, the best first.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that has no such answer, and for options that make no sense here; the errors of the device.
    pub(super) async fn read(
        &mut self,
        sources: &[Vec<u32>],
        prefixes: &[Vec<u32>],
        options: &SearchOptions,
        waiting: Waiting,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        if options.sampling.is_some() || prefixes.iter().any(|prefix| !prefix.is_empty()) {
            let message =
                "this model's answers are no texts that it writes: they are not drawn at random, and have no prefix";
            return Err(Error::data("generate", message));
        }
        let mut readings = Vec::with_capacity(sources.len());
        for (source, number) in sources.iter().zip(1..) {
            readings.push((number, self.reading(source, number)?));
        }
        readings.sort_by_key(|(_, reading)| reading.source.len());
        let mut results = Vec::with_capacity(sources.len());
        let groups = readings.chunks(self.most_read()).enumerate();
        let ranks = self.ranks.clone();
        for (_, group) in groups.filter(|(number, _)| is_own(ranks.as_deref(), *number)) {
            let found = self.log_probabilities(group, waiting).await?;
            let answers = group.iter().zip(found);
            results
                .extend(answers.map(|((number, reading), found)| (number - 1, self.answer(reading, &found, options))));
        }
        self.in_order(results, sources.len())
    }

    /// What is to be read for source `number`.
    fn reading<'a>(&self, source: &'a [u32], number: usize) -> Result<Reading<'a>> {
        let Limits { target_vocabulary, specials, .. } = self.limits;
        match self.answers() {
            Answers::Filled { mask } => {
                let masked = source.iter().zip(0..).filter(|(token, _)| **token == mask);
                Ok(Reading { source, places: masked.map(|(_, place)| place).collect(), choices: target_vocabulary })
            }
            Answers::Spans if paragraph(source, specials.eos).is_none() => {
                let message =
                    format!("source {number} has no `<eos>` between a question and a paragraph to find the answer in");
                Err(Error::data("generate", message))
            }
            Answers::Spans => Ok(Reading { source, places: vec![0, 1], choices: source.len() }),
            _ => Ok(Reading { source, places: vec![0], choices: target_vocabulary }),
        }
    }

    /// The most sources whose logits fit into a binding.
    fn most_read(&self) -> usize {
        let Limits { target_vocabulary, max_length, .. } = self.limits;
        let each = self.targets(max_length) * target_vocabulary;
        let binding = self.gpu.limits().max_storage_buffer_binding_size;
        SENTENCES.into_iter().find(|rows| (rows * each) as u64 * ELEMENT <= binding).unwrap_or(1)
    }

    /// The places of targets, for sources of so many steps.
    fn targets(&self, steps: usize) -> usize {
        match self.answers() {
            Answers::Filled { .. } => steps,
            Answers::Spans => 2,
            _ => 1,
        }
    }

    /// The answers to a source, by the logarithms of the probabilities at the places that were looked at.
    fn answer(&self, reading: &Reading<'_>, found: &[Vec<f64>], options: &SearchOptions) -> Vec<Hypothesis> {
        let Limits { specials, .. } = self.limits;
        match (self.answers(), found) {
            (Answers::Spans, [first, last]) => paragraph(reading.source, specials.eos)
                .map(|range| spans([first, last], range, options))
                .unwrap_or_default(),
            (Answers::Filled { mask }, found) => {
                let never = [specials.pad, specials.bos, specials.eos, specials.unk, mask];
                let choices = combined(found, &never, options.n_best).into_iter();
                let filled = |Choice { tokens, score }: Choice| {
                    let mut text = reading.source.to_vec();
                    for (place, token) in reading.places.iter().zip(tokens) {
                        text.get_mut(*place).into_iter().for_each(|masked| *masked = token);
                    }
                    Hypothesis { tokens: text, score: score as f32, finished: true, attended: Vec::new() }
                };
                choices.map(filled).collect()
            }
            (_, found) => {
                let choices = combined(found, &[], options.n_best).into_iter();
                // The special tokens before the names of classes are as good as impossible, and are no answers.
                let classes = choices.filter(|choice| choice.score > IMPOSSIBLE);
                let class = |Choice { tokens, score }: Choice| Hypothesis {
                    tokens,
                    score: score as f32,
                    finished: true,
                    attended: Vec::new(),
                };
                classes.map(class).collect()
            }
        }
    }

    /// The logarithms of the probabilities of the choices at each place that is looked at, by the mean of the models' probabilities.
    async fn log_probabilities(
        &mut self,
        readings: &[(usize, Reading<'_>)],
        waiting: Waiting,
    ) -> Result<Vec<Vec<Vec<f64>>>> {
        let longest = readings.iter().map(|(_, reading)| reading.source.len()).max().unwrap_or(1);
        let rows = SENTENCES.into_iter().rev().find(|rows| readings.len() <= *rows).unwrap_or(SENTENCES[0]);
        let steps = longest.next_multiple_of(WIDTH).min(self.limits.max_length.max(longest));
        let target = self.targets(steps);
        let mut batch = Batch::filler(BatchShape { rows, source: steps, target }, self.limits.specials);
        readings.iter().enumerate().for_each(|(row, (_, reading))| batch.put_source(row, reading.source));
        let empty = |(_, reading): &(usize, Reading<'_>)| vec![vec![0.0; reading.choices]; reading.places.len()];
        let mut sums: Vec<Vec<Vec<f64>>> = readings.iter().map(empty).collect();
        let members = self.members.len();
        for member in 0..members {
            let (program, logits) = self.reader(member, &batch)?;
            let logits: Vec<f32> = match waiting {
                Waiting::Blocking => program.read(logits)?,
                Waiting::Yielding => program.read_async(logits).await?,
            };
            let width = logits.len() / (rows * target);
            for ((row, (_, reading)), sums) in readings.iter().enumerate().zip(&mut sums) {
                for (place, sum) in reading.places.iter().zip(sums) {
                    let from = (row * target + place) * width;
                    add_softmax(sum, logits.get(from..from + width).unwrap_or_default(), members as f64);
                }
            }
        }
        sums.iter_mut().flatten().flatten().for_each(|probability| *probability = probability.ln());
        Ok(sums)
    }

    /// The Program that reads with a member, run, and its value for the logits.
    fn reader(&mut self, member: usize, batch: &Batch) -> Result<(&Program, Value)> {
        let Self { gpu, members, pool, readers, .. } = self;
        let Some(TokenModel { network, parameters, .. }) = members.get(member) else {
            return Err(Error::data("generate", format!("there is no model {member}")));
        };
        let (program, logits) = readers.get_or_compile((member, batch.shape), |(_, shape)| {
            let mut layers = Layers::new();
            let logits = network.forward(&mut layers, *shape)?.logits;
            let options = ProgramOptions {
                label: format!("read {shape}"),
                parameters: Some(parameters),
                outputs: &[logits],
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            Ok((Program::compile(gpu, &layers.graph, &options)?, logits))
        })?;
        program.stage(batch)?;
        program.run(Step::default())?;
        Ok((program, *logits))
    }
}

/// No class has so small a probability's logarithm.
const IMPOSSIBLE: f64 = -1e3;

/// Adds to each place its share of the softmax of as many logits, over a number of models.
fn add_softmax(sum: &mut [f64], logits: &[f32], members: f64) {
    let logits = || logits.iter().take(sum.len()).map(|logit| f64::from(*logit));
    let most = logits().fold(f64::NEG_INFINITY, f64::max);
    let all: f64 = logits().map(|logit| (logit - most).exp()).sum();
    let shares: Vec<f64> = logits().map(|logit| (logit - most).exp() / all / members).collect();
    sum.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
}
