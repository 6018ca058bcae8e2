//! Vaswani et al., "Attention Is All You Need" (2017), sentence by sentence, normalised after each layer as there or before it.

use super::dot;
use super::seq2seq::Named;
use super::softmax::softmax;

/// The nonlinearity of the feed-forward parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonlinearity {
    /// `max(x, 0)`
    Relu,
    /// `x sigmoid(x)`
    Swish,
}

/// The origin of the vectors of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Sines and cosines in turn (section 3.5).
    Sinusoidal,
    /// All sines before all cosines.
    SinesFirst,
    /// A table whose row `first` is the first place's.
    Learned {
        /// Rows before that of the first place.
        first: usize,
    },
}

/// ```text
/// x      = factor * word + position, normalised where the settings say so
/// states = layers of attention to all of x, and of a feed-forward part
/// y      = layers of attention to what is before a place, of attention to the states, and of a feed-forward part
/// logits = W y
/// ```
///
/// A layer f adds to what passes it by: `norm(x + f(x))`, or first normalised `x + f(norm(x))`, and then once more at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transformer<'a> {
    /// Parameters by the names of Hugging Face's BART.
    pub parameters: &'a Named,
    /// D.
    pub hidden: usize,
    /// N.
    pub heads: usize,
    /// Layers of the encoder and of the decoder.
    pub layers: [usize; 2],
    /// Whether layers are normalised first.
    pub norm_first: bool,
    /// Where positions come from.
    pub positions: Positions,
    /// The nonlinearity of the feed-forward parts.
    pub activation: Nonlinearity,
    /// Whether embedded words are normalised with their positions.
    pub embedding_norm: bool,
    /// The factor on embedded words.
    pub factor: f64,
    /// The names of the tables of source and target words, and of the output layer's weight.
    pub tables: [&'a str; 3],
}

/// What is added to a variance.
const EPSILON: f64 = 1e-5;

impl Transformer<'_> {
    fn get(&self, name: &str) -> &[f64] {
        &self.parameters[name]
    }

    /// Each row of x by a layer with a bias.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let inputs = weight.len() / bias.len();
        let row = |x: &[f64]| -> Vec<f64> {
            weight.chunks(inputs).zip(bias).map(|(weight, bias)| dot(weight, x) + bias).collect()
        };
        x.chunks(inputs).flat_map(row).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (gain, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let size = self.hidden as f64;
        let row = |x: &[f64]| -> Vec<f64> {
            let mean = x.iter().sum::<f64>() / size;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / size;
            let scale = (variance + EPSILON).sqrt().recip();
            x.iter().zip(gain).zip(bias).map(|((x, gain), bias)| (x - mean) * scale * gain + bias).collect()
        };
        x.chunks(self.hidden).flat_map(row).collect()
    }

    /// The vector of a place.
    fn place(&self, side: &str, t: usize) -> Vec<f64> {
        let (size, place) = (self.hidden, t as f64);
        let angle = |pair: usize| place / 10_000_f64.powf(2.0 * pair as f64 / size as f64);
        match self.positions {
            Positions::Sinusoidal => (0..size / 2).flat_map(|pair| [angle(pair).sin(), angle(pair).cos()]).collect(),
            Positions::SinesFirst => {
                let sines = (0..size / 2).map(|pair| angle(pair).sin());
                sines.chain((0..size / 2).map(|pair| angle(pair).cos())).collect()
            }
            Positions::Learned { first } => {
                self.get(&format!("model.{side}.embed_positions.weight"))[(first + t) * size..][..size].to_vec()
            }
        }
    }

    fn embed(&self, side: &str, table: &str, tokens: &[u32]) -> Vec<f64> {
        let row = |(t, token): (usize, &u32)| -> Vec<f64> {
            let word = &self.get(table)[*token as usize * self.hidden..][..self.hidden];
            word.iter().zip(self.place(side, t)).map(|(word, place)| self.factor * word + place).collect()
        };
        let x: Vec<f64> = tokens.iter().enumerate().flat_map(row).collect();
        if self.embedding_norm { self.norm(&format!("model.{side}.layernorm_embedding"), &x) } else { x }
    }

    /// The contexts of the queries of x among the rows of `memory`; a query sees at most its own place if `causal`.
    fn attention(&self, name: &str, x: &[f64], memory: &[f64], causal: bool) -> Vec<f64> {
        let (hidden, size) = (self.hidden, self.hidden / self.heads);
        let query = self.linear(&format!("{name}.q_proj"), x);
        let key = self.linear(&format!("{name}.k_proj"), memory);
        let value = self.linear(&format!("{name}.v_proj"), memory);
        let keys = memory.len() / hidden;
        let mut contexts = vec![0.0; x.len()];
        for t in 0..x.len() / hidden {
            let seen = if causal { t + 1 } else { keys };
            for head in 0..self.heads {
                let of =
                    |rows: &'_ [f64], row: usize| -> Vec<f64> { rows[row * hidden + head * size..][..size].to_vec() };
                let scores: Vec<f64> =
                    (0..seen).map(|s| dot(&of(&query, t), &of(&key, s)) / (size as f64).sqrt()).collect();
                let context = &mut contexts[t * hidden + head * size..][..size];
                for (s, weight) in softmax(&scores).into_iter().enumerate() {
                    super::add_scaled(context, weight, &of(&value, s));
                }
            }
        }
        self.linear(&format!("{name}.out_proj"), &contexts)
    }

    fn feed_forward(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let activation = |x: f64| match self.activation {
            Nonlinearity::Relu => x.max(0.0),
            Nonlinearity::Swish => x * super::sigmoid(x),
        };
        let between: Vec<f64> = self.linear(&format!("{name}.fc1"), x).into_iter().map(activation).collect();
        self.linear(&format!("{name}.fc2"), &between)
    }

    fn around(&self, norm: &str, x: &[f64], layer: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
        let sum = |made: Vec<f64>| -> Vec<f64> { x.iter().zip(made).map(|(x, made)| x + made).collect() };
        if self.norm_first { sum(layer(&self.norm(norm, x))) } else { self.norm(norm, &sum(layer(x))) }
    }

    fn finish(&self, side: &str, x: Vec<f64>) -> Vec<f64> {
        if self.norm_first { self.norm(&format!("model.{side}.layer_norm"), &x) } else { x }
    }

    /// The states `[S, D]` of a source, whose tokens are all there are.
    pub fn encode(&self, source: &[u32]) -> Vec<f64> {
        let mut x = self.embed("encoder", self.tables[0], source);
        for layer in 0..self.layers[0] {
            let name = format!("model.encoder.layers.{layer}");
            let attention = |x: &[f64]| self.attention(&format!("{name}.self_attn"), x, x, false);
            x = self.around(&format!("{name}.self_attn_layer_norm"), &x, attention);
            x = self.around(&format!("{name}.final_layer_norm"), &x, |x| self.feed_forward(&name, x));
        }
        self.finish("encoder", x)
    }

    /// The logits `[T, W]` of a target that is known, given from `<bos>` on.
    pub fn decode(&self, states: &[f64], target_in: &[u32]) -> Vec<f64> {
        let mut x = self.embed("decoder", self.tables[1], target_in);
        for layer in 0..self.layers[1] {
            let name = format!("model.decoder.layers.{layer}");
            let own = |x: &[f64]| self.attention(&format!("{name}.self_attn"), x, x, true);
            x = self.around(&format!("{name}.self_attn_layer_norm"), &x, own);
            let source = |x: &[f64]| self.attention(&format!("{name}.encoder_attn"), x, states, false);
            x = self.around(&format!("{name}.encoder_attn_layer_norm"), &x, source);
            x = self.around(&format!("{name}.final_layer_norm"), &x, |x| self.feed_forward(&name, x));
        }
        let x = self.finish("decoder", x);
        let weight = self.get(self.tables[2]);
        let bias = self.parameters.get("final_logits_bias");
        let logit = |x: &[f64], class: usize| {
            dot(&weight[class * self.hidden..][..self.hidden], x) + bias.map_or(0.0, |bias| bias[class])
        };
        let classes = weight.len() / self.hidden;
        x.chunks(self.hidden).flat_map(|x| (0..classes).map(move |class| logit(x, class))).collect()
    }
}
