//! Adam (Kingma and Ba 2015, algorithm 1, with epsilon where PyTorch has it) with decoupled weight decay (Loshchilov and Hutter
//! 2019, algorithm 2), after clipping by the global norm (Pascanu et al. 2013, algorithm 1). A step whose norm or loss is not
//! finite changes nothing. In the same passes gradients of several batches are accumulated, a moving average of the parameters is
//! kept, and the scale of the loss follows what f16 can hold (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

use super::{
    expect::{expect, expect_apart, expect_scratch, expect_setting},
    forms,
    library::shader,
    reduction::{PARTIALS, split},
};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Gpu, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

pub(super) static ADAM: Shader = shader!("adam", updates);
pub(super) static ADAM_NORM: Shader = shader!("adam/norm", norms);
pub(super) static ADAM_SETTINGS: Shader = shader!("adam/settings", reductions);

/// Elements of scratch before the partial sums.
const SETTINGS: usize = 8;

/// Powers beta^(2^k) that the device gets: exponents below 2^24, past which no bias is left.
const POWERS: u32 = 24;

/// The settings for one flat buffer of parameters. Learning rate and step come from [`super::Step`].
///
/// Where the parameters lie in several buffers, [`Adam::record_norm`] runs once for each, with its partial sums behind the
/// previous one's, then [`Adam::record_settings`] once, then [`Adam::record_update`] for each, with its own rate and weight decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Parameters in the buffer.
    pub elements: usize,
    /// Decay of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the corrected second moment.
    pub epsilon: f32,
    /// The norm that the gradients are scaled down to, if any.
    pub clip_norm: Option<f32>,
    /// The buffer's learning rate, as a share of the step's.
    pub rate: f32,
    /// What a parameter loses of itself in a step, as a share of the buffer's learning rate.
    pub weight_decay: f32,
    /// Decay, in `[0, 1)`, of the moving average of the parameters, if one is kept (Kingma and Ba 2015, section 7.2). In place of
    /// their correction it starts from the first parameters, and step t uses at most t / (t + 9), as TensorFlow's
    /// `ExponentialMovingAverage` and Marian's exponential smoothing do.
    pub average_decay: Option<f64>,
}

/// The tensors of one flat buffer of parameters, each `[elements]`.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// The parameters.
    pub parameters: &'a Tensor,
    /// The gradients of a batch.
    pub gradients: &'a Tensor,
    /// Their sum over the batches of an update, where several make one; what it held before the first does not matter.
    pub total: Option<&'a Tensor>,
    /// The first moments.
    pub first: &'a Tensor,
    /// The second moments.
    pub second: &'a Tensor,
    /// The moving average of the parameters, with [`Adam::average_decay`].
    pub average: Option<&'a Tensor>,
}

/// The tensors that all buffers of parameters share in a step.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// The buffer of [`super::Step`].
    pub step: &'a Tensor,
    /// `[1]`, the loss of a batch, if a step depends on whether it is finite.
    pub loss: Option<&'a Tensor>,
    /// `[2]`, the scale of the loss, which starts as [`Adam::SCALING`].
    pub scaling: Option<&'a Tensor>,
    /// Settings and partial sums, [`Adam::SCRATCH`] elements for each buffer.
    pub scratch: &'a Tensor,
    /// `[6]`, a [`StepReport`].
    pub norm: &'a Tensor,
}

/// What a step of [`Adam`] reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct StepReport {
    /// The global norm of the gradients before clipping.
    pub norm: f32,
    /// 1 if the step has changed the parameters, else 0.
    pub updated: f32,
    /// Steps so far whose loss or norm was not finite; their update was skipped.
    pub skipped: u32,
    /// The last such step.
    pub last_skipped: u32,
    /// The loss, over all batches of the step.
    pub loss: f32,
    /// What the gradients were multiplied with; 0 where there is no loss scale.
    pub loss_scale: f32,
}

impl StepReport {
    /// The report that the bytes of its tensor hold.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytemuck::try_pod_read_unaligned(bytes.get(..size_of::<Self>())?).ok()
    }
}

impl Adam {
    /// Elements of the tensor that a step reports in, a [`StepReport`].
    pub const REPORT: usize = size_of::<StepReport>() / ELEMENT as usize;

    /// Elements of scratch that suffice for one buffer on every adapter.
    pub const SCRATCH: usize = behind(PARTIALS);

    /// What the tensor of the loss scale holds at the start: the scale, a power of two, and how many finite steps it is since it
    /// changed.
    pub const SCALING: [f32; 2] = [65_536.0, 0.0];

    /// Partial sums of this buffer's norm, two elements of scratch each.
    pub fn partials(&self, gpu: &Gpu) -> usize {
        split(gpu, self.elements).1
    }

    /// What scratch begins with, in place of what [`Adam::record_norm`] writes, where `squares`, the sum of all squared gradients,
    /// was made elsewhere: one partial sum for [`Adam::record_settings`].
    pub fn scratch_of_squares(squares: f64) -> [f32; SETTINGS + 2] {
        let scale = f64::from(2.0_f32.powi(96));
        // As the kernel adds them up: scaled up where they are small, and scaled down where they are large, or no numbers.
        let sums = if squares < 1.0 { [squares * scale, 0.0] } else { [0.0, squares / scale] };
        let mut scratch = [0.0; SETTINGS + 2];
        scratch.iter_mut().skip(SETTINGS).zip(sums).for_each(|(place, sum)| *place = sum as f32);
        scratch
    }

    /// Operations and bytes of a whole step.
    pub fn cost(&self) -> Cost {
        let mut cost = self.norm_cost(false);
        cost += self.update_cost(self.average_decay.is_some());
        cost
    }

    fn norm_cost(&self, accumulate: bool) -> Cost {
        let (elements, bytes) = (self.elements as f64, self.elements as f64 * ELEMENT as f64);
        let more = f64::from(u8::from(accumulate));
        Cost {
            operations: (3.0 + more) * elements,
            transcendental: 0.0,
            read: (1.0 + more) * bytes,
            written: more * bytes,
        }
    }

    fn update_cost(&self, average: bool) -> Cost {
        let (elements, bytes) = (self.elements as f64, self.elements as f64 * ELEMENT as f64);
        let more = f64::from(u8::from(average));
        Cost {
            operations: (12.0 + 3.0 * more) * elements,
            transcendental: 2.0 * elements,
            read: (4.0 + more) * bytes,
            written: (3.0 + more) * bytes,
        }
    }

    fn check(&self) -> Result<()> {
        for (argument, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            expect_setting("adam", argument, (0.0..1.0).contains(&beta), "a decay in [0, 1)", beta)?;
        }
        if let Some(decay) = self.average_decay {
            expect_setting("adam", "average_decay", (0.0..1.0).contains(&decay), "a decay in [0, 1)", decay)?;
        }
        let epsilon = f64::from(self.epsilon);
        expect_setting("adam", "epsilon", epsilon > 0.0, "a positive number", epsilon)?;
        for (argument, share) in [("rate", self.rate), ("weight_decay", self.weight_decay)] {
            let valid = share >= 0.0 && share.is_finite();
            expect_setting("adam", argument, valid, "a number from 0 on", f64::from(share))?;
        }
        let clip = f64::from(self.clip_norm.unwrap_or(1.0));
        expect_setting("adam", "clip_norm", clip > 0.0 && clip.is_finite(), "a positive number", clip)
    }

    /// Records a whole step on one buffer. [`Shared::norm`] gets the norm before clipping, and 1 if the step is made or 0 if it is
    /// not: because batches are still to come, the norm, or the loss if there is one, is not finite, or a squared gradient would
    /// leave f32. Its next two elements, as u32, count the steps that were skipped for such a reason and name the last of them;
    /// the fifth is the loss of all batches of the update.
    ///
    /// With [`Shared::scaling`] the gradients are those of the loss times its first element, and norm and update those of the
    /// loss itself. After a step that is not finite the scale is halved, down to 1, and only at 1
    /// does such a step count as skipped; after 2,000 finite ones it is doubled. norm's last element is the scale of the step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements or a setting is out of its range, and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, buffers: &Buffers<'_>, shared: &Shared<'_>) -> Result<()> {
        let partials = self.partials(recorder.gpu());
        self.record_norm(recorder, (buffers.gradients, buffers.total), shared, 0)?;
        self.record_settings(recorder, partials, buffers.gradients, shared)?;
        self.record_update(recorder, buffers, shared)
    }

    /// Records the partial sums of the norm of a buffer's gradients, from number `partial` on, after adding these to their total
    /// where there is one ([`Buffers`]).
    ///
    /// # Errors
    /// As [`Adam::record`].
    pub fn record_norm(
        &self,
        recorder: &mut Recorder,
        (gradients, total): (&Tensor, Option<&Tensor>),
        shared: &Shared<'_>,
        partial: usize,
    ) -> Result<()> {
        let Shared { step, scratch, .. } = *shared;
        expect("adam", "gradients", gradients, &[self.elements])?;
        expect("adam", "total", total.unwrap_or(gradients), &[self.elements])?;
        let (span, groups) = split(recorder.gpu(), self.elements);
        expect_scratch("adam", scratch, behind(partial.saturating_add(groups)))?;
        recorder.launch(&Launch {
            kernel: &ADAM_NORM,
            specialisation: norm(recorder.gpu().tiles(), total.is_some()),
            params: &[self.elements as u32, span as u32, partial as u32],
            tensors: &[step, gradients, total.unwrap_or(scratch), scratch],
            workgroups: [groups as u32, 1, 1],
            cost: self.norm_cost(total.is_some()),
        })
    }

    /// Records norm and settings of a step from `partials` partial sums. `gradients` are any of those that went into them.
    ///
    /// # Errors
    /// As [`Adam::record`].
    pub fn record_settings(
        &self,
        recorder: &mut Recorder,
        partials: usize,
        gradients: &Tensor,
        shared: &Shared<'_>,
    ) -> Result<()> {
        let Shared { step, loss, scaling, scratch, norm } = *shared;
        self.check()?;
        expect("adam", "norm", norm, &[Self::REPORT])?;
        if let Some(loss) = loss {
            expect("adam", "loss", loss, &[1])?;
        }
        if let Some(scaling) = scaling {
            expect("adam", "scaling", scaling, &[Self::SCALING.len()])?;
            expect_apart("adam", &[("norm", norm), ("scaling", scaling)])?;
        }
        expect_scratch("adam", scratch, behind(partials))?;
        let clip = self.clip_norm.unwrap_or(0.0);
        let mut params = vec![
            partials as u32,
            u32::from(loss.is_some()),
            u32::from(self.clip_norm.is_some()),
            clip.to_bits(),
            ((1.0 - self.average_decay.unwrap_or(1.0)) as f32).to_bits(),
            0,
            0,
            0,
        ];
        for k in 0..POWERS {
            for beta in [self.beta1, self.beta2] {
                // 1 - beta^(2^k), exact to the last bit even where beta^(2^k) is nearly 1.
                let complement = -(beta.ln() * f64::from(1_u32 << k)).exp_m1();
                params.push((complement as f32).to_bits());
            }
        }
        let bytes = 8.0 * partials as f64;
        recorder.launch(&Launch {
            kernel: &ADAM_SETTINGS,
            specialisation: settings(recorder.gpu().tiles(), scaling.is_some()),
            params: &params,
            tensors: &[step, loss.unwrap_or(gradients), scratch, norm, scaling.unwrap_or(norm)],
            workgroups: [1, 1, 1],
            cost: Cost { operations: 2.0 * partials as f64, transcendental: 4.0, read: bytes, written: 48.0 },
        })
    }

    /// Records the update of one buffer: parameters, both moments and the average, from the settings in scratch.
    ///
    /// # Errors
    /// As [`Adam::record`].
    pub fn record_update(&self, recorder: &mut Recorder, buffers: &Buffers<'_>, shared: &Shared<'_>) -> Result<()> {
        let Shared { scratch, .. } = *shared;
        self.check()?;
        let Buffers { parameters, gradients, total, first, second, average } = *buffers;
        let decays = average.is_none() || self.average_decay.is_some();
        expect_setting("adam", "average_decay", decays, "a decay for the average", f64::NAN)?;
        let gradients = total.unwrap_or(gradients);
        for (argument, tensor) in [
            ("parameters", parameters),
            ("gradients", gradients),
            ("first", first),
            ("second", second),
            ("average", average.unwrap_or(second)),
        ] {
            expect("adam", argument, tensor, &[self.elements])?;
        }
        let outputs = [("parameters", parameters), ("first", first), ("second", second)];
        expect_apart("adam", &outputs)?;
        if let Some(average) = average {
            expect_apart("adam", &[&outputs[..], &[("average", average)]].concat())?;
        }
        expect_scratch("adam", scratch, SETTINGS)?;
        let tiles = recorder.gpu().tiles();
        let (specialisation, lanes) = (update(tiles, average.is_some()), tiles.workgroup);
        let share = |beta: f64| ((1.0 - beta) as f32).to_bits();
        recorder.launch(&Launch {
            kernel: &ADAM,
            specialisation,
            params: &[
                self.elements as u32,
                share(self.beta1),
                share(self.beta2),
                self.epsilon.to_bits(),
                self.rate.to_bits(),
                self.weight_decay.to_bits(),
            ],
            tensors: &[scratch, gradients, parameters, first, second, average.unwrap_or(second)],
            workgroups: grid(self.elements.div_ceil(4 * lanes as usize)),
            cost: self.update_cost(average.is_some()),
        })
    }
}

/// The elements of scratch that the settings and so many partial sums take.
const fn behind(partials: usize) -> usize {
    partials.saturating_mul(2).saturating_add(SETTINGS)
}

fn norm(tiles: &Tiles, accumulate: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(accumulate, "ACCUMULATE")
}

fn settings(tiles: &Tiles, scaled: bool) -> Specialisation {
    forms::row_reduction(tiles).define_if(scaled, "SCALED")
}

fn update(tiles: &Tiles, average: bool) -> Specialisation {
    forms::fours(tiles, Dtype::F32, true).define_if(average, "AVERAGE")
}

fn norms(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|accumulate| norm(tiles, accumulate))
}

fn updates(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|average| update(tiles, average))
}

fn reductions(tiles: &Tiles) -> Vec<Specialisation> {
    forms::either(|scaled| settings(tiles, scaled))
}
