//! The model's graph: two streams of states, to which layers add in turn. Either is made again in the backward pass from the other.

use super::{AttentionKind, Layer, PlaceVectors, Reformer, SelfAttention};
use crate::{
    Result,
    gpu::Dtype,
    graph::{Buckets, ChunkedAttention, Value},
    kernels::{lsh_attention::Padding, matmul::Activation},
    model::{BatchShape, Forward, Layers},
};

/// What the layers make of a text.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Both streams side by side and normalised, `[B, T, 2·D]`.
    pub states: Value,
    /// The second stream before each layer and after the last, `[B, T', D]`, T' being T with padding.
    pub hidden: Vec<Value>,
    /// The buckets of each layer that hashes, `[B, N, hashes, T']`; none where a text is one chunk.
    pub buckets: Vec<Value>,
}

/// Tokens and lengths of a batch.
#[derive(Clone, Copy, Debug)]
struct Texts {
    rows: usize,
    /// T
    steps: usize,
    /// T'
    padded: usize,
    /// `[B]`
    lengths: Value,
    /// Whether each text has the padding that it would have by itself, and not T'.
    alone: bool,
}

impl PlaceVectors {
    /// `x` `[B, T, D]` with the vectors of its places added.
    fn forward(&self, layers: &mut Layers, x: Value, Texts { rows, steps, .. }: Texts) -> Result<Value> {
        let tables = match self {
            Self::Table(positions) => return positions.forward(layers, x, 1.0),
            Self::Axial(tables) => tables,
        };
        let columns = tables[1].shape.dims().get(1).copied().unwrap_or(1);
        let places = |of: fn(usize, usize) -> usize| -> Vec<u32> {
            (0..rows).flat_map(|_| (0..steps).map(|place| of(place, columns) as u32)).collect()
        };
        let numbers = [places(|place, columns| place / columns), places(|place, columns| place % columns)];
        let mut parts = Vec::new();
        for (table, numbers) in tables.iter().zip(numbers) {
            let (table, shape) = (layers.parameter(table), [table.shape.rows(), table.shape.last()]);
            let table = layers.graph.reshape(table, shape)?;
            let numbers = layers.graph.numbers([rows, steps], numbers)?;
            parts.push(layers.graph.embedding(table, numbers)?);
        }
        let vectors = layers.graph.concatenate(&parts)?;
        layers.graph.add(x, vectors)
    }
}

impl Layer {
    /// Contexts for normalised `x` `[B, T', D]`, by `directions` where the layer hashes, and the buckets by which it does.
    fn attend(
        &self,
        layers: &mut Layers,
        model: &Reformer,
        x: Value,
        texts: Texts,
        directions: Option<Value>,
    ) -> Result<(Value, Option<Value>)> {
        let config = &model.config;
        let project = |layers: &mut Layers, layer: &super::Linear| layer.forward(layers, x, Activation::None);
        let (lengths, heads) = (texts.lengths, config.heads);
        let padding = texts.alone.then(|| Padding { least: config.least(), multiple: config.multiple() });
        let attention = match &self.attention {
            SelfAttention::Local { query, key, value } => ChunkedAttention {
                query: project(layers, query)?,
                key: Some(project(layers, key)?),
                value: project(layers, value)?,
                lengths,
                buckets: None,
                heads,
                chunk: config.chunk(AttentionKind::Local),
                before: config.local_before,
                after: 0,
                causal: true,
                padding,
                dropout: layers.rate(config.local_dropout),
            },
            SelfAttention::Lsh { query_key, value, .. } => {
                let query = project(layers, query_key)?;
                let mut buckets: Option<Buckets> = None;
                if let Some(directions) = directions {
                    buckets = Some(layers.graph.lsh_buckets(query, directions, lengths, &config.buckets)?);
                }
                ChunkedAttention {
                    query,
                    key: None,
                    value: project(layers, value)?,
                    lengths,
                    buckets,
                    heads,
                    chunk: config.chunk(AttentionKind::Lsh),
                    before: config.lsh_before,
                    after: 0,
                    causal: true,
                    padding,
                    dropout: layers.rate(config.lsh_dropout),
                }
            }
        };
        let context = layers.graph.lsh_attention(&attention)?;
        let result = self.attention_output.forward(layers, context, Activation::None)?;
        Ok((layers.drop(result, config.dropout)?, attention.buckets.map(|buckets| buckets.numbers)))
    }
}

impl Reformer {
    /// The directions of each layer that hashes, as constants; none for a text that is one chunk.
    fn directions(&self, layers: &mut Layers, texts: Texts) -> Result<Vec<Option<Value>>> {
        let mut given = self.directions.iter().flatten();
        let of_layer = |layer: &Layer| {
            let SelfAttention::Lsh { directions, .. } = &layer.attention else { return Ok(None) };
            let values = given.next().cloned();
            if texts.padded <= self.config.lsh_chunk {
                return Ok(None);
            }
            let values = values.unwrap_or_else(|| directions.values(self.config.hash_seed));
            layers.graph.constant(directions.shape.clone(), values).map(Some)
        };
        self.layers.iter().map(of_layer).collect()
    }

    /// Zeros behind `x` `[B, T, D]`: `[B, T', D]`.
    fn pad(&self, layers: &mut Layers, x: Value, Texts { rows, steps, padded, .. }: Texts) -> Result<Value> {
        if steps == padded {
            return Ok(x);
        }
        let (graph, size) = (&mut layers.graph, self.config.hidden);
        let flat = graph.reshape(x, [rows, steps * size])?;
        let zeros = graph.filled([rows, (padded - steps) * size], 0.0);
        let whole = graph.concatenate(&[flat, zeros])?;
        graph.reshape(whole, [rows, padded, size])
    }

    /// Tokens `[B, T]`, `lengths` `[B]` of each of which are no padding, through the layers.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn encode(&self, layers: &mut Layers, tokens: Value, lengths: Value) -> Result<Encoded> {
        self.encode_padded(layers, tokens, lengths, false)
    }

    /// The same; `alone`: as if each text were the only one, and T its length.
    pub(super) fn encode_padded(
        &self,
        layers: &mut Layers,
        tokens: Value,
        lengths: Value,
        alone: bool,
    ) -> Result<Encoded> {
        let dropout = self.config.dropout;
        let table = layers.parameter(&self.words.weight);
        let words = layers.graph.embedding(table, tokens)?;
        let (rows, steps) = match *layers.graph.dims(words) {
            [rows, steps, _] => (rows, steps),
            // Of another shape: operations say so.
            _ => (0, 0),
        };
        let texts = Texts { rows, steps, padded: self.config.padded(steps), lengths, alone };
        let words = layers.drop_words(words, dropout)?;
        let placed = self.places.forward(layers, words, texts)?;
        let x = self.pad(layers, placed, texts)?;
        let directions = self.directions(layers, texts)?;
        let (mut first, mut second) = (x, x);
        let (mut hidden, mut buckets) = (vec![second], Vec::new());
        for (layer, directions) in self.layers.iter().zip(directions) {
            first = layers.reversible(first, second, |layers, x| {
                let x = layer.attention_norm.forward(layers, x)?;
                let (result, of_layer) = layer.attend(layers, self, x, texts, directions)?;
                buckets.extend(of_layer);
                Ok(result)
            })?;
            second = layers.reversible(second, first, |layers, x| {
                let x = layer.feed_forward_norm.forward(layers, x)?;
                let result = layer.feed_forward.forward(layers, x, dropout)?;
                layers.drop(result, dropout)
            })?;
            hidden.push(second);
        }
        let both = layers.graph.concatenate(&[first, second])?;
        let both = layers.graph.slice(both, 1, 0..steps)?;
        let states = self.norm.forward(layers, both)?;
        Ok(Encoded { states: layers.drop(states, dropout)?, hidden, buckets })
    }

    /// Inputs are `target_in` and `target_out` `[B, T]` and `target_lengths` `[B]`.
    pub(super) fn teacher_forced(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        let [tokens, targets] = layers.targets(shape);
        let lengths = layers.graph.input("target_lengths", [shape.rows], Dtype::U32);
        let states = self.encode(layers, tokens, lengths)?.states;
        Ok(Forward { logits: self.output.forward(layers, states, Activation::None)?, targets, attention: None })
    }
}
