//! Dot-product attention within a window, for long sequences: Beltagy, Peters and Cohan, "Longformer" (2020), section 3.1, with dilation
//! and global positions. What is computed and stored grows with T times the window, not with T·T.

use super::{
    dot_product_attention::{self, DotProductAttention, Gradients, Heads, Pass, Saved, Tile, forms},
    expect::{expect_apart, expect_of, expect_setting},
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Tensor, grid},
};

pub(super) static SLIDING_WINDOW_ATTENTION: Shader =
    shader!("sliding_window_attention", |tiles| forms(tiles, &[Pass::Forward]));
pub(super) static SLIDING_WINDOW_ATTENTION_BACKWARD: Shader =
    shader!("sliding_window_attention_backward", |tiles| forms(tiles, &[Pass::Queries, Pass::Keys]));

const NAME: &str = "sliding_window_attention";

/// [`DotProductAttention`] of as many queries as keys, where key s is visible to query t if it is there and one of these holds:
///
/// ```text
/// t - s = m * dilation for a whole number m with |m| <= window
/// s is global
/// t is global
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlidingWindowAttention {
    /// Which keys are there at all.
    pub attention: DotProductAttention,
    /// Keys to either side that a query sees.
    pub window: usize,
    /// The distance between these: 1 for neighbours.
    pub dilation: usize,
    /// The most global positions of a sequence, G; 0 without.
    pub globals: usize,
}

/// What attention within a window reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Without a bias.
    pub attention: dot_product_attention::Inputs<'a>,
    /// `[B, G]`, u32: the global positions of each sequence, in ascending order and each once. Where there are fewer than G, what
    /// follows is T or more.
    pub globals: Option<&'a Tensor>,
}

/// One pass over tensors, which is two dispatches where there are global positions.
struct Walk<'a> {
    kernel: &'static Shader,
    pass: Pass,
    /// In the order of their layouts in the parameters.
    heads: &'a [Heads<'a>],
    /// In the order of the kernel's bindings.
    tensors: &'a [&'a Tensor],
    /// Of as many queries and keys that see each other all.
    whole: Cost,
}

/// The rows that a dispatch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// Every one, with the columns in its window and the global ones.
    Own,
    /// The global ones, with all columns. What they had of the first is written over.
    Global,
}

impl SlidingWindowAttention {
    /// What the forward costs, with as many global positions in each sequence as there may be.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        self.cost_of(self.attention.cost(dtype))
    }

    /// What the backward costs: the sum of its dispatches.
    pub fn cost_backward(&self, dtype: Dtype) -> Cost {
        let mut sum = self.attention.cost_delta(dtype);
        sum += self.cost_of(self.attention.cost_pass(Pass::Queries, dtype));
        sum += self.cost_of(self.attention.cost_pass(Pass::Keys, dtype));
        sum
    }

    fn rows(&self) -> &'static [Rows] {
        if self.globals == 0 { &[Rows::Own] } else { &[Rows::Own, Rows::Global] }
    }

    fn cost_of(&self, whole: Cost) -> Cost {
        let mut sum = Cost::default();
        for rows in self.rows() {
            sum += self.cost_rows(*rows, whole);
        }
        sum
    }

    /// The share of a whole pass that a dispatch does.
    fn cost_rows(&self, rows: Rows, whole: Cost) -> Cost {
        let steps = self.attention.queries as f64;
        let sides = if self.attention.causal { 1.0 } else { 2.0 };
        let (walked, written) = match rows {
            Rows::Own => ((sides * self.window as f64 + 1.0 + self.globals as f64).min(steps) / steps, 1.0),
            Rows::Global => (self.globals as f64 / steps, self.globals as f64 / steps),
        };
        Cost {
            operations: whole.operations * walked,
            transcendental: whole.transcendental * walked,
            read: whole.read,
            written: whole.written * written,
        }
    }

    /// Records the forward: `context`, T rows a head, and `log_sum_exp` `[B, N, T]`, as [`DotProductAttention::record`] does.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another shape or type, or there are more queries than keys or fewer;
    /// [`crate::Error::Limit`] for heads or sequences that are too large, and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        context: Heads<'_>,
        log_sum_exp: &Tensor,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        let dot_product_attention::Inputs { query, key, value, lengths, step, .. } = inputs.attention;
        let dtype = query.tensor.dtype();
        let DotProductAttention { batch, heads, queries, size, .. } = self.attention;
        context.expect(NAME, "context", dtype, [batch, heads, queries, size])?;
        expect_of(Dtype::F32, NAME, "log_sum_exp", log_sum_exp, &[batch, heads, queries])?;
        expect_apart(NAME, &[("context", context.tensor), ("log_sum_exp", log_sum_exp)])?;
        let globals = inputs.globals.unwrap_or(lengths);
        let forward = Walk {
            kernel: &SLIDING_WINDOW_ATTENTION,
            pass: Pass::Forward,
            heads: &[query, key, value, context],
            tensors: &[step, query.tensor, key.tensor, value.tensor, lengths, globals, context.tensor, log_sum_exp],
            whole: self.attention.cost(dtype),
        };
        self.record_walk(recorder, tile, &forward)
    }

    /// Records the backward, as [`DotProductAttention::record_backward`] does.
    ///
    /// # Errors
    /// As [`SlidingWindowAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        tile: Tile,
        inputs: &Inputs<'_>,
        saved: &Saved<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        self.check_inputs(inputs)?;
        self.attention.check_gradients(&inputs.attention, saved, gradients)?;
        self.attention.record_delta(recorder, inputs.attention.lengths, saved)?;
        let dot_product_attention::Inputs { query, key, value, step, .. } = inputs.attention;
        let Saved { d_context, statistics, .. } = *saved;
        let read = [query, key, value, d_context];
        let [query_tensor, key_tensor, value_tensor, d_context_tensor] = read.map(|heads| heads.tensor);
        // What is not there is not read.
        let globals = inputs.globals.unwrap_or(statistics);
        let tensors = [step, query_tensor, key_tensor, value_tensor, d_context_tensor, statistics, globals];
        for (pass, first, second) in
            [(Pass::Queries, gradients.query, gradients.query), (Pass::Keys, gradients.key, gradients.value)]
        {
            let walk = Walk {
                kernel: &SLIDING_WINDOW_ATTENTION_BACKWARD,
                pass,
                heads: &[read.as_slice(), &[first, second]].concat(),
                tensors: &[tensors.as_slice(), &[first.tensor, second.tensor]].concat(),
                whole: self.attention.cost_pass(pass, query_tensor.dtype()),
            };
            self.record_walk(recorder, tile, &walk)?;
        }
        Ok(())
    }

    fn record_walk(&self, recorder: &mut Recorder, tile: Tile, walk: &Walk<'_>) -> Result<()> {
        let Walk { kernel, pass, heads, tensors, whole } = *walk;
        let DotProductAttention { batch, heads: count, queries, dropout, .. } = self.attention;
        // A distance past the last position reaches nothing.
        let dilation = self.dilation.min(queries);
        let window = self.window.min(queries);
        for rows in self.rows() {
            // Tiles of a head, and the columns that each goes through.
            let (tiles, columns) = match rows {
                Rows::Own => {
                    let walked = (tile.height() + 2 * window).min(queries.div_ceil(dilation));
                    (dilation * queries.div_ceil(dilation).div_ceil(tile.height()), walked + self.globals)
                }
                Rows::Global => (self.globals.div_ceil(tile.height()), queries),
            };
            let walked = columns.div_ceil(tile.width());
            self.attention.check_tile(recorder.gpu(), tile, walked, dropout.is_some())?;
            let reach = window.saturating_mul(dilation).min(queries);
            let sizes = [window, dilation, reach, self.globals].map(|size| size as u32);
            let form = self.attention.form(pass, heads, dropout.is_some());
            recorder.launch(&Launch {
                kernel,
                specialisation: tile.specialisation(recorder.gpu().tiles(), form),
                params: &self.attention.words(heads, &[sizes.as_slice(), &[u32::from(*rows == Rows::Global)]].concat()),
                tensors,
                workgroups: grid(batch * count * tiles),
                cost: self.cost_rows(*rows, whole),
            })?;
        }
        Ok(())
    }

    fn check_inputs(&self, inputs: &Inputs<'_>) -> Result<()> {
        let Self { attention, window, dilation, globals } = *self;
        attention.check_inputs(&inputs.attention)?;
        let DotProductAttention { batch, queries, keys, .. } = attention;
        expect_setting(NAME, "queries", queries == keys, &format!("as many as keys, {keys}"), queries as f64)?;
        let counts = |count: usize| u32::try_from(count).is_ok();
        expect_setting(NAME, "window", counts(window), "less than 2^32", window as f64)?;
        expect_setting(NAME, "dilation", dilation > 0, "1 or more", dilation as f64)?;
        let biased = inputs.attention.bias.is_some();
        expect_setting(NAME, "bias", !biased, "none within a window", f64::from(u8::from(biased)))?;
        match inputs.globals {
            Some(positions) => expect_of(Dtype::U32, NAME, "globals", positions, &[batch, globals]),
            None => expect_setting(NAME, "globals", globals == 0, "0 without their positions", globals as f64),
        }
    }
}
