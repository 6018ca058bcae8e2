//! A classifier in a search: the names of classes are texts of one token.

use super::{Bert, Linear, graph::Encoded};
use crate::{
    Error, Result, Tensor,
    batch::BatchShape,
    gpu::{Dtype, Recorder},
    kernels::{
        beam_search::{BeamSearch, Feed},
        matmul::{Matmul, Matrix, Operands, Tile},
    },
    model::{Architecture as _, Encoder, Layers, SearchRoom, StepOutputs, Stepper},
};

/// Logits that a step chooses between: those of the classes, and those that end a text.
const CHOICES: usize = 2;

/// Logits of the classes of all sources, from which a step takes those of the first token or, behind that, the text's end.
#[derive(Debug)]
pub(super) struct ClassStepper {
    network: Bert,
    /// From the first position's state to the classes.
    layers: [Linear; 2],
    search: BeamSearch,
    keys: usize,
    /// `[sentences, 2, W]`
    logits: Tensor,
    /// `[W, 2]`: for a token that was fed, which of the logits come behind it.
    table: Tensor,
    /// `[R, 2]`
    chosen: Tensor,
}

impl ClassStepper {
    pub fn new(network: &Bert, layers: [&Linear; 2], room: &SearchRoom<'_>) -> Result<Self> {
        let SearchRoom { gpu, search, keys, .. } = *room;
        let BeamSearch { sentences, classes, .. } = search;
        let behind = |token: usize| if token == network.config.specials.bos as usize { [1.0, 0.0] } else { [0.0, 1.0] };
        let table: Vec<f32> = (0..classes).flat_map(behind).collect();
        Ok(Self {
            logits: gpu.zeros("class logits", [sentences, CHOICES, classes], Dtype::F32)?,
            table: gpu.tensor("choices", [classes, CHOICES], Dtype::F32, &table)?,
            chosen: gpu.zeros("chosen", [search.rows(), CHOICES], Dtype::F32)?,
            network: network.clone(),
            layers: layers.map(Linear::clone),
            search,
            keys,
        })
    }
}

impl Stepper for ClassStepper {
    fn encoder(&self) -> Result<Encoder> {
        let mut layers = Layers::new();
        let rows = self.search.sentences;
        let Encoded { states, lengths, .. } =
            self.network.encode(&mut layers, BatchShape::new(rows, self.keys, CHOICES))?;
        let [dense, output] = &self.layers;
        let logits = self.network.class_logits(&mut layers, [dense, output], states, [rows, CHOICES])?;
        Ok(Encoder { graph: layers.graph, lengths, state: None, kept: vec![(logits, self.logits.clone())] })
    }

    fn record_step(&self, recorder: &mut Recorder, _: usize, outputs: &StepOutputs<'_>) -> Result<()> {
        if outputs.weights.is_some() {
            return Err(Error::data(
                self.network.name(),
                "tells a class and attends to nothing step by step; leave out what needs that, such as a coverage penalty",
            ));
        }
        let BeamSearch { sentences, beam, classes, .. } = self.search;
        let product = Matmul { m: beam, n: classes, k: CHOICES, batch: sentences, ..Matmul::default() };
        let [a, b] = [(&self.chosen, beam), (&self.logits, CHOICES)].map(|(tensor, rows)| {
            let stride = tensor.shape().last();
            Matrix { tensor, offset: 0, stride, batch_stride: rows * stride }
        });
        let c = Matrix { batch_stride: beam * outputs.logits.stride, ..outputs.logits };
        product.record(recorder, Tile::choose(recorder.gpu(), beam), &Operands { a, b, bias: None, c })
    }

    fn feed(&self) -> Feed<'_> {
        Feed { word: CHOICES, words: &self.table, word_rows: Matrix::rows(&self.chosen), gates: None, states: None }
    }
}
