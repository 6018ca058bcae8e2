//! The alignment weights of Luong, Pham and Manning, "Effective Approaches to Attention-based Neural Machine Translation"
//! (2015), section 3, from scores of any kind: over the whole source (global) or a window of it (local).

use super::{
    expect::{expect_apart, expect_of, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static LOCAL_ATTENTION: Shader = shader!("local_attention", specialisations);
pub(super) static LOCAL_ATTENTION_BACKWARD: Shader = shader!("local_attention_backward", specialisations);

const NAME: &str = "local_attention";

/// Which source positions a step sees, `length` being its row's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    /// All of them (section 3.1).
    Global,
    /// Those at most `half_width` away from the step's own number, but no farther than `length - 1`, where the paper's window
    /// would run out of the source (local-m, section 3.2).
    Monotonic {
        /// The paper's D.
        half_width: f32,
        /// The number of the first query's step.
        first: usize,
    },
    /// As [`Window::Monotonic`] where the queries of a row are all of one step, number `step` after those that a counter has
    /// counted: those of competing hypotheses.
    Counted {
        /// The paper's D.
        half_width: f32,
        /// The number of the step, less what is counted.
        step: usize,
    },
    /// Those at most `half_width` away from `length · share`, a centre that the model predicts, weighted by a Gaussian around it
    /// with a standard deviation of `half_width / 2` (local-p, equations 9 and 10).
    Predicted {
        /// The paper's D.
        half_width: f32,
    },
}

impl Window {
    /// The paper's D; without a window it means nothing.
    fn half_width(self) -> f32 {
        match self {
            Self::Global => 1.0,
            Self::Monotonic { half_width, .. } | Self::Counted { half_width, .. } | Self::Predicted { half_width } => {
                half_width
            }
        }
    }

    fn first(self) -> usize {
        match self {
            Self::Monotonic { first, .. } | Self::Counted { step: first, .. } => first,
            Self::Global | Self::Predicted { .. } => 0,
        }
    }

    /// Whether it reads a counter of steps.
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Counted { .. })
    }

    /// Whether it has centres: all but the global one.
    pub fn has_centres(self) -> bool {
        self != Self::Global
    }

    fn is_predicted(self) -> bool {
        matches!(self, Self::Predicted { .. })
    }

    fn specialisation(self, tiles: &Tiles, scores: Dtype, shares: Dtype) -> Specialisation {
        forms::row_reduction(tiles)
            .define_if(self.has_centres(), "WINDOW")
            .define_if(self.is_predicted(), "PREDICTED")
            .define_if(self.is_counted(), "COUNTED")
            .define_if(scores == Dtype::F16, "HALF_SCORES")
            .define_if(self.is_predicted() && shares == Dtype::F16, "HALF_SHARES")
    }
}

/// `weights[b, t] = softmax of scores[b, t]` over the positions that the step sees, times the window's Gaussian if it has one.
///
/// Positions at and past a row's length, those outside the window and those past the scores' `columns` have weights of 0; so has
/// a row that sees nothing. Weights are f32, as those of additive attention; scores and shares may be f16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalAttention {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Steps per row, T.
    pub queries: usize,
    /// Source positions per row, S, masked ones included.
    pub keys: usize,
    /// Scores of a step: S, or as many as a location-based score has (equation 8).
    pub columns: usize,
    /// What a step sees.
    pub window: Window,
}

/// What [`LocalAttention`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[B, T, columns]`
    pub scores: &'a Tensor,
    /// `[B, T]`, from 0 to 1: predicted centres, as shares of their rows' lengths. Wanted by [`Window::Predicted`] alone.
    pub shares: Option<&'a Tensor>,
    /// `[1]`, u32: steps before these. Wanted by [`Window::Counted`] alone.
    pub counter: Option<&'a Tensor>,
    /// `[B]`, u32: how many positions of each row are valid.
    pub lengths: &'a Tensor,
}

/// What [`LocalAttention`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[B, T, S]`
    pub weights: &'a Tensor,
    /// `[B, T]`: the centres of the windows. Wanted where there are windows.
    pub centres: Option<&'a Tensor>,
}

/// What [`LocalAttention::record_backward`] writes.
#[derive(Clone, Copy, Debug)]
pub struct Gradients<'a> {
    /// `[B, T, columns]`
    pub scores: &'a Tensor,
    /// `[B, T]`. Wanted by [`Window::Predicted`] alone.
    pub shares: Option<&'a Tensor>,
}

impl LocalAttention {
    fn elements(&self) -> f64 {
        (self.batch * self.queries * self.keys) as f64
    }

    /// Operations and bytes of the forward pass, windows taken as whole rows.
    pub fn cost(&self) -> Cost {
        let (elements, bytes) = (self.elements(), self.elements() * ELEMENT as f64);
        Cost { operations: 4.0 * elements, transcendental: 2.0 * elements, read: bytes, written: bytes }
    }

    /// Operations and bytes of the backward pass, windows taken as whole rows.
    pub fn backward_cost(&self) -> Cost {
        let (elements, bytes) = (self.elements(), self.elements() * ELEMENT as f64);
        Cost { operations: 6.0 * elements, transcendental: elements, read: 2.0 * bytes, written: bytes }
    }

    fn params(&self) -> [u32; 6] {
        let [batch, queries, keys, columns, first] =
            [self.batch, self.queries, self.keys, self.columns, self.window.first()].map(|extent| extent as u32);
        [batch, queries, keys, columns, first, self.window.half_width().to_bits()]
    }

    fn check(&self, scores: &Tensor, shares: Option<&Tensor>, lengths: &Tensor) -> Result<()> {
        let Self { batch, queries, columns, window, .. } = *self;
        let half_width = window.half_width();
        let valid = half_width > 0.0 && half_width.is_finite();
        expect_setting(NAME, "half_width", valid, "a number above 0", f64::from(half_width))?;
        expect_of(scores.dtype().activation(), NAME, "scores", scores, &[batch, queries, columns])?;
        expect_of(Dtype::U32, NAME, "lengths", lengths, &[batch])?;
        let of_shares = shares.map_or(Dtype::F32, |shares| shares.dtype().activation());
        expect_there(shares, "shares", window.is_predicted(), of_shares, &[batch, queries])
    }

    fn check_centres(&self, centres: Option<&Tensor>) -> Result<()> {
        let wanted = self.window.has_centres();
        expect_there(centres, "centres", wanted, Dtype::F32, &[self.batch, self.queries])
    }

    /// Records the weights, and the centres of the windows if there are any.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor is missing, superfluous or not as stated, or if half a window is not above 0, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        let Inputs { scores, shares, counter, lengths } = *inputs;
        let Outputs { weights, centres } = *outputs;
        self.check(scores, shares, lengths)?;
        expect_there(counter, "counter", self.window.is_counted(), Dtype::U32, &[1])?;
        expect_of(Dtype::F32, NAME, "weights", weights, &[self.batch, self.queries, self.keys])?;
        self.check_centres(centres)?;
        let outputs: Vec<_> = [("weights", weights)].into_iter().chain(centres.map(|one| ("centres", one))).collect();
        expect_apart(NAME, &outputs)?;
        let types = [scores.dtype(), shares.map_or(Dtype::F32, Tensor::dtype)];
        recorder.launch(&Launch {
            kernel: &LOCAL_ATTENTION,
            specialisation: self.window.specialisation(recorder.gpu().tiles(), types[0], types[1]),
            params: &self.params(),
            tensors: &[scores, shares.or(counter).unwrap_or(lengths), lengths, weights, centres.unwrap_or(weights)],
            workgroups: grid(self.batch * self.queries),
            cost: self.cost(),
        })
    }

    /// Records the gradients of the scores and, where they are predicted, of the centres' shares, from those of the weights. The
    /// weights and centres are what the forward pass gave; what `d_weights` holds where a weight is 0 has no effect.
    ///
    /// # Errors
    /// As [`LocalAttention::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        lengths: &Tensor,
        outputs: &Outputs<'_>,
        d_weights: &Tensor,
        gradients: &Gradients<'_>,
    ) -> Result<()> {
        let Outputs { weights, centres } = *outputs;
        let Gradients { scores, shares } = *gradients;
        self.check(scores, shares, lengths)?;
        for (argument, tensor) in [("weights", weights), ("d_weights", d_weights)] {
            expect_of(Dtype::F32, NAME, argument, tensor, &[self.batch, self.queries, self.keys])?;
        }
        self.check_centres(centres)?;
        let outputs: Vec<_> = [("scores", scores)].into_iter().chain(shares.map(|one| ("shares", one))).collect();
        expect_apart(NAME, &outputs)?;
        let types = [scores.dtype(), shares.map_or(Dtype::F32, Tensor::dtype)];
        recorder.launch(&Launch {
            kernel: &LOCAL_ATTENTION_BACKWARD,
            specialisation: self.window.specialisation(recorder.gpu().tiles(), types[0], types[1]),
            params: &self.params(),
            tensors: &[weights, centres.unwrap_or(weights), lengths, d_weights, scores, shares.unwrap_or(scores)],
            workgroups: grid(self.batch * self.queries),
            cost: self.backward_cost(),
        })
    }
}

/// A tensor that is there if, and only if, the window wants it.
fn expect_there(
    tensor: Option<&Tensor>,
    argument: &'static str,
    wanted: bool,
    dtype: Dtype,
    shape: &[usize],
) -> Result<()> {
    match tensor {
        Some(tensor) if wanted => expect_of(dtype, NAME, argument, tensor, shape),
        None if !wanted => Ok(()),
        _ => {
            let message = if wanted { "one for this window" } else { "none for this window" };
            expect_setting(NAME, argument, false, message, f64::from(u8::from(tensor.is_some())))
        }
    }
}

pub(super) fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let windows = [
        Window::Global,
        Window::Monotonic { half_width: 1.0, first: 0 },
        Window::Counted { half_width: 1.0, step: 0 },
        Window::Predicted { half_width: 1.0 },
    ];
    let of = |window: Window| {
        let each = forms::each_element(tiles, |scores| {
            forms::each_element(tiles, |shares| window.specialisation(tiles, scores, shares))
        });
        each.concat()
    };
    forms::distinct(windows.into_iter().flat_map(of))
}
