//! Texts for sources, by beam search on the device; greedy search is a beam of one.

use std::collections::HashMap;

use super::{SearchOptions, decoder::Decoder};
use crate::{
    Error, Gpu, Result,
    graph::{Parameters, Pool, Program, ProgramOptions, Value},
    kernels::{Step, beam_search::WIDEST},
    model::{Model, Seq2Seq},
    text::BOS,
};

/// Sentences decoded at once.
const SENTENCES: usize = 64;

/// One text that the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Target tokens, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// The sum of the tokens' log-probabilities, `<eos>` included.
    pub score: f32,
    /// Whether it ended with `<eos>` rather than at the longest length.
    pub finished: bool,
}

/// Decodes with a model's parameters as they are at the time of the call.
pub struct Generator {
    gpu: Gpu,
    network: Seq2Seq,
    parameters: Parameters,
    pool: Pool,
    decoders: HashMap<[usize; 3], Decoder>,
    aligners: HashMap<(usize, usize), (Program, Value)>,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Generator {
    /// A generator for `model`; it shares the model's parameters.
    pub fn new(model: &Model) -> Self {
        Self {
            gpu: model.gpu.clone(),
            network: model.network.clone(),
            parameters: model.parameters.clone(),
            pool: Pool::default(),
            decoders: HashMap::new(),
            aligners: HashMap::new(),
        }
    }

    /// The best `beam` hypotheses for each source (tokens that end in `<eos>`), best first, in the order of the sources.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that is empty, longer than the model's `max_length` or not of its vocabulary; [`Error::Shape`] for a beam
    /// of 0 or more than 16; what the device reports.
    pub fn generate(&mut self, sources: &[Vec<u32>], options: &SearchOptions) -> Result<Vec<Vec<Hypothesis>>> {
        let SearchOptions { beam } = *options;
        if !(1..=WIDEST).contains(&beam) {
            return Err(Error::Shape {
                operation: "generate",
                argument: "beam",
                wanted: format!("1 to {WIDEST}"),
                got: beam.to_string(),
            });
        }
        let longest = self.network.config().max_length;
        for (index, source) in sources.iter().enumerate() {
            if source.is_empty() || source.len() > longest {
                let message = format!(
                    "source {} has {} tokens with its <eos>; this model takes 1 to {longest}. Shorten it, or train with a larger --max-length",
                    index + 1,
                    source.len()
                );
                return Err(Error::data("generate", message));
            }
            let vocabulary = self.network.config().source_vocabulary;
            if let Some(token) = source.iter().find(|token| **token as usize >= vocabulary) {
                let message = format!("source {} holds token {token}; this model has {vocabulary}", index + 1);
                return Err(Error::data("generate", message));
            }
        }
        // Sorted by length, so that sentences decoded together need about the same number of steps.
        let mut order: Vec<_> = (0..sources.len()).collect();
        order.sort_by_key(|index| sources[*index].len());
        let mut results = vec![Vec::new(); sources.len()];
        for group in order.chunks(SENTENCES) {
            let rows: Vec<&[u32]> = group.iter().map(|index| sources[*index].as_slice()).collect();
            for (index, hypotheses) in group.iter().zip(self.group(&rows, beam)?) {
                results[*index] = hypotheses;
            }
        }
        Ok(results)
    }

    fn group(&mut self, sources: &[&[u32]], beam: usize) -> Result<Vec<Vec<Hypothesis>>> {
        let longest = sources.iter().map(|source| source.len()).max().unwrap_or(1);
        // Few shapes, so that few Programs are made: a handful of row counts, lengths in steps of four.
        let sentences = [1, 8, SENTENCES].into_iter().find(|rows| sources.len() <= *rows).unwrap_or(SENTENCES);
        let steps = longest.next_multiple_of(4);
        let key = [sentences, steps, beam];
        if !self.decoders.contains_key(&key) {
            let decoder = Decoder::new(&self.gpu, &self.network, &self.parameters, &self.pool, key)?;
            self.decoders.insert(key, decoder);
        }
        let Some(decoder) = self.decoders.get_mut(&key) else { unreachable!("it was just made") };
        decoder.run(sources, steps)
    }

    /// The alignment weights `[T, S]` of one source and target under teacher forcing, `T` counting the final `<eos>`.
    ///
    /// # Errors
    /// What compiling or the device reports.
    pub fn alignment(&mut self, source: &[u32], target: &[u32]) -> Result<Vec<f32>> {
        let key = (source.len(), target.len() + 1);
        if !self.aligners.contains_key(&key) {
            let aligner = self.network.alignment_graph(key.0, key.1)?;
            let options = ProgramOptions {
                label: "align".into(),
                parameters: Some(&self.parameters),
                outputs: &[aligner.1],
                pool: self.pool.clone(),
                ..ProgramOptions::default()
            };
            self.aligners.insert(key, (Program::compile(&self.gpu, &aligner.0, &options)?, aligner.1));
        }
        let Some((program, weights)) = self.aligners.get_mut(&key) else { unreachable!("it was just made") };
        program.write("source", source)?;
        program.write("lengths", &[source.len() as u32])?;
        let target_in: Vec<u32> = std::iter::once(BOS).chain(target.iter().copied()).collect();
        program.write("target_in", &target_in)?;
        program.run(Step::default())?;
        program.read(*weights)
    }
}
