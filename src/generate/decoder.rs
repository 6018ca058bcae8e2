//! The search of one group of sentences, recorded kernel by kernel: encoder and first steps in one submit, each further look's
//! worth of steps in another. The host reads what there is after each.

use super::Hypothesis;
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder, Recording},
    graph::{Parameters, Pool, Program, ProgramOptions},
    kernels::{
        Step,
        attentional_decoder::{DecoderStep, StepInputs, StepTensors, Tiles},
        beam_search::{BeamSearch, BeamState, Feed},
        gru::Weights,
        matmul::{self, Activation, Matmul, Matrix},
    },
    model::{DecoderParameters, Linear, Seq2Seq},
    text::{EOS, PAD},
};

/// Steps between two looks at whether all rows have finished.
pub(super) const STEPS_PER_LOOK: usize = 16;

/// A product of fewer rows costs what one of this many does: no tile is lower.
const LOWEST_TILE: usize = 8;

/// The Programs for one number of sentences, source length and beam, and the memory between them.
pub(super) struct Decoder {
    gpu: Gpu,
    first: Program,
    /// The further looks; none where the first one reaches the longest text.
    further: Option<Recording>,
    search: BeamSearch,
    state: BeamState,
    readback: wgpu::Buffer,
}

/// What a step reads and writes.
struct Memory {
    search: BeamSearch,
    state: BeamState,
    parameters: DecoderParameters,
    step: DecoderStep,
    tiles: Tiles,
    lengths: Tensor,
    annotation: Tensor,
    key: Tensor,
    /// Two of them, `[2, R, H]`.
    states: Tensor,
    /// `[R, H + V + E]`: state, context, word.
    features: Tensor,
    /// `[R, 3H]`, what the word contributes to the gates.
    gi: Tensor,
    /// The same for every word, `[W, 3H]`, where that is less work than the products of the words as they come.
    gi_of_words: Option<Tensor>,
    queries: Tensor,
    gates: Tensor,
    readout: Tensor,
    logits: Tensor,
    scratch: Tensor,
}

impl Memory {
    fn new(gpu: &Gpu, network: &Seq2Seq, parameters: &Parameters, [sentences, keys, beam]: [usize; 3]) -> Result<Self> {
        let config = network.config();
        let (word, hidden, size, classes) =
            (config.embedding, config.hidden, config.attention, config.target_vocabulary);
        let search = BeamSearch { sentences, beam, classes, capacity: config.max_length };
        let step = DecoderStep { batch: sentences, beam, keys, word, hidden, size, annotation: 2 * hidden };
        let rows = search.rows();
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let all_words = classes <= STEPS_PER_LOOK.min(search.capacity) * rows.max(LOWEST_TILE);
        Ok(Self {
            state: BeamState::new(gpu, &search)?,
            parameters: network.decoder_parameters(parameters)?,
            tiles: Tiles::of_step(gpu, &step),
            lengths: gpu.zeros("lengths", [sentences], Dtype::U32)?,
            annotation: tensor("annotation", &[sentences, keys, 2 * hidden])?,
            key: tensor("key", &[sentences, keys, size])?,
            states: tensor("states", &[2, rows, hidden])?,
            features: tensor("features", &[rows, config.features()])?,
            gi: tensor("word's gates", &[rows, 3 * hidden])?,
            gi_of_words: if all_words { Some(tensor("words' gates", &[classes, 3 * hidden])?) } else { None },
            queries: tensor("queries", &[rows, size])?,
            gates: tensor("gates", &[rows, 4 * hidden])?,
            readout: tensor("readout", &[rows, config.readout_size])?,
            logits: tensor("logits", &[rows, classes])?,
            scratch: tensor("candidates", &[search.scratch()])?,
            search,
            step,
        })
    }

    fn cell(&self) -> Weights<'_> {
        let [weight_ih, weight_hh, bias_ih, bias_hh] = &self.parameters.cell;
        Weights { weight_ih, weight_hh, bias_ih, bias_hh }
    }

    fn words(&self) -> Matrix<'_> {
        Matrix::rows(&self.features).offset(self.step.hidden + self.step.annotation)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.step.word,
            words: &self.parameters.words,
            word_rows: self.words(),
            gates: self.gi_of_words.as_ref().map(|table| (table, &self.gi)),
            hidden: self.step.hidden,
            states: &self.states,
        }
    }

    /// Where there is no table of all words' gates, those of the words just chosen.
    fn record_words(&self, recorder: &mut Recorder) -> Result<()> {
        match &self.gi_of_words {
            Some(_) => Ok(()),
            None => {
                let gi = Matrix::rows(&self.gi);
                self.step.record_words(recorder, self.search.rows(), &self.cell(), self.words(), gi)
            }
        }
    }

    fn record_start(&self, recorder: &mut Recorder, state0: &Tensor) -> Result<()> {
        if let Some(table) = &self.gi_of_words {
            let words = Matrix::rows(&self.parameters.words);
            let classes = self.search.classes;
            self.step.record_words(recorder, classes, &self.cell(), words, Matrix::rows(table))?;
        }
        self.search.record_start(recorder, &self.state, &self.lengths, state0, &self.feed())?;
        self.record_words(recorder)
    }

    /// Records `steps` steps and their count.
    fn record_look(&self, recorder: &mut Recorder, steps: usize) -> Result<()> {
        let inputs = StepInputs {
            key: &self.key,
            annotation: &self.annotation,
            lengths: &self.lengths,
            query_weight: &self.parameters.query_weight,
            energy: &self.parameters.energy,
            cell: self.cell(),
        };
        let after = self.search.rows() * self.step.hidden;
        for step in 0..steps {
            // A beam's states go back to the first place as they are chosen; a single hypothesis goes on from where it is.
            let (from, to) = if self.search.beam == 1 && step % 2 == 1 { (after, 0) } else { (0, after) };
            let tensors = StepTensors {
                gi: Matrix::rows(&self.gi),
                states: &self.states,
                from,
                to,
                queries: Matrix::rows(&self.queries),
                features: Matrix::rows(&self.features),
                weights: None,
                gates: &self.gates,
                gates_offset: 0,
            };
            self.step.record(recorder, &self.tiles, &inputs, &tensors)?;
            let mut top = &self.features;
            if let Some(readout) = &self.parameters.readout {
                linear(recorder, top, readout, Activation::Tanh, &self.readout)?;
                top = &self.readout;
            }
            linear(recorder, top, &self.parameters.output, Activation::None, &self.logits)?;
            self.search.record(recorder, &self.logits, &self.state, &self.scratch, step, &self.feed(), to)?;
            self.record_words(recorder)?;
        }
        self.search.record_count(recorder, &self.state, steps)
    }
}

fn linear(recorder: &mut Recorder, x: &Tensor, layer: &Linear, activation: Activation, y: &Tensor) -> Result<()> {
    let (m, n, k) = (y.shape().rows(), y.shape().last(), x.shape().last());
    let product = Matmul { m, n, k, batch: 1, transpose_b: true, activation, ..Matmul::default() };
    let tile = matmul::Tile::choose(recorder.gpu(), m);
    let [x, weight, y] = [x, &layer.weight, y].map(Matrix::rows);
    product.record(recorder, tile, x, weight, Some(&layer.bias), y)
}

impl Decoder {
    /// Compiles the search of `sentences` sources of up to `steps` tokens with a beam.
    pub(super) fn new(
        gpu: &Gpu,
        network: &Seq2Seq,
        parameters: &Parameters,
        pool: &Pool,
        [sentences, steps, beam]: [usize; 3],
    ) -> Result<Self> {
        let memory = Memory::new(gpu, network, parameters, [sentences, steps, beam])?;
        let capacity = memory.search.capacity;
        let encoder = network.encoding_graph(sentences, steps)?;
        let options = ProgramOptions {
            label: "generate".into(),
            parameters: Some(parameters),
            given: &[
                (encoder.annotation, memory.annotation.clone()),
                (encoder.key, memory.key.clone()),
                (encoder.lengths, memory.lengths.clone()),
            ],
            outputs: &[encoder.state],
            pool: pool.clone(),
            ..ProgramOptions::default()
        };
        let first = Program::compile_with(gpu, &encoder.graph, &options, |recorder, finish| {
            memory.record_start(recorder, finish.tensor(encoder.state)?)?;
            memory.record_look(recorder, STEPS_PER_LOOK.min(capacity))
        })?;
        let mut further = None;
        if capacity > STEPS_PER_LOOK {
            let mut recorder = Recorder::new(gpu, "generate further");
            memory.record_look(&mut recorder, STEPS_PER_LOOK)?;
            further = Some(recorder.finish()?);
        }
        let readback = gpu.readback_buffer("search", memory.state.all.bytes())?;
        Ok(Self { gpu: gpu.clone(), first, further, search: memory.search, state: memory.state, readback })
    }

    /// The hypotheses for each of `sources`, at most as many as there is room for.
    pub(super) fn run(&mut self, sources: &[&[u32]], steps: usize) -> Result<Vec<Vec<Hypothesis>>> {
        let sentences = self.search.sentences;
        let mut source = vec![PAD; sentences * steps];
        let mut lengths = vec![0_u32; sentences];
        for (row, tokens) in sources.iter().enumerate() {
            source[row * steps..][..tokens.len()].copy_from_slice(tokens);
            lengths[row] = tokens.len() as u32;
        }
        self.first.write("source", &source)?;
        self.first.write("lengths", &lengths)?;
        self.first.run(Step::default())?;
        let mut done = STEPS_PER_LOOK.min(self.search.capacity);
        loop {
            let found = self.gpu.read_through(&self.readback, &self.state.all)?;
            let finished = self.state.words(&found, &self.state.all_finished) == [1];
            match &self.further {
                Some(further) if !finished && done < self.search.capacity => {
                    further.submit(0)?;
                    done = (done + STEPS_PER_LOOK).min(self.search.capacity);
                }
                _ => return Ok(self.hypotheses(&found, sources.len(), done)),
            }
        }
    }

    /// Follows each hypothesis of the first `sentences` back from its end.
    fn hypotheses(&self, found: &[u32], sentences: usize, steps: usize) -> Vec<Vec<Hypothesis>> {
        let (rows, beam) = (self.search.rows(), self.search.beam);
        let part = |part| self.state.words(found, part);
        let (scores, finished) = (part(&self.state.scores), part(&self.state.finished));
        let (tokens, parents) = (part(&self.state.history_tokens), part(&self.state.history_parents));
        let follow = |row: usize| {
            let (mut at, mut text) = (row, Vec::new());
            for step in (0..steps).rev() {
                text.push(tokens[step * rows + at]);
                at = parents[step * rows + at] as usize;
            }
            text.reverse();
            text.into_iter().take_while(|token| *token != EOS && *token != PAD).collect()
        };
        let hypothesis = |row: usize| {
            let score = f32::from_bits(scores[row]);
            // An absent one fills a beam that is wider than there are texts.
            let present = score > -1e29;
            present.then(|| Hypothesis { tokens: follow(row), score, finished: finished[row] != 0 })
        };
        (0..sentences)
            .map(|sentence| (sentence * beam..(sentence + 1) * beam).filter_map(hypothesis).collect())
            .collect()
    }
}
