//! Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional Sequence to Sequence Learning" (2017), sentence by sentence, without
//! weight normalisation.

use super::conv1d::{Conv1d, Padding};
use super::glu::Glu;
use super::seq2seq::Named;
use super::softmax::softmax;
use super::{add_scaled, dot};

/// ```text
/// e      = word + place                                  h = into(e)
/// h      = (glu(conv(h)) + h) / sqrt(2)                  for each layer
/// z      = outof(h)                                      what attention compares; its values are (z + e) / sqrt(2)
///
/// g      = word + place                                  h = into(g)
/// u      = glu(conv(h))                                  conv sees no later step
/// c      = sqrt(S) * attention of (query(u) + g) / sqrt(2)
/// h      = ((out(c) + u) / sqrt(2) + h) / sqrt(2)        for each layer
/// logits = output(outof(h))
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvS2S<'a> {
    /// Parameters by name.
    pub parameters: &'a Named,
    /// Size of an embedded word, E.
    pub embedding: usize,
    /// Channels, H.
    pub hidden: usize,
    /// Steps that each convolution of the encoder sees.
    pub encoder_widths: &'a [usize],
    /// The same of the decoder's.
    pub decoder_widths: &'a [usize],
}

/// A source as its encoder leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// z, `[S, E]`.
    pub key: Vec<f64>,
    /// `[S, E]`, times the root of S.
    pub value: Vec<f64>,
}

const HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;

fn halved_sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| (a + b) * HALF).collect()
}

impl ConvS2S<'_> {
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

    fn embed(&self, side: &str, tokens: &[u32]) -> Vec<f64> {
        let [words, places] = ["word", "position"].map(|table| self.get(&format!("{side}.{table}.weight")));
        let row = |(t, token): (usize, &u32)| -> Vec<f64> {
            let of = |table: &[f64], row: usize| table[row * self.embedding..][..self.embedding].to_vec();
            of(words, *token as usize).iter().zip(of(places, t)).map(|(word, place)| word + place).collect()
        };
        tokens.iter().enumerate().flat_map(row).collect()
    }

    fn convolution(&self, name: &str, x: &[f64], width: usize, padding: Padding) -> Vec<f64> {
        let (steps, channels) = (x.len() / self.hidden, self.hidden);
        let conv = Conv1d { batch: 1, steps, channels, outputs: 2 * channels, width, padding };
        let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        Glu { rows: steps, columns: channels }.forward(&conv.forward(x, weight, bias))
    }

    /// Reads a source, whose tokens are all there are.
    pub fn encode(&self, source: &[u32]) -> Encoded {
        let e = self.embed("encoder", source);
        let mut h = self.linear("encoder.into", &e);
        for (layer, width) in self.encoder_widths.iter().enumerate() {
            let made = self.convolution(&format!("encoder.convolutions.{layer}"), &h, *width, Padding::Same);
            h = halved_sum(&made, &h);
        }
        let key = self.linear("encoder.outof", &h);
        let root = (source.len() as f64).sqrt();
        let value = halved_sum(&key, &e).into_iter().map(|value| root * value).collect();
        Encoded { key, value }
    }

    fn attention(&self, layer: usize, u: &[f64], g: &[f64], source: &Encoded) -> Vec<f64> {
        let (name, size) = (format!("decoder.attention.{layer}"), self.embedding);
        let query = halved_sum(&self.linear(&format!("{name}.query"), u), g);
        let context = |query: &[f64]| -> Vec<f64> {
            let scores: Vec<f64> = source.key.chunks(size).map(|key| dot(query, key)).collect();
            let mut context = vec![0.0; size];
            for (weight, value) in softmax(&scores).into_iter().zip(source.value.chunks(size)) {
                add_scaled(&mut context, weight, value);
            }
            context
        };
        let contexts: Vec<f64> = query.chunks(size).flat_map(context).collect();
        halved_sum(&self.linear(&format!("{name}.out"), &contexts), u)
    }

    /// The logits `[T, W]` of a target that is known, given from `<bos>` on.
    pub fn decode(&self, source: &Encoded, target_in: &[u32]) -> Vec<f64> {
        let g = self.embed("decoder", target_in);
        let mut h = self.linear("decoder.into", &g);
        for (layer, width) in self.decoder_widths.iter().enumerate() {
            let u = self.convolution(&format!("decoder.convolutions.{layer}"), &h, *width, Padding::Causal);
            h = halved_sum(&self.attention(layer, &u, &g, source), &h);
        }
        self.linear("decoder.output", &self.linear("decoder.outof", &h))
    }
}
