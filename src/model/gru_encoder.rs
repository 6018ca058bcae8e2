//! An encoder of GRU layers over a source's own words.

use super::{BatchShape, Embedding, GruCell, Layers, Parameter};
use crate::{
    Result,
    gpu::Dtype,
    graph::{GruInput, Value},
};

/// The end of the parameters' names of each direction.
const DIRECTIONS: [&str; 2] = ["", "_reverse"];

/// Embedded source words and layers of one GRU or, read from both ends, of two.
#[derive(Clone, Debug)]
pub struct GruEncoder {
    embedding: Embedding,
    first: GruLayer,
    upper: Vec<GruLayer>,
}

/// The cells of a layer, one for each direction.
#[derive(Clone, Debug)]
struct GruLayer {
    cells: Vec<GruCell>,
    hidden: usize,
}

/// The outputs of an encoder.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The states of the top layer, `[B, S, D H]`.
    pub annotation: Value,
    /// The last states of each layer's last direction from below, each `[1, B, H]`.
    pub finals: Vec<Value>,
    /// The last state of the top layer's last direction, `[B, H]`: of two directions it is the backward one's, which has read
    /// the first word last.
    pub last: Value,
    /// Source lengths, `[B]`.
    pub lengths: Value,
}

impl GruLayer {
    /// Those of both directions side by side, so that they can be read as one.
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let parts = self.cells.first().map_or(0, |cell| cell.parameters().count());
        (0..parts).flat_map(|part| self.cells.iter().filter_map(move |cell| cell.parameters().nth(part)))
    }

    /// Returns the states `[B, S, D H]`, and the last ones of the last direction `[1, B, H]`.
    fn forward(&self, layers: &mut Layers, x: GruInput, rows: usize, lengths: Value) -> Result<(Value, Value)> {
        let weights: Vec<_> = self.cells.iter().map(|cell| cell.values(layers)).collect();
        let states = [self.cells.len(), rows, self.hidden];
        let (h0, mask) = (layers.graph.filled(states, 0.0), layers.state_mask(states)?);
        let (states, last) = layers.graph.gru(x, h0, lengths, &weights, mask)?;
        Ok((states, *last.last().unwrap_or(&states)))
    }
}

impl GruEncoder {
    /// An encoder of `layers` layers, at least one, in one direction or two, named as a PyTorch module `encoder` with an
    /// `embedding` and a `gru`. Sizes are those of the vocabulary, a word and a state.
    pub fn new([vocabulary, word, hidden]: [usize; 3], layers: usize, bidirectional: bool) -> Self {
        let directions = if bidirectional { &DIRECTIONS[..] } else { &DIRECTIONS[..1] };
        let layer = |number: usize, input: usize| {
            let cell = |way: &&str| GruCell::new("encoder.gru", &format!("_l{number}{way}"), input, hidden);
            GruLayer { cells: directions.iter().map(cell).collect(), hidden }
        };
        Self {
            embedding: Embedding::new("encoder.embedding", vocabulary, word),
            first: layer(0, word),
            upper: (1..layers).map(|number| layer(number, directions.len() * hidden)).collect(),
        }
    }

    /// The table, then the layers from below.
    pub fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let layers = [&self.first].into_iter().chain(&self.upper);
        [&self.embedding.weight].into_iter().chain(layers.flat_map(GruLayer::parameters))
    }

    /// Reads the inputs `source` `[B, S]` and `lengths` `[B]`, with `dropout` on words and between layers. With `by_token` words
    /// reach the first layer through the table's products, where no dropout forbids it.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn forward(&self, layers: &mut Layers, shape: BatchShape, dropout: f32, by_token: bool) -> Result<Encoded> {
        let BatchShape { rows, source: steps, .. } = shape;
        let source = layers.graph.input("source", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("lengths", [rows], Dtype::U32);
        let table = layers.parameter(&self.embedding.weight);
        let words = if by_token && layers.keeps_words(dropout) {
            GruInput::Tokens { table, tokens: source }
        } else {
            let words = layers.graph.embedding(table, source)?;
            GruInput::Rows(layers.drop_words(words, dropout)?)
        };
        let (mut annotation, mut last) = self.first.forward(layers, words, rows, lengths)?;
        let mut finals = vec![last];
        for layer in &self.upper {
            let below = layers.drop(annotation, dropout)?;
            (annotation, last) = layer.forward(layers, below.into(), rows, lengths)?;
            finals.push(last);
        }
        let last = layers.graph.reshape(last, [rows, self.first.hidden])?;
        Ok(Encoded { annotation, finals, last, lengths })
    }
}
