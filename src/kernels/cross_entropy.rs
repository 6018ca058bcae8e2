//! Cross-entropy of logits against target tokens with label smoothing (Szegedy et al. 2016, section 7, in the form of
//! PyTorch), fused with the softmax: probabilities are never stored beside the logits.

use super::{
    expect::{expect, expect_apart, expect_of, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static CROSS_ENTROPY: Shader = shader!("cross_entropy", forwards);
pub(super) static CROSS_ENTROPY_BACKWARD: Shader = shader!("cross_entropy_backward", backwards);
pub(super) static CROSS_ENTROPY_TOTAL: Shader = shader!("cross_entropy/total", totals);

/// ```text
/// loss = loss_scale * sum over rows with target != padding of
///        - sum over c of ((1 - smoothing) * [c = target] + smoothing / C) * log_softmax(logits)[c]
/// ```
///
/// A row of padding adds nothing and gets no gradient, whatever its logits are. A target past the classes
/// counts as the last one. `loss_scale` comes from [`super::Step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Rows, padding included, N.
    pub rows: usize,
    /// Classes, C.
    pub classes: usize,
    /// Share of the target distribution that is spread evenly over all classes, in `[0, 1]`.
    pub smoothing: f32,
    /// The target that is padding.
    pub padding: u32,
}

/// The inputs of [`CrossEntropy::record`].
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[N, C]`.
    pub logits: &'a Tensor,
    /// `[N]`, u32.
    pub targets: &'a Tensor,
    /// The buffer of [`super::Step`].
    pub step: &'a Tensor,
}

/// The outputs of [`CrossEntropy::record`].
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// `[N]`, of the logits of each row, for the backward pass.
    pub log_sum_exp: &'a Tensor,
    /// `[N]`, the loss of each row without its scale.
    pub row_loss: &'a Tensor,
    /// `[1]`.
    pub loss: &'a Tensor,
}

/// The inputs of [`CrossEntropy::record_backward`], besides the logits.
#[derive(Clone, Copy, Debug)]
pub struct Backward<'a> {
    /// `[N]`, u32.
    pub targets: &'a Tensor,
    /// `[N]`, from the forward pass.
    pub log_sum_exp: &'a Tensor,
    /// The buffer of [`super::Step`].
    pub step: &'a Tensor,
    /// `[1]`.
    pub d_loss: &'a Tensor,
}

impl CrossEntropy {
    /// Operations and bytes of the forward pass, with logits of `dtype`.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let mut cost = self.rows_cost(dtype);
        cost += self.total_cost();
        cost
    }

    fn rows_cost(&self, dtype: Dtype) -> Cost {
        let (elements, rows, bytes) = ((self.rows * self.classes) as f64, self.rows as f64, ELEMENT as f64);
        Cost {
            operations: 6.0 * elements,
            transcendental: 1.25 * elements + rows,
            read: dtype.bytes() as f64 * elements + bytes * rows,
            written: bytes * 2.0 * rows,
        }
    }

    fn total_cost(&self) -> Cost {
        let (rows, bytes) = (self.rows as f64, ELEMENT as f64);
        Cost { operations: rows, transcendental: 0.0, read: bytes * rows, written: bytes }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let (elements, rows, bytes) = ((self.rows * self.classes) as f64, self.rows as f64, ELEMENT as f64);
        Cost {
            operations: 3.0 * elements,
            transcendental: elements,
            read: dtype.bytes() as f64 * elements + bytes * 2.0 * rows,
            written: dtype.bytes() as f64 * elements,
        }
    }

    /// The words of both shaders' parameters: weights of the target's class and of every class among them.
    fn params(&self) -> Result<[u32; 5]> {
        let valid = (0.0..=1.0).contains(&self.smoothing);
        expect_setting("cross_entropy", "smoothing", valid, "a share in [0, 1]", f64::from(self.smoothing))?;
        let smoothing = f64::from(self.smoothing);
        let (hit, spread) = ((1.0 - smoothing) as f32, (smoothing / self.classes.max(1) as f64) as f32);
        Ok([self.rows as u32, self.classes as u32, hit.to_bits(), spread.to_bits(), self.padding])
    }

    fn is_vector(&self) -> bool {
        self.classes.is_multiple_of(4)
    }

    /// Records the loss, and what the backward pass needs.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or the smoothing is no share, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        let Inputs { logits, targets, step } = *inputs;
        let Outputs { log_sum_exp, row_loss, loss } = *outputs;
        expect_of(logits.dtype(), "cross_entropy", "logits", logits, &[self.rows, self.classes])?;
        for (argument, tensor) in [("targets", targets), ("log_sum_exp", log_sum_exp), ("row_loss", row_loss)] {
            expect("cross_entropy", argument, tensor, &[self.rows])?;
        }
        expect("cross_entropy", "loss", loss, &[1])?;
        expect_apart("cross_entropy", &[("log_sum_exp", log_sum_exp), ("row_loss", row_loss)])?;
        let tiles = *recorder.gpu().tiles();
        recorder.launch(&Launch {
            kernel: &CROSS_ENTROPY,
            specialisation: forward_form(&tiles, logits.dtype(), self.is_vector()),
            params: &self.params()?,
            tensors: &[logits, targets, log_sum_exp, row_loss],
            workgroups: grid(self.rows),
            cost: self.rows_cost(logits.dtype()),
        })?;
        recorder.launch(&Launch {
            kernel: &CROSS_ENTROPY_TOTAL,
            specialisation: forms::row_reduction(&tiles),
            params: &[self.rows as u32],
            tensors: &[step, row_loss, loss],
            workgroups: [1, 1, 1],
            cost: self.total_cost(),
        })
    }

    /// Records the gradient in place: `logits_and_gradient` `[N, C]` holds the logits before and their gradient after.
    ///
    /// # Errors
    /// As [`CrossEntropy::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        backward: &Backward<'_>,
        logits_and_gradient: &Tensor,
    ) -> Result<()> {
        let Backward { targets, log_sum_exp, step, d_loss } = *backward;
        let (dtype, shape) = (logits_and_gradient.dtype(), [self.rows, self.classes]);
        expect_of(dtype, "cross_entropy", "logits_and_gradient", logits_and_gradient, &shape)?;
        expect("cross_entropy", "targets", targets, &[self.rows])?;
        expect("cross_entropy", "log_sum_exp", log_sum_exp, &[self.rows])?;
        expect("cross_entropy", "d_loss", d_loss, &[1])?;
        recorder.launch(&Launch {
            kernel: &CROSS_ENTROPY_BACKWARD,
            specialisation: backward_form(recorder.gpu().tiles(), dtype, self.is_vector()),
            params: &self.params()?,
            tensors: &[step, targets, log_sum_exp, d_loss, logits_and_gradient],
            workgroups: grid(self.rows),
            cost: self.backward_cost(dtype),
        })
    }
}

fn forward_form(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(vector, "VECTOR").element(dtype)
}

fn backward_form(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    forms::row(tiles).define_if(vector, "VECTOR").element(dtype)
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| forward_form(tiles, dtype, vector))).concat()
}

fn totals(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::either(|vector| backward_form(tiles, dtype, vector))).concat()
}
