//! Names, shapes and first values of parameters: those of PyTorch's modules, so that `load_state_dict` takes them.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::{Config, Readout};
use crate::gpu::Shape;

impl Config {
    /// Every parameter's name and shape, in the order of PyTorch's `state_dict`.
    pub fn parameters(&self) -> Vec<(String, Shape)> {
        let Self { embedding, hidden, attention, .. } = *self;
        let mut all: Vec<(String, Shape)> = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.into()));
        add("encoder.embedding.weight".into(), &[self.source_vocabulary, embedding]);
        for layer in 0..self.encoder_layers {
            let input = if layer == 0 { embedding } else { 2 * hidden };
            for direction in ["", "_reverse"] {
                let name = |part: &str| format!("encoder.gru.{part}_l{layer}{direction}");
                add(name("weight_ih"), &[3 * hidden, input]);
                add(name("weight_hh"), &[3 * hidden, hidden]);
                add(name("bias_ih"), &[3 * hidden]);
                add(name("bias_hh"), &[3 * hidden]);
            }
        }
        add("bridge.weight".into(), &[hidden, hidden]);
        add("bridge.bias".into(), &[hidden]);
        add("attention.query.weight".into(), &[attention, hidden]);
        add("attention.key.weight".into(), &[attention, 2 * hidden]);
        add("attention.key.bias".into(), &[attention]);
        add("attention.energy.weight".into(), &[1, attention]);
        add("decoder.embedding.weight".into(), &[self.target_vocabulary, embedding]);
        add("decoder.cell.weight_ih".into(), &[3 * hidden, embedding + 2 * hidden]);
        add("decoder.cell.weight_hh".into(), &[3 * hidden, hidden]);
        add("decoder.cell.bias_ih".into(), &[3 * hidden]);
        add("decoder.cell.bias_hh".into(), &[3 * hidden]);
        if self.readout == Readout::Tanh {
            add("readout.weight".into(), &[self.readout_size, self.features()]);
            add("readout.bias".into(), &[self.readout_size]);
        }
        if !self.tie_embeddings {
            add("output.weight".into(), &[self.target_vocabulary, self.output_input()]);
        }
        add("output.bias".into(), &[self.target_vocabulary]);
        all
    }

    /// The range of a parameter's first values as PyTorch draws them: normal for embeddings (`None`), else uniform within
    /// one over the root of the layer's input size (of the hidden size, for a GRU).
    fn range(&self, name: &str) -> Option<f32> {
        let root = |size: usize| Some(1.0 / (size as f32).sqrt());
        match name.rsplit_once('.').map_or(name, |(layer, _)| layer) {
            // As an output layer's weight, a normal table would give logits in the tens.
            "decoder.embedding" if self.tie_embeddings => root(self.output_input()),
            "encoder.embedding" | "decoder.embedding" => None,
            "attention.key" => root(2 * self.hidden),
            "attention.energy" => root(self.attention),
            "readout" => root(self.features()),
            "output" => root(self.output_input()),
            _ => root(self.hidden),
        }
    }
}

/// First values of one parameter. They depend on the seed and the name alone.
pub fn initial(config: &Config, name: &str, shape: &Shape, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Every parameter has its own stream, so that none depends on the sizes of the others.
    random.set_stream(
        name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
    );
    (0..shape.elements())
        .map(|_| match config.range(name) {
            None => StandardNormal.sample(&mut random),
            Some(range) => random.random_range(-range..range),
        })
        .collect()
}
