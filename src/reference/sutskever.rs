//! Sutskever, Vinyals and Le, "Sequence to Sequence Learning with Neural Networks" (2014), section 2, with GRUs in place of LSTMs,
//! sentence by sentence.

use super::gru::{Gru, GruInputs};
use super::luong::{cell, embedded, product};
use super::seq2seq::Named;

/// ```text
/// states, last = GRU layers over the embedded source, from zeros
/// states, _    = GRU layers over the embedded target, each from the encoder's last state of the same layer
/// logits[t]    = W states[t] + b
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sutskever {
    /// Size of an embedded word, E.
    pub word: usize,
    /// Size of a hidden state, H.
    pub hidden: usize,
    /// GRU layers on each side, L.
    pub layers: usize,
}

impl Sutskever {
    /// The states of the top layer `[S, H]` and the last of each layer `[L, H]`, of one side from its first states `[L, H]`.
    fn side(&self, parameters: &Named, name: &str, tokens: &[u32], first: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (steps, hidden) = (tokens.len(), self.hidden);
        let mut states = embedded(&parameters[&format!("{name}.embedding.weight")], self.word, tokens);
        let mut last = Vec::new();
        for (layer, h0) in first.chunks(hidden).enumerate() {
            let input = if layer == 0 { self.word } else { hidden };
            let weights = [cell(parameters, &format!("{name}.gru"), &format!("_l{layer}"))];
            let gru = Gru { batch: 1, steps, input, hidden, directions: 1 };
            let lengths = [steps as u32];
            let outputs = gru.forward(&GruInputs { x: &states, h0, lengths: &lengths, weights: &weights, mask: None });
            states = outputs.y;
            last.extend(outputs.hn);
        }
        (states, last)
    }

    /// The logits `[T, W]` of a target that is known, given from `<bos>` on.
    pub fn forward(&self, parameters: &Named, source: &[u32], target_in: &[u32]) -> Vec<f64> {
        let zeros = vec![0.0; self.layers * self.hidden];
        let (_, last) = self.side(parameters, "encoder", source, &zeros);
        let (states, _) = self.side(parameters, "decoder", target_in, &last);
        let (weight, bias) = (&parameters["output.weight"], &parameters["output.bias"]);
        let logits = states.chunks(self.hidden).flat_map(|state| product(weight, state).into_iter().zip(bias));
        logits.map(|(sum, bias)| sum + bias).collect()
    }
}
