//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.3, text by text.

use super::layer_norm::{LayerNorm, Norm};
use super::pointwise::Pointwise;
use super::seq2seq::Named;
use super::softmax::softmax;
use super::{add_scaled, dot};

/// ```text
/// x      = word + position
/// y      = layers of attention to what is before a place, and of a feed-forward part
/// logits = W norm(y), where W is the table of words
/// ```
///
/// A layer f adds `f(norm(x))` to what passes it by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpt2<'a> {
    /// Parameters by the names of Hugging Face's; the weights of layers are `[inputs, outputs]`.
    pub parameters: &'a Named,
    /// D.
    pub hidden: usize,
    /// N.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
}

/// What is added to a variance.
const EPSILON: f64 = 1e-5;

impl Gpt2<'_> {
    fn get(&self, name: &str) -> &[f64] {
        &self.parameters[name]
    }

    /// Each row of x by a layer with a bias.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |x: &[f64]| -> Vec<f64> {
            let mut y = bias.to_vec();
            x.iter().zip(weight.chunks(bias.len())).for_each(|(x, weight)| add_scaled(&mut y, *x, weight));
            y
        };
        x.chunks(weight.len() / bias.len()).flat_map(row).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (gain, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let (rows, columns) = (x.len() / self.hidden, self.hidden);
        LayerNorm { rows, columns, norm: Norm::Layer, epsilon: EPSILON }.forward(x, gain, Some(bias))
    }

    fn attention(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (hidden, size) = (self.hidden, self.hidden / self.heads);
        let projected = self.linear(&format!("{name}.c_attn"), x);
        // Query, key and value side by side.
        let of = |part: usize, row: usize, head: usize| &projected[(3 * row + part) * hidden + head * size..][..size];
        let mut contexts = vec![0.0; x.len()];
        for (t, head) in (0..x.len() / hidden).flat_map(|t| (0..self.heads).map(move |head| (t, head))) {
            let score = |s: usize| dot(of(0, t, head), of(1, s, head)) / (size as f64).sqrt();
            let scores: Vec<f64> = (0..=t).map(score).collect();
            let context = &mut contexts[t * hidden + head * size..][..size];
            for (s, weight) in softmax(&scores).into_iter().enumerate() {
                add_scaled(context, weight, of(2, s, head));
            }
        }
        self.linear(&format!("{name}.c_proj"), &contexts)
    }

    fn feed_forward(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let between = Pointwise::GeluTanh.forward(&self.linear(&format!("{name}.c_fc"), x), None);
        self.linear(&format!("{name}.c_proj"), &between)
    }

    /// What passes a layer by, and the layer's result for it, normalised.
    fn around(&self, norm: &str, x: &[f64], layer: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let made = layer(&self.norm(norm, x));
        x.iter().zip(made).map(|(x, made)| x + made).collect()
    }

    /// The logits `[T, W]` behind each token of a text that is known, given from the token that begins it on.
    pub fn logits(&self, tokens: &[u32]) -> Vec<f64> {
        let hidden = self.hidden;
        let (words, places) = (self.get("transformer.wte.weight"), self.get("transformer.wpe.weight"));
        let embedded = tokens.iter().zip(places.chunks(hidden)).flat_map(|(token, place)| {
            let word = &words[*token as usize * hidden..][..hidden];
            word.iter().zip(place).map(|(word, place)| word + place).collect::<Vec<_>>()
        });
        let mut x: Vec<f64> = embedded.collect();
        for layer in 0..self.layers {
            let name = format!("transformer.h.{layer}");
            x = self.around(&format!("{name}.ln_1"), &x, |x| self.attention(&format!("{name}.attn"), x));
            x = self.around(&format!("{name}.ln_2"), &x, |x| self.feed_forward(&format!("{name}.mlp"), x));
        }
        let x = self.norm("transformer.ln_f", &x);
        x.chunks(hidden).flat_map(|x| words.chunks(hidden).map(move |word| dot(word, x))).collect()
    }
}
