//! Attention within a window: [`crate::kernels::sliding_window_attention`] as a setting of multi-head attention.

use super::{Graph, Value};
use crate::{
    Error, Result,
    gpu::{Dtype, Recorder, Tensor},
    kernels::{
        dot_product_attention::{DotProductAttention, Gradients, Heads, Inputs, Saved, Tile},
        sliding_window_attention::{Inputs as WindowInputs, SlidingWindowAttention},
    },
};

/// The keys that a query sees where it does not see all: those around its own position, and the global ones (Beltagy, Peters and
/// Cohan 2020, section 3.1).
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Keys to either side.
    pub reach: usize,
    /// The distance between these: 1 for neighbours.
    pub dilation: usize,
    /// `[B, G]`, u32: positions that every query sees, and whose queries see every key; in ascending order, each once, and T or more
    /// where a sequence has fewer than G.
    pub globals: Option<Value>,
}

impl Window {
    /// The nearest `reach` keys to either side, and no global positions.
    pub fn of(reach: usize) -> Self {
        Self { reach, dilation: 1, globals: None }
    }

    /// The operation that does as `attention` within the window.
    pub(super) fn operation(self, graph: &Graph, attention: DotProductAttention) -> Result<SlidingWindowAttention> {
        const NAME: &str = "sliding_window_attention";
        let DotProductAttention { batch, queries, keys, .. } = attention;
        let Self { reach, dilation, globals } = self;
        let wrong = |argument, wanted: String, got: usize| {
            Err(Error::Shape { operation: NAME, argument, wanted, got: got.to_string() })
        };
        if queries != keys {
            return wrong("query", format!("as many steps as there are keys, {keys}"), queries);
        }
        if dilation == 0 {
            return wrong("dilation", "1 or more".into(), dilation);
        }
        let globals = match globals {
            Some(positions) => graph.expect(NAME, "globals", positions, Dtype::U32, [Some(batch), None])?[1],
            None => 0,
        };
        Ok(SlidingWindowAttention { attention, window: reach, dilation, globals })
    }
}

/// What an attention node computes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attention {
    /// Its inputs may have a bias besides.
    Whole(DotProductAttention),
    /// Its inputs may have global positions besides.
    Window(SlidingWindowAttention),
}

impl Attention {
    /// The operation's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Whole(_) => "dot_product_attention",
            Self::Window(_) => "sliding_window_attention",
        }
    }

    /// Sizes, masks and dropout.
    pub(super) fn sizes(&self) -> &DotProductAttention {
        match self {
            Self::Whole(attention) => attention,
            Self::Window(window) => &window.attention,
        }
    }

    pub(super) fn record(
        &self,
        recorder: &mut Recorder,
        inputs: Inputs<'_>,
        besides: Option<&Tensor>,
        context: Heads<'_>,
        log_sum_exp: &Tensor,
    ) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), self.sizes().size);
        match self {
            Self::Whole(attention) => {
                attention.record(recorder, tile, &Inputs { bias: besides, ..inputs }, context, log_sum_exp)
            }
            Self::Window(window) => {
                let inputs = WindowInputs { attention: inputs, globals: besides };
                window.record(recorder, tile, &inputs, context, log_sum_exp)
            }
        }
    }

    pub(super) fn record_backward(
        &self,
        recorder: &mut Recorder,
        inputs: Inputs<'_>,
        besides: Option<&Tensor>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let tile = Tile::choose(recorder.gpu(), self.sizes().size);
        match self {
            Self::Whole(attention) => {
                attention.record_backward(recorder, tile, &Inputs { bias: besides, ..inputs }, saved, gradients)
            }
            Self::Window(window) => {
                let inputs = WindowInputs { attention: inputs, globals: besides };
                window.record_backward(recorder, tile, &inputs, saved, gradients)
            }
        }
    }
}
