//! Beam search on the device; greedy search is a beam of one. The host only reads a flag now and then, and the history
//! at the end.

use std::collections::HashMap;

use crate::{
    Error, Gpu, Result, Tensor,
    gpu::Dtype,
    graph::{Parameters, Pool, Program, ProgramOptions, Value},
    kernels::{
        Step,
        beam_search::{BeamSearch, BeamState, WIDEST},
        embedding::Embedding,
    },
    model::{Model, Seq2Seq},
    text::{BOS, EOS, PAD},
};

/// Steps between two looks at the flag that says whether all rows have finished.
const STEPS_PER_LOOK: usize = 16;

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
    decoders: HashMap<(usize, usize, usize), Decoder>,
    aligners: HashMap<(usize, usize), (Program, Value)>,
}

/// The Programs for one number of sentences, source length and beam, and the memory between them.
struct Decoder {
    encode: Program,
    step: Program,
    lengths: Tensor,
    search: BeamSearch,
    state: BeamState,
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
    pub fn generate(&mut self, sources: &[Vec<u32>], beam: usize) -> Result<Vec<Vec<Hypothesis>>> {
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
        // Few shapes, so that few Programs are made: a handful of row counts, lengths in steps of eight.
        let sentences = [1, 8, SENTENCES].into_iter().find(|rows| sources.len() <= *rows).unwrap_or(SENTENCES);
        let steps = longest.next_multiple_of(8);
        let key = (sentences, steps, beam);
        if !self.decoders.contains_key(&key) {
            let decoder = self.decoder(sentences, steps, beam)?;
            self.decoders.insert(key, decoder);
        }
        let gpu = self.gpu.clone();
        let capacity = self.network.config().max_length;
        let Some(decoder) = self.decoders.get_mut(&key) else { unreachable!("it was just made") };
        let mut source = vec![PAD; sentences * steps];
        let mut lengths = vec![0_u32; sentences];
        for (row, tokens) in sources.iter().enumerate() {
            source[row * steps..][..tokens.len()].copy_from_slice(tokens);
            lengths[row] = tokens.len() as u32;
        }
        decoder.encode.write("source", &source)?;
        decoder.encode.write("lengths", &lengths)?;
        if beam > 1 {
            let rows: Vec<u32> = (0..(sentences * beam) as u32).map(|row| row / beam as u32).collect();
            decoder.encode.write("rows", &rows)?;
        }
        let row_lengths: Vec<u32> = lengths.iter().flat_map(|length| std::iter::repeat_n(*length, beam)).collect();
        gpu.write(&decoder.lengths, &row_lengths)?;
        decoder.reset(&gpu, sources.len(), beam)?;
        decoder.encode.run(Step::default())?;
        let mut done = 0;
        while done < capacity {
            let count = STEPS_PER_LOOK.min(capacity - done);
            for _ in 0..count {
                decoder.step.run(Step::default())?;
            }
            done += count;
            if gpu.read::<u32>(&decoder.state.all_finished)?[0] != 0 {
                break;
            }
        }
        decoder.hypotheses(&gpu, sources.len(), beam, done)
    }

    fn decoder(&self, sentences: usize, steps: usize, beam: usize) -> Result<Decoder> {
        let gpu = &self.gpu;
        let config = self.network.config();
        let rows = sentences * beam;
        let search = BeamSearch { sentences, beam, classes: config.target_vocabulary, capacity: config.max_length };
        let lengths = gpu.zeros("lengths", [rows], Dtype::U32)?;
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let annotation = tensor("annotation", &[rows, steps, 2 * config.hidden])?;
        let key = tensor("key", &[rows, steps, config.attention])?;
        let hidden = tensor("state", &[rows, config.hidden])?;
        let encoder = self.network.encoding_graph(sentences, steps, beam)?;
        let encode = Program::compile(
            gpu,
            &encoder.graph,
            &ProgramOptions {
                label: "encode".into(),
                parameters: Some(&self.parameters),
                given: &[
                    (encoder.annotation, annotation.clone()),
                    (encoder.key, key.clone()),
                    (encoder.state, hidden.clone()),
                ],
                pool: self.pool.clone(),
                ..ProgramOptions::default()
            },
        )?;
        let state = BeamState::new(gpu, &search)?;
        let scratch = gpu.zeros("beam scratch", [search.scratch()], Dtype::F32)?;
        let decoder = self.network.decoding_graph(rows, steps)?;
        let step = Program::compile_with(
            gpu,
            &decoder.graph,
            &ProgramOptions {
                label: "decode".into(),
                parameters: Some(&self.parameters),
                given: &[
                    (decoder.tokens, state.tokens.clone()),
                    (decoder.annotation, annotation),
                    (decoder.key, key),
                    (decoder.state, hidden.clone()),
                    (decoder.lengths, lengths.clone()),
                ],
                outputs: &[decoder.logits, decoder.next_state],
                pool: self.pool.clone(),
                ..ProgramOptions::default()
            },
            |recorder, finish| {
                search.record(recorder, finish.tensor(decoder.logits)?, &state, &scratch)?;
                // Each row goes on from the state of the hypothesis that it extends.
                let gather = Embedding { vocabulary: rows, size: config.hidden, tokens: rows };
                gather.record(recorder, finish.tensor(decoder.next_state)?, &state.parents, &hidden)
            },
        )?;
        Ok(Decoder { encode, step, lengths, search, state })
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

impl Decoder {
    /// One hypothesis per sentence to start from; rows behind the last sentence have finished already.
    fn reset(&self, gpu: &Gpu, sentences: usize, beam: usize) -> Result<()> {
        self.state.reset(gpu, &self.search)?;
        let rows = self.search.rows();
        let finished: Vec<u32> = (0..rows).map(|row| u32::from(row >= sentences * beam)).collect();
        gpu.write(&self.state.finished, &finished)
    }

    /// Follows each hypothesis back from its end.
    fn hypotheses(&self, gpu: &Gpu, sentences: usize, beam: usize, steps: usize) -> Result<Vec<Vec<Hypothesis>>> {
        let rows = self.state.scores.elements();
        let scores: Vec<f32> = gpu.read(&self.state.scores)?;
        let finished: Vec<u32> = gpu.read(&self.state.finished)?;
        let tokens: Vec<u32> = gpu.read(&self.state.history_tokens)?;
        let parents: Vec<u32> = gpu.read(&self.state.history_parents)?;
        let follow = |row: usize| {
            let (mut at, mut found) = (row, Vec::new());
            for step in (0..steps).rev() {
                found.push(tokens[step * rows + at]);
                at = parents[step * rows + at] as usize;
            }
            found.reverse();
            found.into_iter().take_while(|token| *token != EOS && *token != PAD).collect()
        };
        Ok((0..sentences)
            .map(|sentence| {
                (sentence * beam..(sentence + 1) * beam)
                    .filter(|row| scores[*row] > -1e29)
                    .map(|row| Hypothesis { tokens: follow(row), score: scores[row], finished: finished[row] != 0 })
                    .collect()
            })
            .collect())
    }
}
