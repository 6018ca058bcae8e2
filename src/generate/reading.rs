//! Answers that are parts of their sources, by the models that tell where these begin and end: of all parts of a paragraph the likeliest
//! (Devlin et al., "BERT", 2019, section 4.2).

use std::ops::Range;

use super::{Generator, Hypothesis, SearchOptions, decoder::Waiting, generator::SENTENCES};
use crate::{
    Error, Result,
    batch::{Batch, BatchShape},
    graph::{Program, ProgramOptions, Value},
    kernels::Step,
    model::{Layers, TokenModel},
};

/// Batches' lengths are multiples of this.
const WIDTH: usize = 8;
/// The places that are asked for: the first token of an answer, and the last.
const ENDS: usize = 2;

impl Generator {
    /// The likeliest parts of each source's paragraph, the best first.
    ///
    /// # Errors
    /// [`Error::Data`] for a source without a paragraph, and for options that make no sense here; the errors of the device.
    pub(super) async fn read_spans(
        &mut self,
        sources: &[Vec<u32>],
        prefixes: &[Vec<u32>],
        options: &SearchOptions,
        waiting: Waiting,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        if options.sampling.is_some() || prefixes.iter().any(|prefix| !prefix.is_empty()) {
            let message =
                "the answers of this model are parts of the sources: they are not drawn at random, and have no prefix";
            return Err(Error::data("generate", message));
        }
        let eos = self.limits.specials.eos;
        let paragraphs = sources.iter().zip(1..).map(|(source, number)| {
            paragraph(source, eos).ok_or_else(|| {
                let message =
                    format!("source {number} has no `<eos>` between a question and a paragraph to find the answer in");
                Error::data("generate", message)
            })
        });
        let paragraphs = paragraphs.collect::<Result<Vec<_>>>()?;
        let mut order: Vec<_> = sources.iter().zip(paragraphs).enumerate().collect();
        order.sort_by_key(|(_, (source, _))| source.len());
        let mut results = vec![Vec::new(); sources.len()];
        for group in order.chunks(SENTENCES[0]) {
            let texts: Vec<&[u32]> = group.iter().map(|(_, (source, _))| source.as_slice()).collect();
            let ends = self.ends(&texts, waiting).await?;
            for ((index, (_, paragraph)), ends) in group.iter().zip(ends) {
                if let Some(result) = results.get_mut(*index) {
                    *result = likeliest(&ends, paragraph.clone(), options);
                }
            }
        }
        Ok(results)
    }

    /// The logarithms of the probabilities that an answer begins, and that it ends, at each token of each source: by the mean of the
    /// models' probabilities.
    async fn ends(&mut self, sources: &[&[u32]], waiting: Waiting) -> Result<Vec<[Vec<f64>; ENDS]>> {
        let longest = sources.iter().map(|source| source.len()).max().unwrap_or(1);
        let rows = SENTENCES.into_iter().rev().find(|rows| sources.len() <= *rows).unwrap_or(SENTENCES[0]);
        let steps = longest.next_multiple_of(WIDTH).min(self.limits.max_length.max(longest));
        let mut batch = Batch::filler(BatchShape { rows, source: steps, target: ENDS }, self.limits.specials);
        sources.iter().enumerate().for_each(|(row, source)| batch.put_source(row, source));
        let mut sums: Vec<[Vec<f64>; ENDS]> =
            sources.iter().map(|source| [(); ENDS].map(|()| vec![0.0; source.len()])).collect();
        for member in 0..self.members.len() {
            let (program, logits) = self.reader(member, &batch)?;
            let logits: Vec<f32> = match waiting {
                Waiting::Blocking => program.read(logits)?,
                Waiting::Yielding => program.read_async(logits).await?,
            };
            let members = self.members.len() as f64;
            let rows = sums.iter_mut().flatten();
            rows.zip(logits.chunks(steps)).for_each(|(sum, logits)| add_softmax(sum, logits, members));
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

/// The places of the second text of a source, behind the end of the first.
fn paragraph(source: &[u32], eos: u32) -> Option<Range<usize>> {
    let end = source.len().checked_sub(1)?;
    let between = source.iter().position(|token| *token == eos)?;
    // Some models have two of them there.
    let first = between + source.get(between..end)?.iter().take_while(|token| **token == eos).count();
    (first < end).then_some(first..end)
}

/// Adds to each place its share of the softmax of as many logits, over a number of models.
fn add_softmax(sum: &mut [f64], logits: &[f32], members: f64) {
    let logits = || logits.iter().take(sum.len()).map(|logit| f64::from(*logit));
    let most = logits().fold(f64::NEG_INFINITY, f64::max);
    let all: f64 = logits().map(|logit| (logit - most).exp()).sum();
    let shares: Vec<f64> = logits().map(|logit| (logit - most).exp() / all / members).collect();
    sum.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
}

/// The likeliest parts within the paragraph, of the lengths that the options allow.
fn likeliest([first, last]: &[Vec<f64>; ENDS], paragraph: Range<usize>, options: &SearchOptions) -> Vec<Hypothesis> {
    // An end token would count there as well.
    let longest = options.max_length.map_or(usize::MAX, |most| most.saturating_sub(1));
    let (from, to) = (paragraph.start, paragraph.end);
    let ends =
        |start: usize| start.saturating_add(options.min_length.max(1) - 1)..start.saturating_add(longest).min(to);
    let spans = (from..to).flat_map(|start| ends(start).map(move |end| (start, end)));
    let score = |(start, end): (usize, usize)| Some((*first.get(start)? + *last.get(end)?, start, end));
    let mut found: Vec<_> = spans.filter_map(score).collect();
    let better = |one: &(f64, usize, usize), other: &(f64, usize, usize)| other.0.total_cmp(&one.0);
    if found.len() > options.n_best {
        found.select_nth_unstable_by(options.n_best, better);
        found.truncate(options.n_best);
    }
    found.sort_by(better);
    let hypothesis = |(score, start, end): (f64, usize, usize)| {
        let tokens = vec![start as u32, end as u32];
        Hypothesis { attended: tokens.clone(), tokens, score: score as f32, finished: true }
    };
    found.into_iter().map(hypothesis).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(options: &SearchOptions) -> Vec<Vec<u32>> {
        let first = [0.9, 0.1, 0.2, 0.6, 0.3, 0.9].map(f64::ln).to_vec();
        let last = [0.9, 0.8, 0.5, 0.1, 0.4, 0.9].map(f64::ln).to_vec();
        likeliest(&[first, last], 1..5, options).into_iter().map(|one| one.tokens).collect()
    }

    #[test]
    fn answers_are_parts_of_the_paragraph() {
        // The likeliest first place is 3, and the likeliest last one is 1, which lies before it.
        assert_eq!(found(&SearchOptions::default()), [[3, 4]]);
        let many = SearchOptions { n_best: 64, ..SearchOptions::beam(64) };
        assert_eq!(found(&many).len(), 4 + 3 + 2 + 1);
        assert_eq!(found(&many)[..3], [[3, 4], [4, 4], [2, 2]]);
        let short = SearchOptions { max_length: Some(2), ..many.clone() };
        assert_eq!(found(&short), [[4, 4], [2, 2], [1, 1], [3, 3]]);
        let long = SearchOptions { min_length: 3, ..many };
        assert_eq!(found(&long), [[2, 4], [1, 4], [1, 3]]);
    }

    #[test]
    fn paragraphs_are_behind_the_end_of_questions() {
        assert_eq!(paragraph(&[1, 9, 2, 8, 7, 2], 2), Some(3..5));
        assert_eq!(paragraph(&[1, 9, 2, 2, 8, 7, 2], 2), Some(4..6));
        for none in [&[1, 9, 8, 2][..], &[1, 9, 2, 2], &[2], &[]] {
            assert_eq!(paragraph(none, 2), None, "{none:?}");
        }
    }
}
