//! Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation" (2015), with GRUs in place of
//! LSTMs, sentence by sentence and step by step.

use super::additive_score::{AdditiveScore, ScoreInputs};
use super::gru::{Gru, GruInputs, GruWeights};
use super::local_attention::{LocalAttention, Window};
use super::seq2seq::Named;
use super::{dot, sigmoid};

/// How a state is compared with an annotation (equation 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// `h · h̄`
    Dot,
    /// `h · W h̄`
    General,
    /// `v · tanh(W [h; h̄])`
    Concat,
    /// `(W h)[s]`
    Location,
}

/// ```text
/// annotations = GRU of the embedded source
/// h[t]        = GRU step of [word[t]; h~[t-1]] from h[t-1] (of word[t] alone without input feeding)
/// c[t]        = sum of the annotations by the weights of local attention over the scores of h[t]
/// h~[t]       = tanh(W [c[t]; h[t]])
/// logits[t]   = W h~[t]
/// ```
///
/// `h` starts at the encoder's last state, in two directions at `tanh(bridge of the backward direction's)`; `h~` at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Luong {
    /// Size of an embedded word, E.
    pub word: usize,
    /// Size of a hidden state, H.
    pub hidden: usize,
    /// GRU layers of the encoder.
    pub encoder_layers: usize,
    /// Whether the encoder reads in both directions.
    pub bidirectional: bool,
    /// How a state is compared with an annotation.
    pub score: Score,
    /// What a step sees of the source; the number of the step is its own.
    pub window: Window,
    /// Whether the cell reads the last attentional state.
    pub input_feeding: bool,
}

/// What the decoder needs of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// `[S, K]`, one for each source token.
    pub annotations: Vec<f64>,
    /// Where the decoder starts.
    pub state: State,
}

/// What the decoder carries from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// h, `[H]`.
    pub hidden: Vec<f64>,
    /// h~, `[H]`.
    pub attentional: Vec<f64>,
}

/// One step of the decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the next step goes on with.
    pub state: State,
    /// `[W]`
    pub logits: Vec<f64>,
    /// `[S]`, one for each source token.
    pub weights: Vec<f64>,
    /// The centre of the window; 0 without one.
    pub centre: f64,
}

/// `W x`, W being `[N, K]`.
pub(super) fn product(weight: &[f64], x: &[f64]) -> Vec<f64> {
    weight.chunks(x.len()).map(|row| dot(row, x)).collect()
}

fn tanh(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(f64::tanh).collect()
}

/// The rows of a table that tokens name.
pub(super) fn embedded(table: &[f64], size: usize, tokens: &[u32]) -> Vec<f64> {
    tokens.iter().flat_map(|token| &table[*token as usize * size..][..size]).copied().collect()
}

pub(super) fn cell(parameters: &Named, prefix: &str, suffix: &str) -> GruWeights {
    let get = |part: &str| parameters[&format!("{prefix}.{part}{suffix}")].clone();
    GruWeights {
        weight_ih: get("weight_ih"),
        weight_hh: get("weight_hh"),
        bias_ih: get("bias_ih"),
        bias_hh: get("bias_hh"),
    }
}

impl Luong {
    /// Size of an annotation, K.
    fn annotation(&self) -> usize {
        if self.bidirectional { 2 * self.hidden } else { self.hidden }
    }

    /// Reads a source, whose tokens are all there are.
    pub fn encode(&self, parameters: &Named, source: &[u32]) -> Encoded {
        let ways: &[&str] = if self.bidirectional { &["", "_reverse"] } else { &[""] };
        let (directions, steps, hidden) = (ways.len(), source.len(), self.hidden);
        let mut annotations = embedded(&parameters["encoder.embedding.weight"], self.word, source);
        let mut last = Vec::new();
        for layer in 0..self.encoder_layers {
            let input = if layer == 0 { self.word } else { self.annotation() };
            let weights: Vec<_> =
                ways.iter().map(|way| cell(parameters, "encoder.gru", &format!("_l{layer}{way}"))).collect();
            let gru = Gru { batch: 1, steps, input, hidden, directions };
            let h0 = vec![0.0; directions * hidden];
            let outputs = gru.forward(&GruInputs {
                x: &annotations,
                h0: &h0,
                lengths: &[steps as u32],
                weights: &weights,
                mask: None,
            });
            annotations = outputs.y;
            last = outputs.hn[(directions - 1) * hidden..].to_vec();
        }
        if self.bidirectional {
            let bias = &parameters["bridge.bias"];
            let sums = product(&parameters["bridge.weight"], &last);
            last = sums.iter().zip(bias).map(|(sum, bias)| (sum + bias).tanh()).collect();
        }
        Encoded { annotations, state: State { hidden: last, attentional: vec![0.0; hidden] } }
    }

    /// The scores of a state, one for each source token; by location as many as there are rows.
    fn scores(&self, parameters: &Named, hidden: &[f64], annotations: &[f64]) -> Vec<f64> {
        let get = |name: &str| parameters[&format!("attention.{name}.weight")].as_slice();
        let annotations = annotations.chunks(self.annotation());
        match self.score {
            Score::Dot => annotations.map(|annotation| dot(hidden, annotation)).collect(),
            Score::General => annotations.map(|annotation| dot(hidden, &product(get("general"), annotation))).collect(),
            Score::Location => product(get("location"), hidden),
            Score::Concat => {
                let width = self.hidden + self.annotation();
                let (size, keys) = (get("energy").len(), annotations.len());
                let of_state: Vec<f64> =
                    get("concat").chunks(width).map(|row| dot(&row[..self.hidden], hidden)).collect();
                let of_annotations: Vec<f64> = annotations
                    .flat_map(|annotation| get("concat").chunks(width).map(|row| dot(&row[self.hidden..], annotation)))
                    .collect();
                let inputs = ScoreInputs {
                    query: &of_state,
                    key: &of_annotations,
                    energy: get("energy"),
                    lengths: &[keys as u32],
                };
                AdditiveScore { batch: 1, queries: 1, keys, size }.forward(&inputs)
            }
        }
    }

    /// Step number `t` from the token before it.
    pub fn step(&self, parameters: &Named, encoded: &Encoded, state: &State, t: usize, token: u32) -> Step {
        let mut input = embedded(&parameters["decoder.embedding.weight"], self.word, &[token]);
        if self.input_feeding {
            input.extend(&state.attentional);
        }
        let hidden = cell(parameters, "decoder.cell", "").step(&input, &state.hidden, None);
        let scores = self.scores(parameters, &hidden, &encoded.annotations);
        let (window, shares) = match self.window {
            Window::Global => (Window::Global, vec![]),
            Window::Monotonic { half_width, .. } | Window::Counted { half_width, .. } => {
                (Window::Monotonic { half_width, first: t }, vec![])
            }
            Window::Predicted { .. } => {
                let inner = tanh(product(&parameters["attention.position.weight"], &hidden));
                (self.window, vec![sigmoid(dot(&parameters["attention.position_energy.weight"], &inner))])
            }
        };
        let keys = encoded.annotations.len() / self.annotation();
        let attention = LocalAttention { batch: 1, queries: 1, keys, columns: scores.len(), window };
        let (weights, centres) = attention.forward(&scores, &shares, &[keys as u32]);
        let mut both = vec![0.0; self.annotation()];
        for (weight, annotation) in weights.iter().zip(encoded.annotations.chunks(self.annotation())) {
            super::add_scaled(&mut both, *weight, annotation);
        }
        both.extend(&hidden);
        let attentional = tanh(product(&parameters["combine.weight"], &both));
        let logits = product(&parameters["output.weight"], &attentional);
        Step { state: State { hidden, attentional }, logits, weights, centre: centres[0] }
    }

    /// Every step of a target that is known, given from `<bos>` on.
    pub fn forward(&self, parameters: &Named, source: &[u32], target_in: &[u32]) -> Vec<Step> {
        let encoded = self.encode(parameters, source);
        let mut state = encoded.state.clone();
        let steps = target_in.iter().enumerate().map(|(t, token)| {
            let step = self.step(parameters, &encoded, &state, t, *token);
            state = step.state.clone();
            step
        });
        steps.collect()
    }
}
