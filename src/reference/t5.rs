//! Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer" (2020), sentence by sentence.

use super::pointwise::Pointwise;
use super::relative_position_bias::RelativePositionBias;
use super::seq2seq::Named;
use super::softmax::softmax;
use super::{add_scaled, dot};

/// ```text
/// x      = word
/// states = layers of attention to all of x, and of a feed-forward part
/// y      = layers of attention to what is before a place, of attention to the states, and of a feed-forward part
/// logits = W (factor * y)
/// ```
///
/// A layer f adds `f(norm(x))` to what passes it by, and each side ends in one more norm. Scores are products that nothing scales,
/// plus, in a text's attention to itself, a bias by the bucket of the distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct T5<'a> {
    /// Parameters by the names of Hugging Face's.
    pub parameters: &'a Named,
    /// D.
    pub hidden: usize,
    /// N.
    pub heads: usize,
    /// Features of a head.
    pub size: usize,
    /// Layers of the encoder and of the decoder.
    pub layers: [usize; 2],
    /// Buckets of relative positions.
    pub buckets: usize,
    /// The distance from which on all share a bucket.
    pub farthest: usize,
    /// The nonlinearity of the feed-forward parts.
    pub activation: Pointwise,
    /// Whether these have a gate.
    pub gated: bool,
    /// What the output layer's states are multiplied with.
    pub factor: f64,
    /// The names of the tables of source and target words, and of the output layer's weight.
    pub tables: [&'a str; 3],
}

/// What is added to a mean square.
const EPSILON: f64 = 1e-6;

impl T5<'_> {
    fn get(&self, name: &str) -> &[f64] {
        &self.parameters[name]
    }

    /// Each row of x, of `inputs` features, by a layer without a bias.
    fn linear(&self, name: &str, x: &[f64], inputs: usize) -> Vec<f64> {
        let weight = self.get(&format!("{name}.weight"));
        x.chunks(inputs).flat_map(|x| weight.chunks(inputs).map(move |weight| dot(weight, x))).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let gain = self.get(&format!("{name}.weight"));
        let row = |x: &[f64]| -> Vec<f64> {
            let scale = (dot(x, x) / self.hidden as f64 + EPSILON).sqrt().recip();
            x.iter().zip(gain).map(|(x, gain)| x * scale * gain).collect()
        };
        x.chunks(self.hidden).flat_map(row).collect()
    }

    fn embed(&self, table: &str, tokens: &[u32]) -> Vec<f64> {
        let (table, hidden) = (self.get(table), self.hidden);
        tokens.iter().flat_map(|token| table[*token as usize * hidden..][..hidden].to_vec()).collect()
    }

    /// The contexts of the queries of x among the rows of `memory`. `own` is the side whose attention to itself it is.
    fn attention(&self, name: &str, x: &[f64], memory: &[f64], own: Option<&str>) -> Vec<f64> {
        let Self { hidden, heads, size, .. } = *self;
        let [query, key, value] = [("q", x), ("k", memory), ("v", memory)]
            .map(|(part, rows)| self.linear(&format!("{name}.{part}"), rows, hidden));
        let (queries, keys, width) = (x.len() / hidden, memory.len() / hidden, heads * size);
        let causal = own == Some("decoder");
        let table =
            own.map(|side| self.get(&format!("{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight")));
        let buckets = RelativePositionBias {
            buckets: self.buckets,
            bidirectional: !causal,
            farthest: self.farthest,
            heads,
            queries,
            keys,
        };
        let mut contexts = vec![0.0; queries * width];
        for (t, head) in (0..queries).flat_map(|t| (0..heads).map(move |head| (t, head))) {
            let of = |rows: &[f64], row: usize| -> Vec<f64> { rows[row * width + head * size..][..size].to_vec() };
            let bias = |s: usize| table.map_or(0.0, |table| table[buckets.bucket(s as i64 - t as i64) * heads + head]);
            let seen = if causal { t + 1 } else { keys };
            let scores: Vec<f64> = (0..seen).map(|s| dot(&of(&query, t), &of(&key, s)) + bias(s)).collect();
            let context = &mut contexts[t * width + head * size..][..size];
            for (s, weight) in softmax(&scores).into_iter().enumerate() {
                add_scaled(context, weight, &of(&value, s));
            }
        }
        self.linear(&format!("{name}.o"), &contexts, width)
    }

    fn feed_forward(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let layer = |part: &str, x: &[f64], inputs| self.linear(&format!("{name}.DenseReluDense.{part}"), x, inputs);
        let up = layer(if self.gated { "wi_0" } else { "wi" }, x, self.hidden);
        let mut between = self.activation.forward(&up, None);
        if self.gated {
            between = Pointwise::Multiply.forward(&between, Some(&layer("wi_1", x, self.hidden)));
        }
        let inputs = between.len() / (x.len() / self.hidden);
        layer("wo", &between, inputs)
    }

    /// What passes a layer by, and the layer's result for it, normalised.
    fn around(&self, name: &str, x: &[f64], layer: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let made = layer(&self.norm(&format!("{name}.layer_norm"), x));
        x.iter().zip(made).map(|(x, made)| x + made).collect()
    }

    /// The states `[S, D]` of a source, whose tokens are all there are.
    pub fn encode(&self, source: &[u32]) -> Vec<f64> {
        let mut x = self.embed(self.tables[0], source);
        for layer in 0..self.layers[0] {
            let name = |part: usize| format!("encoder.block.{layer}.layer.{part}");
            let own = |x: &[f64]| self.attention(&format!("{}.SelfAttention", name(0)), x, x, Some("encoder"));
            x = self.around(&name(0), &x, own);
            x = self.around(&name(1), &x, |x| self.feed_forward(&name(1), x));
        }
        self.norm("encoder.final_layer_norm", &x)
    }

    /// The logits `[T, W]` of a target that is known, given from the token that begins it on.
    pub fn decode(&self, states: &[f64], target_in: &[u32]) -> Vec<f64> {
        let mut x = self.embed(self.tables[1], target_in);
        for layer in 0..self.layers[1] {
            let name = |part: usize| format!("decoder.block.{layer}.layer.{part}");
            let own = |x: &[f64]| self.attention(&format!("{}.SelfAttention", name(0)), x, x, Some("decoder"));
            x = self.around(&name(0), &x, own);
            let source = |x: &[f64]| self.attention(&format!("{}.EncDecAttention", name(1)), x, states, None);
            x = self.around(&name(1), &x, source);
            x = self.around(&name(2), &x, |x| self.feed_forward(&name(2), x));
        }
        let x = self.norm("decoder.final_layer_norm", &x);
        let weight = self.get(self.tables[2]);
        let logits =
            |x: &[f64]| -> Vec<f64> { weight.chunks(self.hidden).map(|weight| self.factor * dot(weight, x)).collect() };
        x.chunks(self.hidden).flat_map(logits).collect()
    }
}
