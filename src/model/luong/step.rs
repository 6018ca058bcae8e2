//! The model's steps in a search. A row of the states is h, and with input feeding h~ behind it, so that a hypothesis takes both
//! along.

use super::{Luong, Scoring, graph::Encoded};
use crate::{
    Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        additive_score::{self, AdditiveScore},
        beam_search::{BeamSearch, BeamState, Feed},
        copy::Copy,
        gru::{self, Cell, CellStep, Context},
        local_attention::{Inputs, LocalAttention, Outputs},
        matmul::{Activation, Matmul, Matrix, Operands, Tile},
    },
    model::{BatchShape, Encoder, GruTensors, Layers, LinearTensors, SearchRoom, StepOutputs, Stepper},
};

/// A product of fewer rows costs what one of this many does: no tile is lower.
const LOWEST_TILE: usize = 8;

/// Tensors that the steps of a search read and write; R rows.
#[derive(Debug)]
pub(super) struct LuongStepper {
    network: Luong,
    search: BeamSearch,
    keys: usize,
    parameters: StepParameters,
    /// `[sentences, S, K]`
    annotation: Tensor,
    /// `[sentences, S, H]` or `[sentences, S, A]`, where states are compared with something else than the annotations.
    key: Option<Tensor>,
    /// `[2, R, H]`, with input feeding `[2, R, 2H]`: the states before and after a step.
    states: Tensor,
    /// `[2, R, H]`: the states before and after a step, without h~.
    hidden: Tensor,
    /// `[R, K + 2H]`: context, state, the last attentional state.
    features: Tensor,
    /// `[R, H]`
    attentional: Tensor,
    /// `[R, E]`
    words: Tensor,
    /// `[R, 3H]`, what the word contributes to the gates.
    gi: Tensor,
    /// `[W, 3H]`, the contribution of every word, where that is less work than the products of the words chosen at each step.
    gi_of_words: Option<Tensor>,
    /// `[R, 4H]`
    gates: Tensor,
    alignment: Alignment,
}

/// Intermediate results of the alignment, from states to weights.
#[derive(Debug)]
struct Alignment {
    /// `[R, A]`
    queries: Tensor,
    /// `[R, S]` or, by location, `[R, L]`.
    scores: Tensor,
    /// `[R, P]`
    positions: Tensor,
    /// `[R]`
    shares: Tensor,
    /// `[R]`
    centres: Tensor,
    /// `[R, S]`
    weights: Tensor,
}

/// The parameters that a step reads.
#[derive(Debug)]
struct StepParameters {
    words: Tensor,
    cell: GruTensors,
    scoring: ScoringTensors,
    /// From a state to the layer between, and from there to a share.
    centre: Option<[Tensor; 2]>,
    combine: Tensor,
    output: LinearTensors,
}

/// The tensors of [`Scoring`] that a step reads.
#[derive(Debug)]
enum ScoringTensors {
    /// The product of states and keys.
    Product,
    Concat {
        concat: Tensor,
        energy: Tensor,
    },
    Location(Tensor),
}

impl ScoringTensors {
    fn new(scoring: &Scoring, parameters: &Parameters) -> Result<Self> {
        Ok(match scoring {
            Scoring::Dot | Scoring::General(_) => Self::Product,
            Scoring::Concat { concat, energy } => {
                Self::Concat { concat: concat.weight.tensor(parameters)?, energy: energy.weight.tensor(parameters)? }
            }
            Scoring::Location(location) => Self::Location(location.weight.tensor(parameters)?),
        })
    }
}

/// `y = activation(x W^T)` of `rows` rows x, W being the first columns of a weight.
struct Product<'a> {
    rows: usize,
    inputs: usize,
    outputs: usize,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    activation: Activation,
}

impl Product<'_> {
    fn record(&self, recorder: &mut Recorder, x: Matrix<'_>, y: Matrix<'_>) -> Result<()> {
        let Self { rows, inputs, outputs, weight, bias, activation } = *self;
        let (m, n, k) = (rows, outputs, inputs);
        let product = Matmul { m, n, k, batch: 1, transpose_b: true, activation, ..Matmul::default() };
        let tile = Tile::choose(recorder.gpu(), rows);
        product.record(recorder, tile, &Operands { a: x, b: Matrix::rows(weight), bias, c: y })
    }
}

impl LuongStepper {
    pub fn new(network: &Luong, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, steps, .. } = *room;
        let config = &network.config;
        let (hidden, annotation, rows, classes) = (config.hidden, config.annotation(), search.rows(), search.classes);
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let of_keys = |size: usize| tensor("key", &[search.sentences, keys, size]);
        let all_words = classes <= steps * rows.max(LOWEST_TILE);
        let weight = |layer: &crate::model::Linear| layer.weight.tensor(parameters);
        Ok(Self {
            parameters: StepParameters {
                words: network.words.weight.tensor(parameters)?,
                cell: network.cell.tensors(parameters)?,
                scoring: ScoringTensors::new(&network.scoring, parameters)?,
                centre: match &network.centre {
                    Some(centre) => Some([weight(&centre.position)?, weight(&centre.energy)?]),
                    None => None,
                },
                combine: weight(&network.combine)?,
                output: network.output.tensors(parameters)?,
            },
            annotation: tensor("annotation", &[search.sentences, keys, annotation])?,
            key: match network.scoring {
                Scoring::Dot | Scoring::Location(_) => None,
                Scoring::General(_) => Some(of_keys(hidden)?),
                Scoring::Concat { .. } => Some(of_keys(config.attention)?),
            },
            states: tensor("states", &[2, rows, config.state()])?,
            hidden: tensor("hidden states", &[2, rows, hidden])?,
            features: tensor("features", &[rows, annotation + 2 * hidden])?,
            attentional: tensor("attentional state", &[rows, hidden])?,
            words: tensor("words", &[rows, config.embedding])?,
            gi: tensor("word's gates", &[rows, 3 * hidden])?,
            gi_of_words: if all_words { Some(tensor("words' gates", &[classes, 3 * hidden])?) } else { None },
            gates: tensor("gates", &[rows, 4 * hidden])?,
            alignment: Alignment {
                queries: tensor("queries", &[rows, config.attention])?,
                scores: tensor("scores", &[rows, config.columns(keys)])?,
                positions: tensor("positions", &[rows, config.position])?,
                shares: tensor("shares", &[rows])?,
                centres: tensor("centres", &[rows])?,
                weights: tensor("weights", &[rows, keys])?,
            },
            network: network.clone(),
            search,
            keys,
        })
    }

    /// Records what `count` words contribute to the gates.
    fn record_gates(&self, recorder: &mut Recorder, count: usize, words: &Tensor, to: &Tensor) -> Result<()> {
        let GruTensors { weight_ih, bias_ih, .. } = &self.parameters.cell;
        let config = &self.network.config;
        let (inputs, outputs) = (config.embedding, 3 * config.hidden);
        let (bias, activation) = (Some(bias_ih), Activation::None);
        Product { rows: count, inputs, outputs, weight: weight_ih, bias, activation }.record(
            recorder,
            Matrix::rows(words),
            Matrix::rows(to),
        )
    }

    /// The first elements of the states before and after a step.
    fn places(&self, step: usize) -> [usize; 2] {
        self.search.places(step, self.network.config.state())
    }

    /// Context, state and last attentional state among the features.
    fn parts(&self) -> [Matrix<'_>; 3] {
        let (annotation, hidden) = (self.network.config.annotation(), self.network.config.hidden);
        [0, annotation, annotation + hidden].map(|offset| Matrix::rows(&self.features).offset(offset))
    }

    /// A half of the rows of states that start at an element.
    fn half(&self, from: usize, number: usize) -> Matrix<'_> {
        let config = &self.network.config;
        Matrix::rows(&self.states).offset(from + number * config.hidden)
    }

    /// One matrix of rows as a batch of the rows of each sentence, which is how the attention counts them.
    fn by_sentence<'a>(&self, matrix: Matrix<'a>) -> Matrix<'a> {
        Matrix { batch_stride: self.search.beam * matrix.stride, ..matrix }
    }

    fn copy(&self, recorder: &mut Recorder, columns: usize, from: Matrix<'_>, to: Matrix<'_>) -> Result<()> {
        Copy { rows: self.search.rows(), columns, batch: 1 }.record(recorder, from, None, to)
    }

    /// Records the cell: from the states at `from` to the features.
    fn record_cell(&self, recorder: &mut Recorder, from: usize) -> Result<()> {
        let (rows, hidden) = (self.search.rows(), self.network.config.hidden);
        let [_, y, last] = self.parts();
        let cell = &self.parameters.cell;
        self.copy(recorder, hidden, self.half(from, 0), Matrix { stride: hidden, ..Matrix::rows(&self.hidden) })?;
        let mut context = None;
        if self.network.config.input_feeding {
            self.copy(recorder, hidden, self.half(from, 1), last)?;
            context = Some(Context { weight_ih: &cell.weight_ih, offset: last.offset, size: hidden });
        }
        let step = CellStep {
            gi: Matrix::rows(&self.gi),
            picks: None,
            begins: false,
            weight_hh: &cell.weight_hh,
            bias_hh: &cell.bias_hh,
            states: &self.hidden,
            from: 0,
            to: rows * hidden,
            y,
            gates: &self.gates,
            gates_offset: 0,
            context,
            masking: None,
            valid: None,
        };
        let cell = Cell { rows, hidden };
        cell.record(recorder, gru::Tile::choose(recorder.gpu(), [rows, hidden], 1), &step)
    }

    /// Records the scores of the new states (equation 8).
    fn record_scores(&self, recorder: &mut Recorder, lengths: &Tensor) -> Result<()> {
        let (keys, config) = (self.keys, &self.network.config);
        let BeamSearch { sentences, beam, .. } = self.search;
        let (rows, hidden, [_, state, _]) = (self.search.rows(), config.hidden, self.parts());
        let (queries, scores) = (&self.alignment.queries, &self.alignment.scores);
        let key = self.key.as_ref().unwrap_or(&self.annotation);
        let of_state = |weight, outputs| Product {
            rows,
            inputs: hidden,
            outputs,
            weight,
            bias: None,
            activation: Activation::None,
        };
        match &self.parameters.scoring {
            ScoringTensors::Location(location) => {
                of_state(location, config.location_rows).record(recorder, state, Matrix::rows(scores))
            }
            ScoringTensors::Concat { concat, energy } => {
                of_state(concat, config.attention).record(recorder, state, Matrix::rows(queries))?;
                let score = AdditiveScore { batch: sentences, queries: beam, keys, size: config.attention };
                let inputs = additive_score::Inputs { query: queries, key, energy, lengths };
                score.record(recorder, &inputs, scores)
            }
            ScoringTensors::Product => {
                let (m, n, k, batch) = (beam, keys, hidden, sentences);
                let product = Matmul { m, n, k, batch, transpose_b: true, ..Matmul::default() };
                let (a, c) = (self.by_sentence(state), self.by_sentence(Matrix::rows(scores)));
                product.record(
                    recorder,
                    Tile::choose(recorder.gpu(), beam),
                    &Operands { a, b: Matrix::batch(key), bias: None, c },
                )
            }
        }
    }

    /// Records the weights of step number `step` after those counted, and the context.
    fn record_attention(&self, recorder: &mut Recorder, step: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        let (keys, config) = (self.keys, &self.network.config);
        let BeamSearch { sentences, beam, .. } = self.search;
        let (rows, [context, state, _]) = (self.search.rows(), self.parts());
        let Alignment { scores, positions, shares, centres, weights, .. } = &self.alignment;
        self.record_scores(recorder, outputs.lengths)?;
        if let Some([position, energy]) = &self.parameters.centre {
            let layer =
                |weight, inputs, outputs, activation| Product { rows, inputs, outputs, weight, bias: None, activation };
            let (between, one) = (Matrix::rows(positions), Matrix { stride: 1, ..Matrix::rows(shares) });
            layer(position, config.hidden, config.position, Activation::Tanh).record(recorder, state, between)?;
            layer(energy, config.position, 1, Activation::Sigmoid).record(recorder, between, one)?;
        }
        let window = config.window_of(step);
        let attention = LocalAttention { batch: sentences, queries: beam, keys, columns: config.columns(keys), window };
        let inputs = Inputs {
            scores,
            shares: self.parameters.centre.as_ref().map(|_| shares),
            counter: window.is_counted().then_some(outputs.counter),
            lengths: outputs.lengths,
        };
        attention.record(recorder, &inputs, &Outputs { weights, centres: window.has_centres().then_some(centres) })?;
        let sum = Matmul { m: beam, n: config.annotation(), k: keys, batch: sentences, ..Matmul::default() };
        let (a, c) = (self.by_sentence(Matrix::rows(weights)), self.by_sentence(context));
        sum.record(
            recorder,
            Tile::choose(recorder.gpu(), beam),
            &Operands { a, b: Matrix::batch(&self.annotation), bias: None, c },
        )?;
        match outputs.weights {
            Some(wanted) => self.copy(recorder, keys, Matrix::rows(weights), wanted),
            None => Ok(()),
        }
    }
}

impl Stepper for LuongStepper {
    fn encoder(&self) -> Result<Encoder> {
        let (rows, source, config) = (self.search.sentences, self.keys, &self.network.config);
        let by_token = 2 * config.source_vocabulary <= rows * source;
        let mut layers = Layers::new();
        let encoded = self.network.encode(&mut layers, BatchShape { rows, source, target: 0 }, by_token)?;
        let Encoded { annotation, key, mut state, lengths, .. } = encoded;
        if config.input_feeding {
            let attentional = layers.graph.filled([rows, config.hidden], 0.0);
            state = layers.graph.concatenate(&[state, attentional])?;
        }
        let mut kept = vec![(annotation, self.annotation.clone())];
        kept.extend(self.key.as_ref().map(|tensor| (key, tensor.clone())));
        Ok(Encoder { graph: layers.graph, lengths, state: Some(state), kept })
    }

    fn record_start(&self, recorder: &mut Recorder) -> Result<()> {
        match &self.gi_of_words {
            Some(table) => self.record_gates(recorder, self.search.classes, &self.parameters.words, table),
            None => Ok(()),
        }
    }

    fn record_step<'a>(
        &'a self,
        recorder: &mut Recorder,
        step: usize,
        outputs: &StepOutputs<'a>,
    ) -> Result<Matrix<'a>> {
        let config = &self.network.config;
        let (rows, hidden, [from, to]) = (self.search.rows(), config.hidden, self.places(step));
        let [both, state, _] = self.parts();
        self.record_cell(recorder, from)?;
        self.record_attention(recorder, step, outputs)?;
        let combine = Product {
            rows,
            inputs: config.annotation() + hidden,
            outputs: hidden,
            weight: &self.parameters.combine,
            bias: None,
            activation: Activation::Tanh,
        };
        combine.record(recorder, both, Matrix::rows(&self.attentional))?;
        self.copy(recorder, hidden, state, self.half(to, 0))?;
        if config.input_feeding {
            self.copy(recorder, hidden, Matrix::rows(&self.attentional), self.half(to, 1))?;
        }
        self.parameters.output.record(recorder, rows, &self.attentional, Activation::None, outputs.logits)?;
        Ok(outputs.logits)
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.network.config.embedding,
            words: &self.parameters.words,
            word_rows: Matrix::rows(&self.words),
            gates: self.gi_of_words.as_ref().map(|table| (table, &self.gi)),
            states: Some((self.network.config.state(), &self.states)),
        }
    }

    fn states_after(&self, step: usize) -> usize {
        self.places(step)[1]
    }

    fn record_fed(&self, recorder: &mut Recorder, _: &BeamState, _: Option<usize>) -> Result<()> {
        match &self.gi_of_words {
            // The search has copied them from the table.
            Some(_) => Ok(()),
            None => self.record_gates(recorder, self.search.rows(), &self.words, &self.gi),
        }
    }
}
