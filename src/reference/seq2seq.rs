//! The default model without a readout: Bahdanau et al. (2015), appendix A, put together from this module's operations.

use std::collections::HashMap;

use super::add_scaled;
use super::attentional_decoder::{AttentionalDecoder, DecoderInputs};
use super::cross_entropy::CrossEntropy;
use super::embedding::Embedding;
use super::gru::{Gru, GruInputs, GruWeights};
use super::matmul::{Activation, Matmul};

/// Parameters, or their gradients, by the names that a model folder has.
pub type Named = HashMap<String, Vec<f64>>;

/// ```text
/// annotations = bidirectional GRU of the embedded source
/// state[0]    = tanh(bridge of the reverse direction's last state)
/// features    = attentional decoder of the embedded target over the projected annotations
/// logits      = output layer of the features
/// ```
///
/// Rows are full: no source or target is shorter than the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seq2Seq {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Source steps, S.
    pub source_steps: usize,
    /// Target steps, T.
    pub target_steps: usize,
    /// Source tokens.
    pub source_vocabulary: usize,
    /// Target tokens, W.
    pub target_vocabulary: usize,
    /// Size of an embedded word, E.
    pub word: usize,
    /// Size of a hidden state, H.
    pub hidden: usize,
    /// Size of the alignment layer, A.
    pub attention: usize,
}

/// What the forward pass computes on its way, for the backward pass.
struct Forward {
    embedded: Vec<f64>,
    annotation: Vec<f64>,
    last: Vec<f64>,
    state0: Vec<f64>,
    key: Vec<f64>,
    words: Vec<f64>,
    features: Vec<f64>,
    logits: Vec<f64>,
}

const DIRECTIONS: [&str; 2] = ["", "_reverse"];

fn cell(parameters: &Named, prefix: &str, suffix: &str) -> GruWeights {
    let get = |part: &str| parameters[&format!("{prefix}.{part}{suffix}")].clone();
    GruWeights {
        weight_ih: get("weight_ih"),
        weight_hh: get("weight_hh"),
        bias_ih: get("bias_ih"),
        bias_hh: get("bias_hh"),
    }
}

fn put_cell(gradients: &mut Named, prefix: &str, suffix: &str, cell: GruWeights) {
    let GruWeights { weight_ih, weight_hh, bias_ih, bias_hh } = cell;
    for (part, values) in
        [("weight_ih", weight_ih), ("weight_hh", weight_hh), ("bias_ih", bias_ih), ("bias_hh", bias_hh)]
    {
        gradients.insert(format!("{prefix}.{part}{suffix}"), values);
    }
}

fn linear(m: usize, n: usize, k: usize, activation: Activation) -> Matmul {
    Matmul { m, n, k, batch: 1, transpose_a: false, transpose_b: true, activation }
}

impl Seq2Seq {
    fn source_embedding(&self) -> Embedding {
        Embedding { vocabulary: self.source_vocabulary, size: self.word, padding: None }
    }

    fn target_embedding(&self) -> Embedding {
        Embedding { vocabulary: self.target_vocabulary, size: self.word, padding: None }
    }

    fn encoder(&self) -> Gru {
        Gru { batch: self.batch, steps: self.source_steps, input: self.word, hidden: self.hidden, directions: 2 }
    }

    fn bridge(&self) -> Matmul {
        linear(self.batch, self.hidden, self.hidden, Activation::Tanh)
    }

    fn key(&self) -> Matmul {
        linear(self.batch * self.source_steps, self.attention, 2 * self.hidden, Activation::None)
    }

    fn output(&self) -> Matmul {
        let features = 3 * self.hidden + self.word;
        linear(self.batch * self.target_steps, self.target_vocabulary, features, Activation::None)
    }

    fn decoder(&self) -> AttentionalDecoder {
        AttentionalDecoder {
            batch: self.batch,
            steps: self.target_steps,
            keys: self.source_steps,
            word: self.word,
            hidden: self.hidden,
            size: self.attention,
            annotation: 2 * self.hidden,
        }
    }

    fn run(&self, parameters: &Named, source: &[u32], target_in: &[u32]) -> Forward {
        let get = |name: &str| parameters[name].as_slice();
        let lengths = vec![self.source_steps as u32; self.batch];
        let embedded = self.source_embedding().forward(get("encoder.embedding.weight"), source);
        let weights = DIRECTIONS.map(|way| cell(parameters, "encoder.gru", &format!("_l0{way}")));
        let h0 = vec![0.0; 2 * self.batch * self.hidden];
        let inputs = GruInputs { x: &embedded, h0: &h0, lengths: &lengths, weights: &weights, mask: None };
        let encoded = self.encoder().forward(&inputs);
        let last = encoded.hn[self.batch * self.hidden..].to_vec();
        let state0 = self.bridge().forward(&last, get("bridge.weight"), Some(get("bridge.bias")));
        let key = self.key().forward(&encoded.y, get("attention.key.weight"), Some(get("attention.key.bias")));
        let words = self.target_embedding().forward(get("decoder.embedding.weight"), target_in);
        let features = self
            .decoder()
            .forward(&DecoderInputs {
                words: &words,
                state0: &state0,
                key: &key,
                annotation: &encoded.y,
                lengths: &lengths,
                query_weight: get("attention.query.weight"),
                energy: get("attention.energy.weight"),
                cell: &cell(parameters, "decoder.cell", ""),
                mask: None,
            })
            .features;
        let logits = self.output().forward(&features, get("output.weight"), Some(get("output.bias")));
        Forward { embedded, annotation: encoded.y, last, state0, key, words, features, logits }
    }

    /// Logits `[B, T, W]` from source `[B, S]` and target_in `[B, T]`.
    pub fn logits(&self, parameters: &Named, source: &[u32], target_in: &[u32]) -> Vec<f64> {
        self.run(parameters, source, target_in).logits
    }

    /// The mean loss over all target tokens, and the gradient of every parameter; target_out is `[B, T]`.
    pub fn loss_and_gradients(
        &self,
        parameters: &Named,
        source: &[u32],
        target_in: &[u32],
        target_out: &[u32],
    ) -> (f64, Named) {
        let forward = self.run(parameters, source, target_in);
        let get = |name: &str| parameters[name].as_slice();
        let rows = self.batch * self.target_steps;
        let loss = CrossEntropy {
            rows,
            classes: self.target_vocabulary,
            smoothing: 0.0,
            impossible: 0,
            scale: 1.0 / rows as f64,
            padding: 0,
        };
        let mut gradients = Named::new();
        let d_logits = loss.backward(&forward.logits, target_out, 1.0);
        let mut put = |name: &str, values: Vec<f64>| gradients.insert(name.to_owned(), values);

        let output =
            self.output().backward(&forward.features, get("output.weight"), Some(get("output.bias")), &d_logits);
        put("output.weight", output.b);
        put("output.bias", output.bias.unwrap_or_default());

        let lengths = vec![self.source_steps as u32; self.batch];
        let inputs = DecoderInputs {
            words: &forward.words,
            state0: &forward.state0,
            key: &forward.key,
            annotation: &forward.annotation,
            lengths: &lengths,
            query_weight: get("attention.query.weight"),
            energy: get("attention.energy.weight"),
            cell: &cell(parameters, "decoder.cell", ""),
            mask: None,
        };
        let decoder = self.decoder().backward(&inputs, &output.a, None);
        put("attention.query.weight", decoder.query_weight);
        put("attention.energy.weight", decoder.energy);
        put("decoder.embedding.weight", self.target_embedding().backward(target_in, &decoder.words));

        let key = (get("attention.key.weight"), get("attention.key.bias"));
        let key = self.key().backward(&forward.annotation, key.0, Some(key.1), &decoder.key);
        put("attention.key.weight", key.b);
        put("attention.key.bias", key.bias.unwrap_or_default());

        let bridge = (get("bridge.weight"), get("bridge.bias"));
        let bridge = self.bridge().backward(&forward.last, bridge.0, Some(bridge.1), &decoder.state0);
        put("bridge.weight", bridge.b);
        put("bridge.bias", bridge.bias.unwrap_or_default());

        let mut d_annotation = decoder.annotation;
        add_scaled(&mut d_annotation, 1.0, &key.a);
        let weights = DIRECTIONS.map(|way| cell(parameters, "encoder.gru", &format!("_l0{way}")));
        let h0 = vec![0.0; 2 * self.batch * self.hidden];
        let d_hn = [vec![0.0; self.batch * self.hidden], bridge.a].concat();
        let inputs = GruInputs { x: &forward.embedded, h0: &h0, lengths: &lengths, weights: &weights, mask: None };
        let encoder = self.encoder().backward(&inputs, &d_annotation, &d_hn);
        put("encoder.embedding.weight", self.source_embedding().backward(source, &encoder.x));
        for (way, weights) in DIRECTIONS.into_iter().zip(encoder.weights) {
            put_cell(&mut gradients, "encoder.gru", &format!("_l0{way}"), weights);
        }
        put_cell(&mut gradients, "decoder.cell", "", decoder.cell);
        (loss.forward(&forward.logits, target_out), gradients)
    }
}
