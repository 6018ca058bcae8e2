//! Cross-entropy of logits against target tokens with label smoothing (Szegedy et al. 2016, section 7, in the form of
//! PyTorch), fused with the softmax: probabilities are never stored beside the logits.

use super::{
    expect::{expect, expect_setting},
    forms,
    table::{CROSS_ENTROPY, CROSS_ENTROPY_BACKWARD, CROSS_ENTROPY_TOTAL},
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Specialisation, Tensor, Tiles, grid},
};

/// ```text
/// loss = loss_scale * sum over rows with target != 0 of
///        - sum over c of ((1 - smoothing) * [c = target] + smoothing / C) * log_softmax(logits)[c]
/// ```
///
/// Target 0 is padding: such a row adds nothing and gets no gradient, whatever its logits are. A target past the classes
/// counts as the last one. `loss_scale` comes from [`super::Step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Rows, padding included, N.
    pub rows: usize,
    /// Classes, C.
    pub classes: usize,
    /// Share of the target distribution that is spread evenly over all classes, in `[0, 1]`.
    pub smoothing: f32,
}

impl CrossEntropy {
    /// Operations and bytes of the forward pass.
    pub fn cost(&self) -> Cost {
        let mut cost = self.rows_cost();
        cost += self.total_cost();
        cost
    }

    fn rows_cost(&self) -> Cost {
        let (elements, rows, bytes) = ((self.rows * self.classes) as f64, self.rows as f64, ELEMENT as f64);
        Cost {
            operations: 6.0 * elements,
            transcendental: 1.25 * elements + rows,
            read: bytes * (elements + rows),
            written: bytes * 2.0 * rows,
        }
    }

    fn total_cost(&self) -> Cost {
        let (rows, bytes) = (self.rows as f64, ELEMENT as f64);
        Cost { operations: rows, transcendental: 0.0, read: bytes * rows, written: bytes }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self) -> Cost {
        let (elements, rows, bytes) = ((self.rows * self.classes) as f64, self.rows as f64, ELEMENT as f64);
        Cost {
            operations: 3.0 * elements,
            transcendental: elements,
            read: bytes * (elements + 2.0 * rows),
            written: bytes * elements,
        }
    }

    /// The words of both shaders' parameters: weights of the target's class and of every class.
    fn params(&self) -> Result<[u32; 4]> {
        let valid = (0.0..=1.0).contains(&self.smoothing);
        expect_setting("cross_entropy", "smoothing", valid, "a share in [0, 1]", f64::from(self.smoothing))?;
        let smoothing = f64::from(self.smoothing);
        let (hit, spread) = ((1.0 - smoothing) as f32, (smoothing / self.classes.max(1) as f64) as f32);
        Ok([self.rows as u32, self.classes as u32, hit.to_bits(), spread.to_bits()])
    }

    fn is_vector(&self) -> bool {
        self.classes.is_multiple_of(4)
    }

    /// Records the loss `[1]` and, for the backward pass, log_sum_exp `[N]`, from logits `[N, C]`, targets `[N]` and the
    /// step's buffer. row_loss `[N]` is scratch.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or the smoothing is no share, and what
    /// [`Recorder::dispatch`] reports.
    #[expect(clippy::too_many_arguments, reason = "inputs, saved values, scratch and output")]
    pub fn record(
        &self,
        recorder: &mut Recorder,
        logits: &Tensor,
        targets: &Tensor,
        step: &Tensor,
        log_sum_exp: &Tensor,
        row_loss: &Tensor,
        loss: &Tensor,
    ) -> Result<()> {
        expect("cross_entropy", "logits", logits, &[self.rows, self.classes])?;
        for (argument, tensor) in [("targets", targets), ("log_sum_exp", log_sum_exp), ("row_loss", row_loss)] {
            expect("cross_entropy", argument, tensor, &[self.rows])?;
        }
        expect("cross_entropy", "loss", loss, &[1])?;
        let tiles = *recorder.gpu().tiles();
        recorder.dispatch(&Launch {
            kernel: &CROSS_ENTROPY,
            specialisation: forward(&tiles, self.is_vector()),
            params: &self.params()?,
            tensors: &[logits, targets, log_sum_exp, row_loss],
            workgroups: grid(self.rows),
            cost: self.rows_cost(),
        })?;
        recorder.dispatch(&Launch {
            kernel: &CROSS_ENTROPY_TOTAL,
            specialisation: forms::row_reduction(&tiles),
            params: &[self.rows as u32],
            tensors: &[step, row_loss, loss],
            workgroups: [1, 1, 1],
            cost: self.total_cost(),
        })
    }

    /// Records the gradient in place: `logits_and_gradient` `[N, C]` holds the logits before and their gradient after, from
    /// d_loss `[1]` and what the forward pass saved.
    ///
    /// # Errors
    /// As [`CrossEntropy::record`].
    pub fn record_backward(
        &self,
        recorder: &mut Recorder,
        targets: &Tensor,
        log_sum_exp: &Tensor,
        step: &Tensor,
        d_loss: &Tensor,
        logits_and_gradient: &Tensor,
    ) -> Result<()> {
        expect("cross_entropy", "logits_and_gradient", logits_and_gradient, &[self.rows, self.classes])?;
        expect("cross_entropy", "targets", targets, &[self.rows])?;
        expect("cross_entropy", "log_sum_exp", log_sum_exp, &[self.rows])?;
        expect("cross_entropy", "d_loss", d_loss, &[1])?;
        recorder.dispatch(&Launch {
            kernel: &CROSS_ENTROPY_BACKWARD,
            specialisation: backward(recorder.gpu().tiles(), self.is_vector()),
            params: &self.params()?,
            tensors: &[step, targets, log_sum_exp, d_loss, logits_and_gradient],
            workgroups: grid(self.rows),
            cost: self.backward_cost(),
        })
    }
}

fn forward(tiles: &Tiles, vector: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(vector, "VECTOR")
}

fn backward(tiles: &Tiles, vector: bool) -> Specialisation {
    forms::row(tiles).define_if(vector, "VECTOR")
}

pub(super) fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| forward(tiles, vector))
}

pub(super) fn totals(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}

pub(super) fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|vector| backward(tiles, vector))
}
