//! What tests of generation share: models of a few tokens, and what they should write, by the CPU reference.

use std::collections::HashMap;

use softalign::{
    Gpu,
    generate::{Hypothesis, SearchOptions},
    model::{
        Model,
        bahdanau::{Bahdanau, Config, Readout},
    },
    reference::{
        attentional_decoder::{AttentionalDecoder, DecoderInputs},
        beam_search::{Adjust, Attend, length_penalty},
        embedding::Embedding,
        gru::{Gru, GruInputs, GruWeights},
        matmul::{Activation, Matmul},
    },
    text::{BOS, EOS, TokenUnit, Tokenizer, UNK},
};

pub fn tokenizer(size: usize) -> Tokenizer {
    let text: String = ('a'..='z').take(size - 4).collect();
    Tokenizer::train(&TokenUnit::Chars, [text.as_str()].into_iter(), None).unwrap()
}

pub fn model(source: usize, target: usize, max_length: usize, readout: Readout, layers: usize, seed: u64) -> Model {
    model_on(super::gpu(), [source, target], max_length, readout, layers, seed)
}

pub fn model_on(
    gpu: &Gpu,
    [source, target]: [usize; 2],
    max_length: usize,
    readout: Readout,
    layers: usize,
    seed: u64,
) -> Model {
    // Sizes that wide loads serve, and sizes that they do not.
    let [embedding, hidden, attention] = if readout == Readout::None { [8, 16, 8] } else { [6, 10, 9] };
    let config = Config {
        embedding,
        hidden,
        attention,
        readout,
        readout_size: 7,
        encoder_layers: layers,
        max_length,
        ..Config::new(source, target)
    };
    let model = Model::new(gpu, Bahdanau::new(config).unwrap(), tokenizer(source), tokenizer(target), seed).unwrap();
    // First values are small, and every text then nearly as good as any other: sharper ones make choices that rounding
    // does not turn.
    for name in ["output.weight", "attention.energy.weight"] {
        let tensor = model.parameters.tensor(name).unwrap();
        let values: Vec<f32> = model.gpu.read(&tensor).unwrap();
        model.gpu.write(&tensor, &values.iter().map(|value| 4.0 * value).collect::<Vec<_>>()).unwrap();
    }
    model
}

/// The model on the CPU, in f64, from its parameters by name.
pub struct Reference {
    pub config: Config,
    pub tensors: HashMap<String, Vec<f64>>,
}

pub struct Encoded {
    pub annotation: Vec<f64>,
    pub key: Vec<f64>,
    pub state: Vec<f64>,
    pub length: usize,
}

impl Reference {
    pub fn new(model: &Model) -> Self {
        let tensors = model.parameters.names().iter().map(|name| {
            let values: Vec<f32> = model.gpu.read(&model.parameters.tensor(name).unwrap()).unwrap();
            (name.clone(), values.into_iter().map(f64::from).collect())
        });
        Self { config: serde_json::from_str(&model.network.config().unwrap()).unwrap(), tensors: tensors.collect() }
    }

    pub fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    pub fn cell(&self, prefix: &str, suffix: &str) -> GruWeights {
        let part = |part: &str| self.get(&format!("{prefix}.{part}{suffix}")).to_vec();
        GruWeights {
            weight_ih: part("weight_ih"),
            weight_hh: part("weight_hh"),
            bias_ih: part("bias_ih"),
            bias_hh: part("bias_hh"),
        }
    }

    pub fn linear(&self, layer: &str, x: &[f64], n: usize, activation: Activation) -> Vec<f64> {
        let weight = self.get(&format!("{layer}.weight"));
        let k = weight.len() / n;
        let product = Matmul { m: x.len() / k, n, k, batch: 1, transpose_a: false, transpose_b: true, activation };
        product.forward(x, weight, Some(self.get(&format!("{layer}.bias"))))
    }

    pub fn encode(&self, source: &[u32]) -> Encoded {
        let Config { source_vocabulary, embedding, hidden, attention, encoder_layers, .. } = self.config;
        let length = source.len();
        let table = Embedding { vocabulary: source_vocabulary, size: embedding, padding: None };
        let mut x = table.forward(self.get("encoder.embedding.weight"), source);
        let mut last = Vec::new();
        for layer in 0..encoder_layers {
            let input = x.len() / length;
            let gru = Gru { batch: 1, steps: length, input, hidden, directions: 2 };
            let weights = ["", "_reverse"].map(|way| self.cell("encoder.gru", &format!("_l{layer}{way}")));
            let outputs = gru.forward(&GruInputs {
                x: &x,
                h0: &vec![0.0; 2 * hidden],
                lengths: &[length as u32],
                weights: &weights,
                mask: None,
            });
            (x, last) = (outputs.y, outputs.hn);
        }
        let state = self.linear("bridge", &last[hidden..], hidden, Activation::Tanh);
        let key = self.linear("attention.key", &x, attention, Activation::None);
        Encoded { annotation: x, key, state, length }
    }

    /// Log-probabilities of the next token after `<bos>` and `target`, and the alignment weights of every step.
    pub fn next(&self, encoded: &Encoded, target: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let Config { target_vocabulary, embedding, hidden, attention, readout, readout_size, .. } = self.config;
        let fed: Vec<u32> = std::iter::once(BOS).chain(target.iter().copied()).collect();
        let table = Embedding { vocabulary: target_vocabulary, size: embedding, padding: None };
        let words = table.forward(self.get("decoder.embedding.weight"), &fed);
        let decoder = AttentionalDecoder {
            batch: 1,
            steps: fed.len(),
            keys: encoded.length,
            word: embedding,
            hidden,
            size: attention,
            annotation: 2 * hidden,
        };
        let outputs = decoder.forward(&DecoderInputs {
            words: &words,
            state0: &encoded.state,
            key: &encoded.key,
            annotation: &encoded.annotation,
            lengths: &[encoded.length as u32],
            query_weight: self.get("attention.query.weight"),
            energy: self.get("attention.energy.weight"),
            cell: &self.cell("decoder.cell", ""),
            mask: None,
        });
        let size = 3 * hidden + embedding;
        let mut features = outputs.features[(fed.len() - 1) * size..].to_vec();
        if readout == Readout::Tanh {
            features = self.linear("readout", &features, readout_size, Activation::Tanh);
        }
        let logits = self.linear("output", &features, target_vocabulary, Activation::None);
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let logarithm = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        (logits.into_iter().map(|logit| logit - logarithm).collect(), outputs.weights)
    }
}

/// The texts that a search may find, one by one.
pub struct Space<'a> {
    pub members: Vec<&'a Reference>,
    pub steps: usize,
    pub prefix: Vec<u32>,
    pub options: SearchOptions,
}

impl<'a> Space<'a> {
    pub fn new(members: impl IntoIterator<Item = &'a Reference>, options: SearchOptions) -> Self {
        let members: Vec<_> = members.into_iter().collect();
        let steps = options.max_length.unwrap_or(members[0].config.max_length);
        Self { members, steps, prefix: Vec::new(), options }
    }

    /// Log-probabilities of the next token after `text`, and the alignment weights of each step.
    pub fn next(&self, encoded: &[Encoded], text: &[u32]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let each: Vec<_> =
            self.members.iter().zip(encoded).map(|(member, encoded)| member.next(encoded, text)).collect();
        let logits: Vec<&[f64]> = each.iter().map(|(logarithms, _)| logarithms.as_slice()).collect();
        let SearchOptions { min_length: shortest, no_repeat_ngram: ngram, forbid_unknown, .. } = self.options;
        let adjust = Adjust { classes: logits[0].len(), shortest, ngram, forbidden: forbid_unknown.then_some(UNK) };
        let mean = |at: usize| each.iter().map(|(_, weights)| weights[at]).sum::<f64>() / each.len() as f64;
        let weights: Vec<f64> = (0..each[0].1.len()).map(mean).collect();
        let weights = weights.chunks(encoded[0].length).map(<[f64]>::to_vec).collect();
        (adjust.forward(&logits, text, self.prefix.get(text.len()).copied()), weights)
    }

    pub fn hypothesis(&self, text: &[u32], log_probability: f64, weights: &[Vec<f64>]) -> Hypothesis {
        let attend = Attend { coverage_penalty: self.options.coverage_penalty.into() };
        let score = log_probability / length_penalty(self.options.length_penalty.into(), text.len());
        let finished = text.last() == Some(&EOS);
        let tokens = text[..text.len() - usize::from(finished)].to_vec();
        let attended = weights.iter().map(|weights| Attend::position(weights) as u32).take(tokens.len()).collect();
        Hypothesis { tokens, score: (score + attend.penalty(weights)) as f32, finished, attended }
    }

    pub fn encode(&self, source: &[u32]) -> Vec<Encoded> {
        self.members.iter().map(|member| member.encode(source)).collect()
    }

    pub fn greedy(&self, source: &[u32]) -> Hypothesis {
        let encoded = self.encode(source);
        let (mut text, mut sum) = (Vec::new(), 0.0);
        loop {
            let (logarithms, weights) = self.next(&encoded, &text);
            let best = (2..logarithms.len()).reduce(|a, b| if logarithms[b] > logarithms[a] { b } else { a }).unwrap();
            sum += logarithms[best];
            text.push(best as u32);
            if best as u32 == EOS || text.len() == self.steps {
                return self.hypothesis(&text, sum, &weights);
            }
        }
    }

    /// Every text of up to so many tokens, `<eos>` included: those that end, and those that are cut there. The best first.
    pub fn all(&self, source: &[u32]) -> Vec<Hypothesis> {
        let encoded = self.encode(source);
        let (mut open, mut texts) = (vec![(Vec::new(), 0.0)], Vec::new());
        for step in 1..=self.steps {
            for (text, sum) in std::mem::take(&mut open) {
                let (logarithms, weights) = self.next(&encoded, &text);
                for (token, logarithm) in logarithms.iter().enumerate().skip(2).filter(|(_, x)| **x > -1e29) {
                    let longer: (Vec<u32>, f64) = ([&text[..], &[token as u32]].concat(), sum + logarithm);
                    if token as u32 == EOS || step == self.steps {
                        texts.push(self.hypothesis(&longer.0, longer.1, &weights));
                    } else {
                        open.push(longer);
                    }
                }
            }
        }
        texts.sort_by(|a, b| b.score.total_cmp(&a.score));
        texts
    }
}

/// Sources of mixed lengths, `<eos>` at their end.
pub fn sources(count: usize, vocabulary: u32, longest: usize) -> Vec<Vec<u32>> {
    let number = |i: usize, j: usize| (i * 31 + j * 17 + i * j * 7) as u32;
    (0..count)
        .map(|i| {
            let length = (i * 13 + 5) % longest;
            (0..length).map(|j| 4 + number(i, j) % (vocabulary - 4)).chain([EOS]).collect()
        })
        .collect()
}

pub fn same(found: &Hypothesis, wanted: &Hypothesis) -> bool {
    found.tokens == wanted.tokens
        && (found.attended.is_empty() || found.attended == wanted.attended)
        && found.finished == wanted.finished
        && (found.score - wanted.score).abs() < 2e-4 * wanted.score.abs().max(1.0)
}
