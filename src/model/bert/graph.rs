//! The model's graph.

use super::{Bert, Layer, Linear, Prediction, config::SPECIALS};
use crate::{
    Error, Result,
    batch::MOST_GLOBALS,
    gpu::Dtype,
    graph::Value,
    kernels::matmul::Activation,
    model::{Architecture as _, Attended, BatchShape, Forward, LayerDropout, Layers, Memory, Weighing},
};

/// The logit of a class or a position that no answer is.
const IMPOSSIBLE: f32 = -1e4;

/// The result of the encoder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    /// `[B, S, D]`
    pub states: Value,
    /// `[B]`, of the texts.
    pub lengths: Value,
    /// What the top layer's positions looked at, `[B, S, S]`, but for training and windows.
    attention: Option<Value>,
}

impl Layer {
    /// `x` `[B, S, D]`, of texts that have such lengths and, within windows, such global positions; and, without windows, what tells
    /// the weights of its attention.
    fn forward(
        &self,
        layers: &mut Layers,
        x: Value,
        (lengths, globals): (Value, Option<Value>),
        dropout: LayerDropout,
    ) -> Result<(Value, Option<Attended>)> {
        let Self { block, window } = self;
        let mut attended = None;
        let result = block.attending(layers, x, dropout, |layers, x| {
            let memory = Memory { states: x, lengths };
            if let (Some(window), Some(globals)) = (window, globals) {
                return window.forward(layers, &block.attention, memory, globals, dropout.weights);
            }
            let weighing = Weighing { dropout: dropout.weights, ..Weighing::default() };
            let made = block.attention.attend(layers, x, memory, weighing)?;
            attended = Some(made);
            Ok(made.result)
        })?;
        Ok((result, attended))
    }
}

/// The logits of the first and the last position of an answer, `[B, 2, S]`, from the states. The loss of training counts padding among
/// the positions, as Hugging Face's does; elsewhere no answer begins or ends there, so that its probability is the same in any batch.
fn end_logits(layers: &mut Layers, output: &Linear, states: Value, lengths: Value) -> Result<Value> {
    let mut ends = output.forward(layers, states, Activation::None)?;
    if !layers.is_training() {
        ends = within_texts(layers, ends, lengths)?;
    }
    layers.graph.permute(ends, &[0, 2, 1])
}

/// Logits `[B, S, C]` that are impossible behind the ends of texts.
fn within_texts(layers: &mut Layers, logits: Value, lengths: Value) -> Result<Value> {
    let graph = &mut layers.graph;
    let shape = graph.dims(logits).to_vec();
    let [everywhere, possible] = [IMPOSSIBLE, -IMPOSSIBLE].map(|logit| graph.filled(shape.as_slice(), logit));
    let possible = graph.length_mask(possible, lengths, false)?;
    let behind = graph.add(everywhere, possible)?;
    let within = graph.length_mask(logits, lengths, false)?;
    graph.add(within, behind)
}

/// `[B, P, W]` with zeros behind it, `[B, T, W]`: a batch may have places for more targets than there are.
fn with_more_places(layers: &mut Layers, x: Value, places: usize) -> Result<Value> {
    let &[rows, own, width] = layers.graph.dims(x) else { return Ok(x) };
    let Some(more) = places.checked_sub(own).filter(|more| *more > 0) else { return Ok(x) };
    let graph = &mut layers.graph;
    let x = graph.reshape(x, [rows, own * width])?;
    let zeros = graph.filled([rows, more * width], 0.0);
    let all = graph.concatenate(&[x, zeros])?;
    graph.reshape(all, [rows, places, width])
}

impl Bert {
    /// The states of every position. Inputs are `source` and `segments` `[B, S]` and `lengths` `[B]`, and `globals` `[B, G]`
    /// where attention has a window.
    pub(super) fn encode(&self, layers: &mut Layers, shape: BatchShape) -> Result<Encoded> {
        let (BatchShape { rows, source: steps, .. }, config) = (shape, &self.config);
        let tokens = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let segments = match config.segments {
            1 => layers.graph.counts([rows, steps], 0),
            _ => layers.graph.input("segments", [rows, steps], Dtype::U32),
        };
        let [words, kinds] = [&self.words, &self.segments].map(|table| layers.parameter(&table.weight));
        let words = layers.graph.embedding_with_padding(words, tokens, config.specials.pad)?;
        let words = layers.drop_words(words, 0.0)?;
        let kinds = layers.graph.embedding(kinds, segments)?;
        let x = layers.graph.add(words, kinds)?;
        let x = self.positions.forward(layers, x, 1.0)?;
        let x = self.norm.forward(layers, x)?;
        let mut x = layers.drop(x, config.dropout)?;
        let dropout = LayerDropout { results: config.dropout, weights: config.attention_dropout, between: 0.0 };
        let globals = match (config.is_longformer(), config.named) {
            (false, _) => None,
            // The state that stands for a text sees all of it (Beltagy et al. 2020, section 3.1).
            (true, true) => {
                let first = (0..rows * MOST_GLOBALS).map(|at| if at % MOST_GLOBALS == 0 { 0 } else { u32::MAX });
                Some(layers.graph.numbers([rows, MOST_GLOBALS], first.collect())?)
            }
            (true, false) => Some(layers.graph.input("globals", [rows, MOST_GLOBALS], Dtype::U32)),
        };
        let mut attention = None;
        for (number, layer) in (1..).zip(&self.layers) {
            let memory = Memory { states: x, lengths };
            let (result, attended) = layer.forward(layers, x, (lengths, globals), dropout)?;
            x = result;
            if let Some(attended) = attended.filter(|_| number == self.layers.len() && !layers.is_training()) {
                attention = Some(layer.block.attention.weights(layers, &attended, memory)?);
            }
        }
        Ok(Encoded { states: x, lengths, attention })
    }

    /// The logits of classes, from the first position's state: `[B, 1, W]`. Where classes have names, W is the target vocabulary.
    fn class_logits(&self, layers: &mut Layers, [dense, output]: [&Linear; 2], states: Value) -> Result<Value> {
        let config = &self.config;
        let first = layers.graph.slice(states, 1, 0..1)?;
        let first = if config.follows_roberta() { layers.drop(first, config.dropout)? } else { first };
        let pooled = dense.forward(layers, first, Activation::Tanh)?;
        let pooled = layers.drop(pooled, config.dropout)?;
        let logits = output.forward(layers, pooled, Activation::None)?;
        if !config.named {
            return Ok(logits);
        }
        let rows = layers.graph.dims(logits).iter().product::<usize>() / config.classes;
        let specials = layers.graph.filled([rows, 1, SPECIALS], IMPOSSIBLE);
        layers.graph.concatenate(&[specials, logits])
    }

    /// Inputs beside the encoder's are `target_out`: tokens `[B, S]`, or `[B, T]` with a class, or the first and the last position
    /// of each answer, first.
    pub(super) fn predict(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let (BatchShape { rows, source: steps, .. }, config) = (shape, &self.config);
        let Encoded { states: x, lengths, attention } = self.encode(layers, shape)?;
        let (logits, attention) = match &self.prediction {
            Prediction::Nothing => {
                return Err(Error::data(self.name(), "predicts nothing with this head: its states are what is wanted"));
            }
            Prediction::Masked { dense, norm, output } => {
                let x = dense.forward(layers, x, Activation::None)?;
                let x = config.activation.forward(layers, x)?;
                let x = norm.forward(layers, x)?;
                (output.forward(layers, x, Activation::None)?, None)
            }
            Prediction::Classify { dense, output } => {
                let logits = self.class_logits(layers, [dense, output], x)?;
                // A class is told from the first position's state.
                let first = attention.map(|weights| layers.graph.slice(weights, 1, 0..1)).transpose()?;
                (logits, first)
            }
            Prediction::Span(output) => {
                let ends = end_logits(layers, output, x, lengths)?;
                // How likely an answer begins, and ends, at each token: what it was made from.
                let likely = if layers.is_training() { None } else { Some(layers.graph.softmax(ends, None)?) };
                (ends, likely)
            }
        };
        let target = match &self.prediction {
            Prediction::Nothing | Prediction::Masked { .. } => steps,
            Prediction::Classify { .. } => shape.target.max(1),
            Prediction::Span(_) => shape.target.max(2),
        };
        let logits = with_more_places(layers, logits, target)?;
        let attention = attention.map(|weights| with_more_places(layers, weights, target)).transpose()?;
        let targets = layers.graph.input("target_out", [rows, target], Dtype::U32);
        Ok(Forward { logits, targets, attention })
    }
}
