//! Cross-entropy of logits against target tokens with label smoothing (Szegedy et al. 2016, section 7, in the form of
//! PyTorch), fused with the softmax: probabilities are never stored beside the logits. Of what is expected a part may be the mean
//! distribution of teachers: Kim and Rush, "Sequence-Level Knowledge Distillation" (2016), section 3.1.

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
///        - sum over c of ((1 - smoothing) * [c = target] + smoothing * [c >= impossible] / (C - impossible)) * log_softmax(logits)[c]
/// ```
///
/// With [`Taught`] the target's part is less, and the distributions q of K teachers have the rest:
///
/// ```text
/// loss = loss_scale * sum over rows with target != padding of
///        log_sum_exp(logits) - sum over c of ((1 - weight) * expected[c] + weight / K * sum over k of q_k[c]) * logits[c]
/// ```
///
/// which is the same sum of losses, for distributions add up to 1. A row of padding adds nothing and gets no gradient, whatever its logits
/// are. A target past the classes counts as the last one. `loss_scale` comes from [`super::Step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Rows, padding included, N.
    pub rows: usize,
    /// Classes, C.
    pub classes: usize,
    /// Share of the target distribution that is spread evenly over all classes but the impossible ones, in `[0, 1]`.
    pub smoothing: f32,
    /// The number of classes, before all others, that no target is: less than C.
    pub impossible: usize,
    /// The target that is padding.
    pub padding: u32,
    /// The teachers' part, if there are any.
    pub taught: Option<Taught>,
}

/// What the distributions of teachers count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taught {
    /// Teachers, K.
    pub count: usize,
    /// The weight of their mean, in `[0, 1]`, beside the target's.
    pub weight: f32,
}

/// The inputs of [`CrossEntropy::record`].
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// `[N, C]`.
    pub logits: &'a Tensor,
    /// `[N]`, u32.
    pub targets: &'a Tensor,
    /// `[N, C]`, the sum of the teachers' distributions, of the type of the logits, with [`CrossEntropy::taught`].
    pub taught: Option<&'a Tensor>,
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
    /// `[N, C]`, as in the forward pass.
    pub taught: Option<&'a Tensor>,
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
            operations: (6.0 + self.passes()) * elements,
            transcendental: 1.25 * elements + rows,
            read: (1.0 + self.passes()) * dtype.bytes() as f64 * elements + bytes * rows,
            written: bytes * 2.0 * rows,
        }
    }

    /// The same with the gradient of the logits.
    fn both_cost(&self, dtype: Dtype) -> Cost {
        let (elements, backward) = ((self.rows * self.classes) as f64, self.backward_cost(dtype));
        let mut cost = self.rows_cost(dtype);
        cost += Cost { read: self.passes() * dtype.bytes() as f64 * elements, ..backward };
        cost
    }

    fn total_cost(&self) -> Cost {
        let (rows, bytes) = (self.rows as f64, ELEMENT as f64);
        Cost { operations: rows, transcendental: 0.0, read: bytes * rows, written: bytes }
    }

    /// Operations and bytes of the backward pass.
    pub fn backward_cost(&self, dtype: Dtype) -> Cost {
        let (elements, rows, bytes) = ((self.rows * self.classes) as f64, self.rows as f64, ELEMENT as f64);
        Cost {
            operations: (3.0 + self.passes()) * elements,
            transcendental: elements,
            read: (1.0 + self.passes()) * dtype.bytes() as f64 * elements + bytes * 2.0 * rows,
            written: dtype.bytes() as f64 * elements,
        }
    }

    /// How often the teachers' distributions are gone through.
    fn passes(&self) -> f64 {
        f64::from(u8::from(self.taught.is_some()))
    }

    /// The words of both shaders' parameters: weights of the target's class, of every class and of the teachers among them.
    fn params(&self) -> Result<[u32; 8]> {
        let valid = (0.0..=1.0).contains(&self.smoothing);
        expect_setting("cross_entropy", "smoothing", valid, "a share in [0, 1]", f64::from(self.smoothing))?;
        let possible = self.classes.saturating_sub(self.impossible);
        expect_setting("cross_entropy", "impossible", possible > 0, "less than the classes", self.impossible as f64)?;
        let Taught { count, weight } = self.taught.unwrap_or(Taught { count: 1, weight: 0.0 });
        let valid = (0.0..=1.0).contains(&weight) && count > 0;
        expect_setting("cross_entropy", "taught", valid, "a share in [0, 1] of at least one", f64::from(weight))?;
        let (smoothing, taught) = (f64::from(self.smoothing), f64::from(weight));
        let target = 1.0 - taught;
        let (hit, spread) = (target * (1.0 - smoothing), target * smoothing / possible as f64);
        let [hit, spread, taught, share] =
            [hit, spread, taught, taught / count as f64].map(|one| (one as f32).to_bits());
        Ok([self.rows as u32, self.classes as u32, hit, spread, self.padding, taught, share, self.impossible as u32])
    }

    /// Whether rows are of fours, and whether there are teachers.
    fn form(&self) -> [bool; 2] {
        [self.classes.is_multiple_of(4), self.taught.is_some()]
    }

    fn expect_taught(&self, taught: Option<&Tensor>, dtype: Dtype) -> Result<()> {
        let both = taught.is_some() == self.taught.is_some();
        expect_setting(
            "cross_entropy",
            "taught",
            both,
            "a weight for the tensor, and a tensor for the weight",
            f64::NAN,
        )?;
        taught.map_or(Ok(()), |taught| expect_of(dtype, "cross_entropy", "taught", taught, &[self.rows, self.classes]))
    }

    /// Records the loss, and what the backward pass needs.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or the smoothing is no share, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, inputs: &Inputs<'_>, outputs: &Outputs<'_>) -> Result<()> {
        self.record_rows(recorder, inputs, outputs, None)
    }

    /// Records the loss and, for its gradient `d_loss` `[1]`, that of the logits in their place: they are read once, where
    /// [`CrossEntropy::record_backward`] reads them again.
    ///
    /// # Errors
    /// As [`CrossEntropy::record`].
    pub fn record_both(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        d_loss: &Tensor,
    ) -> Result<()> {
        expect("cross_entropy", "d_loss", d_loss, &[1])?;
        self.record_rows(recorder, inputs, outputs, Some(d_loss))
    }

    fn record_rows(
        &self,
        recorder: &mut Recorder,
        inputs: &Inputs<'_>,
        outputs: &Outputs<'_>,
        d_loss: Option<&Tensor>,
    ) -> Result<()> {
        let Inputs { logits, targets, taught, step } = *inputs;
        let Outputs { log_sum_exp, row_loss, loss } = *outputs;
        expect_of(logits.dtype(), "cross_entropy", "logits", logits, &[self.rows, self.classes])?;
        for (argument, tensor) in [("targets", targets), ("log_sum_exp", log_sum_exp), ("row_loss", row_loss)] {
            expect("cross_entropy", argument, tensor, &[self.rows])?;
        }
        expect("cross_entropy", "loss", loss, &[1])?;
        self.expect_taught(taught, logits.dtype())?;
        expect_apart("cross_entropy", &[("log_sum_exp", log_sum_exp), ("row_loss", row_loss), ("logits", logits)])?;
        let (tiles, dtype) = (*recorder.gpu().tiles(), logits.dtype());
        recorder.launch(&Launch {
            kernel: &CROSS_ENTROPY,
            specialisation: forward_form(&tiles, dtype, self.form()).define_if(d_loss.is_some(), "GRADIENT"),
            params: &self.params()?,
            tensors: &[
                step,
                targets,
                taught.unwrap_or(targets),
                d_loss.unwrap_or(targets),
                log_sum_exp,
                row_loss,
                logits,
            ],
            workgroups: grid(self.rows),
            cost: if d_loss.is_some() { self.both_cost(dtype) } else { self.rows_cost(dtype) },
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
        let Backward { targets, taught, log_sum_exp, step, d_loss } = *backward;
        let (dtype, shape) = (logits_and_gradient.dtype(), [self.rows, self.classes]);
        expect_of(dtype, "cross_entropy", "logits_and_gradient", logits_and_gradient, &shape)?;
        expect("cross_entropy", "targets", targets, &[self.rows])?;
        expect("cross_entropy", "log_sum_exp", log_sum_exp, &[self.rows])?;
        expect("cross_entropy", "d_loss", d_loss, &[1])?;
        self.expect_taught(taught, dtype)?;
        recorder.launch(&Launch {
            kernel: &CROSS_ENTROPY_BACKWARD,
            specialisation: backward_form(recorder.gpu().tiles(), dtype, self.form()),
            params: &self.params()?,
            tensors: &[step, targets, log_sum_exp, d_loss, taught.unwrap_or(targets), logits_and_gradient],
            workgroups: grid(self.rows),
            cost: self.backward_cost(dtype),
        })
    }
}

fn forward_form(tiles: &Tiles, dtype: Dtype, form: [bool; 2]) -> Specialisation {
    of_form(forms::row_reduction(tiles), form).element(dtype)
}

fn backward_form(tiles: &Tiles, dtype: Dtype, form: [bool; 2]) -> Specialisation {
    of_form(forms::row(tiles), form).element(dtype)
}

fn of_form(workgroup: Specialisation, [vector, taught]: [bool; 2]) -> Specialisation {
    workgroup.define_if(vector, "VECTOR").define_if(taught, "TAUGHT")
}

fn each(tiles: &Tiles, form: impl Fn(Dtype, [bool; 2]) -> Specialisation) -> Vec<Specialisation> {
    let of_fours = |dtype, vector| forms::either(|taught| form(dtype, [vector, taught]));
    forms::each_element(tiles, |dtype| forms::either(|vector| of_fours(dtype, vector)).concat()).concat()
}

fn forwards(tiles: &Tiles) -> Vec<Specialisation> {
    let both = |form: Specialisation| forms::either(|gradient| form.clone().define_if(gradient, "GRADIENT"));
    each(tiles, |dtype, form| forward_form(tiles, dtype, form)).into_iter().flat_map(both).collect()
}

fn totals(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row_reduction(tiles)]
}

fn backwards(tiles: &Tiles) -> Vec<Specialisation> {
    each(tiles, |dtype, form| backward_form(tiles, dtype, form))
}
