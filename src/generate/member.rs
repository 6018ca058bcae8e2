//! One model of a search: its parameters, the memory of its steps, and how they are recorded.

use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        attentional_decoder::{DecoderStep, StepInputs, StepTensors, Tiles},
        beam_search::{BeamSearch, BeamState, Feed},
        gru::Weights,
        matmul::{self, Activation, Matmul, Matrix},
    },
    model::{DecoderParameters, Linear, Seq2Seq},
};

/// A product of fewer rows costs what one of this many does: no tile is lower.
const LOWEST_TILE: usize = 8;

/// What a member's steps read and write.
pub(super) struct Member {
    search: BeamSearch,
    parameters: DecoderParameters,
    step: DecoderStep,
    tiles: Tiles,
    pub annotation: Tensor,
    pub key: Tensor,
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
}

impl Member {
    /// Memory for the steps of a search over sources of up to `keys` tokens, with `steps` of them between two looks.
    pub fn new(
        gpu: &Gpu,
        network: &Seq2Seq,
        parameters: &Parameters,
        search: &BeamSearch,
        keys: usize,
        steps: usize,
    ) -> Result<Self> {
        let config = network.config();
        let (word, hidden, size) = (config.embedding, config.hidden, config.attention);
        let BeamSearch { sentences, beam, classes, .. } = *search;
        let step = DecoderStep { batch: sentences, beam, keys, word, hidden, size, annotation: 2 * hidden };
        let rows = search.rows();
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let all_words = classes <= steps * rows.max(LOWEST_TILE);
        Ok(Self {
            parameters: network.decoder_parameters(parameters)?,
            tiles: Tiles::of_step(gpu, &step),
            annotation: tensor("annotation", &[sentences, keys, 2 * hidden])?,
            key: tensor("key", &[sentences, keys, size])?,
            states: tensor("states", &[2, rows, hidden])?,
            features: tensor("features", &[rows, config.features()])?,
            gi: tensor("word's gates", &[rows, 3 * hidden])?,
            gi_of_words: if all_words { Some(tensor("words' gates", &[classes, 3 * hidden])?) } else { None },
            queries: tensor("queries", &[rows, size])?,
            gates: tensor("gates", &[rows, 4 * hidden])?,
            readout: tensor("readout", &[rows, config.readout_size])?,
            search: *search,
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

    pub fn feed(&self) -> Feed<'_> {
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
    pub fn record_words(&self, recorder: &mut Recorder) -> Result<()> {
        match &self.gi_of_words {
            Some(_) => Ok(()),
            None => {
                let gi = Matrix::rows(&self.gi);
                self.step.record_words(recorder, self.search.rows(), &self.cell(), self.words(), gi)
            }
        }
    }

    pub fn record_start(
        &self,
        recorder: &mut Recorder,
        state: &BeamState,
        lengths: &Tensor,
        state0: &Tensor,
    ) -> Result<()> {
        if let Some(table) = &self.gi_of_words {
            let words = Matrix::rows(&self.parameters.words);
            let classes = self.search.classes;
            self.step.record_words(recorder, classes, &self.cell(), words, Matrix::rows(table))?;
        }
        self.search.record_start(recorder, state, lengths, state0, &self.feed())?;
        self.record_words(recorder)
    }

    /// The first elements of the states before and after a step.
    pub fn places(&self, step: usize) -> (usize, usize) {
        let after = self.search.rows() * self.step.hidden;
        // A beam's states go back to the first place as they are chosen; a row that goes its own way goes on from where it is.
        if self.search.apart() && step % 2 == 1 { (after, 0) } else { (0, after) }
    }

    /// Records a step as far as its logits `[R, W]` and, where they are wanted, its alignment weights `[R, S]`.
    pub fn record_step(
        &self,
        recorder: &mut Recorder,
        step: usize,
        lengths: &Tensor,
        logits: Matrix<'_>,
        weights: Option<Matrix<'_>>,
    ) -> Result<()> {
        let inputs = StepInputs {
            key: &self.key,
            annotation: &self.annotation,
            lengths,
            query_weight: &self.parameters.query_weight,
            energy: &self.parameters.energy,
            cell: self.cell(),
        };
        let (from, to) = self.places(step);
        let tensors = StepTensors {
            gi: Matrix::rows(&self.gi),
            states: &self.states,
            from,
            to,
            queries: Matrix::rows(&self.queries),
            features: Matrix::rows(&self.features),
            weights,
            gates: &self.gates,
            gates_offset: 0,
        };
        self.step.record(recorder, &self.tiles, &inputs, &tensors)?;
        let rows = self.search.rows();
        let mut top = &self.features;
        if let Some(readout) = &self.parameters.readout {
            linear(recorder, rows, top, readout, Activation::Tanh, Matrix::rows(&self.readout))?;
            top = &self.readout;
        }
        linear(recorder, rows, top, &self.parameters.output, Activation::None, logits)
    }
}

fn linear(
    recorder: &mut Recorder,
    rows: usize,
    x: &Tensor,
    layer: &Linear,
    activation: Activation,
    y: Matrix<'_>,
) -> Result<()> {
    let (n, k) = (layer.weight.shape().rows(), x.shape().last());
    let product = Matmul { m: rows, n, k, batch: 1, transpose_b: true, activation, ..Matmul::default() };
    let tile = matmul::Tile::choose(recorder.gpu(), rows);
    let [x, weight] = [x, &layer.weight].map(Matrix::rows);
    product.record(recorder, tile, x, weight, Some(&layer.bias), y)
}
