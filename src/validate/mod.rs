//! Checks of every kernel, forward and backward, against the CPU reference on random shapes: `softalign validate` runs them on
//! an adapter that nobody has tried yet, and so do the crate's own tests. Feature `validate`.
//!
//! Kernels of one's own are tried by [`operation`], with a reference of one's own: their outputs, and by central differences their
//! gradients.
//!
//! Errors are relative to the reference tensor's largest value, or to what that would be without cancellation. A kernel sums
//! in f32 in an order of its own, so its error grows about with the square root of the length of its sums times 6e-8; each
//! check states its tolerance once, for the longest sums that it draws.
//!
//! Under f16 the inputs are rounded to f16 first, so that the reference sees what the kernel sees, and the tolerance grows by
//! [`ROUNDING`] for each time that the kernel stores an intermediate value or a result.
//!
//! Recurrent kernels draw cases now and then that no f32 arithmetic solves that well: units that saturate, whose gradients are
//! differences from 1, and outliers that the next step's gates receive with their errors. There the largest value is not
//! the yardstick but what rounding must do to this very case (`rounded`), where that is more.

mod adam;
mod additive_attention;
mod additive_score;
mod alignment_loss;
mod attention_weights;
mod attentional_decoder;
mod beam_search;
mod bounded_step;
mod cached_attention;
mod conv1d;
mod copy;
mod coverage_loss;
mod cross_entropy;
mod dot_product_attention;
mod dropout;
mod embedding;
mod glu;
#[cfg(feature = "train")]
mod golden;
mod gru;
mod layer_norm;
mod length_mask;
mod listed_rows;
mod local_attention;
mod lsh_attention;
mod matmul;
mod permute;
mod pointwise;
mod positions;
mod reduction;
mod relative_attention;
mod relative_position_bias;
mod rounded;
mod shapes;
mod sliding_window_attention;
mod softmax;
mod span_attention;
mod trial;

use std::time::{Duration, Instant};

#[cfg(feature = "train")]
pub use golden::{Golden, GoldenRow, golden};
use half::f16;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use rounded::Rounded;
use serde::Serialize;
use shapes::Seen;
pub use shapes::{OfClass, ShapeClass};
pub use trial::{Compared, Input, Report, Trial, operation};

use crate::{
    Error, Result,
    gpu::{Dtype, Gpu, Recorder, Shape, Tensor, Tiles},
    kernels::Step,
};

/// Which pass of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Outputs.
    Forward,
    /// Gradients.
    Backward,
}

impl Direction {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
        }
    }
}

/// The error of an f16 relative to what it was rounded from. It has 11 bits; WGSL leaves it to the driver which of the two
/// neighbours a number is rounded to.
pub const ROUNDING: f64 = 9.765625e-4;

/// One row of the table: how to run one random case of one kernel and direction.
pub struct Check {
    /// The kernel's name; a form of it that runs other code has a suffix, such as `additive_attention_extreme`.
    pub kernel: &'static str,
    /// Forward or backward.
    pub direction: Direction,
    /// The type of activations and their gradients.
    pub dtype: Dtype,
    /// The largest error that passes.
    pub tolerance: f64,
    /// Whether it is one of kernels by cooperative matrices.
    pub cooperative: bool,
    /// Runs one case and returns its worst error.
    pub run: fn(&mut Case<'_>) -> Result<f64>,
}

impl Check {
    /// Whether an adapter has what the check needs.
    pub fn runs_on(&self, gpu: &Gpu) -> bool {
        let Tiles { f16, cooperative, .. } = *gpu.tiles();
        let factors = cooperative.and_then(|has| if self.dtype == Dtype::F16 { has.half } else { has.single });
        (self.dtype != Dtype::F16 || f16) && (!self.cooperative || factors.is_some())
    }
}

/// The checks of one kernel, as its file states them.
struct KernelChecks {
    /// The kernel's name, with a suffix for a form of it that runs other code.
    kernel: &'static str,
    /// Runs a random case of the outputs.
    forward: fn(&mut Case<'_>) -> Result<f64>,
    /// Runs a random case of the gradients, where there are any.
    backward: Option<fn(&mut Case<'_>) -> Result<f64>>,
    /// Tolerances of forward and backward in f32.
    f32: [f64; 2],
    /// And in f16, where the kernel has a form for it.
    f16: Option<[f64; 2]>,
}

impl KernelChecks {
    fn each(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for (dtype, tolerances) in [(Dtype::F32, Some(self.f32)), (Dtype::F16, self.f16)] {
            let directions = [(Direction::Forward, Some(self.forward)), (Direction::Backward, self.backward)];
            for ((direction, run), tolerance) in directions.into_iter().zip(tolerances.into_iter().flatten()) {
                let check = |run| Check { kernel: self.kernel, direction, dtype, tolerance, cooperative: false, run };
                checks.extend(run.map(check));
            }
        }
        checks
    }
}

/// The result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The kernel's name, with a suffix for a form of it that runs other code.
    pub kernel: String,
    /// Outputs or gradients.
    pub direction: Direction,
    /// The type of activations.
    pub dtype: &'static str,
    /// The number of cases that ran.
    pub cases: usize,
    /// The worst error of all cases.
    pub worst_error: f64,
    /// The largest error that passes.
    pub tolerance: f64,
    /// Whether the worst error is within the tolerance.
    pub passed: bool,
    /// The cases by their class, in the order of [`ShapeClass::ALL`].
    #[serde(skip)]
    pub classes: [OfClass; ShapeClass::ALL.len()],
    /// The number of the worst case: `--cases 1 --seed` of it repeats it.
    #[serde(skip)]
    pub worst_seed: u64,
}

/// Every check, in the order of the table.
pub fn checks() -> Vec<Check> {
    [
        adam::KERNELS,
        additive_attention::KERNELS,
        additive_score::KERNELS,
        alignment_loss::KERNELS,
        attention_weights::KERNELS,
        attentional_decoder::KERNELS,
        beam_search::KERNELS,
        bounded_step::KERNELS,
        cached_attention::KERNELS,
        conv1d::KERNELS,
        copy::KERNELS,
        coverage_loss::KERNELS,
        cross_entropy::KERNELS,
        dot_product_attention::KERNELS,
        dropout::KERNELS,
        embedding::KERNELS,
        glu::KERNELS,
        gru::KERNELS,
        layer_norm::KERNELS,
        length_mask::KERNELS,
        listed_rows::KERNELS,
        local_attention::KERNELS,
        lsh_attention::KERNELS,
        matmul::KERNELS,
        permute::KERNELS,
        pointwise::KERNELS,
        positions::KERNELS,
        reduction::KERNELS,
        relative_attention::KERNELS,
        relative_position_bias::KERNELS,
        sliding_window_attention::KERNELS,
        softmax::KERNELS,
        span_attention::KERNELS,
    ]
    .into_iter()
    .flatten()
    .flat_map(KernelChecks::each)
    .chain(matmul::COOPERATIVE.each().into_iter().map(|check| Check { cooperative: true, ..check }))
    .collect()
}

/// The number of random cases that a check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cases {
    /// The least number of cases, however long they take.
    pub least: usize,
    /// Time in which further cases are begun: a fast machine tries more of them than a slow one.
    pub time: Duration,
    /// The most cases, however much time is left.
    pub most: usize,
}

impl Cases {
    /// So many cases, whatever time they take.
    pub fn exactly(count: usize) -> Self {
        Self { least: count, time: Duration::ZERO, most: count }
    }
}

/// Runs random cases of a check. Case number `n` depends on `seed + n` alone.
///
/// # Errors
/// The errors of the device; a wrong result is a [`Row`] that has not passed.
pub fn run(gpu: &Gpu, check: &Check, cases: Cases, seed: u64) -> Result<Row> {
    let mut worst = (0.0, seed);
    let mut classes = [OfClass::default(); ShapeClass::ALL.len()];
    let (began, mut done) = (Instant::now(), 0);
    for seed in seed.. {
        if done >= cases.least && (done >= cases.most || began.elapsed() >= cases.time) {
            break;
        }
        done += 1;
        let mut case = Case { gpu, dtype: check.dtype, random: ChaCha8Rng::seed_from_u64(seed), seen: Seen::default() };
        let error = Some((check.run)(&mut case)?).filter(|error| !error.is_nan()).unwrap_or(f64::INFINITY);
        if error > worst.0 {
            worst = (error, seed);
        }
        let class = case.seen.class();
        for (of_class, _) in classes.iter_mut().zip(ShapeClass::ALL).filter(|(_, other)| *other == class) {
            *of_class = OfClass { cases: of_class.cases + 1, worst_error: of_class.worst_error.max(error) };
        }
    }
    Ok(Row {
        kernel: check.kernel.to_owned(),
        direction: check.direction,
        dtype: check.dtype.name(),
        cases: done,
        worst_error: worst.0,
        tolerance: check.tolerance,
        passed: worst.0 <= check.tolerance,
        classes,
        worst_seed: worst.1,
    })
}

/// One random case: draws sizes and values, makes tensors, compares.
pub struct Case<'a> {
    /// The device under test.
    pub gpu: &'a Gpu,
    /// The type of activations.
    pub dtype: Dtype,
    random: ChaCha8Rng,
    seen: Seen,
}

impl Case<'_> {
    /// A size from 1 to `largest`: mostly the awkward ones, 1, primes, and multiples of tile sizes give or take one.
    pub fn size(&mut self, largest: usize) -> usize {
        const AWKWARD: [usize; 20] = [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 32, 33, 37, 63, 64, 65, 127, 129];
        let fitting = AWKWARD.partition_point(|size| *size <= largest);
        if self.random.random_bool(0.7) {
            AWKWARD[self.random.random_range(0..fitting)]
        } else {
            self.random.random_range(1..=largest)
        }
    }

    /// True with probability one half.
    pub fn coin(&mut self) -> bool {
        self.random.random_bool(0.5)
    }

    /// A whole number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    /// A step of one of several ranks, with a seed.
    pub fn step(&mut self) -> Step {
        let ranks = 1 + self.below(3) as u32;
        Step { step: self.bits(), seed: self.bits(), rank: self.below(ranks as usize) as u32, ranks, ..Step::default() }
    }

    /// Any 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.random.next_u32()
    }

    /// Standard normal values times `scale`, which the case's type can hold; one in fifty is an outlier of ten times the size.
    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count)
            .map(|_| {
                let value: f32 = StandardNormal.sample(&mut self.random);
                let value = value * scale * if self.random.random_bool(0.02) { 10.0 } else { 1.0 };
                if self.dtype == Dtype::F16 { f16::from_f32(value).to_f32() } else { value }
            })
            .collect()
    }

    /// Values of activations as the case's type can hold them.
    pub fn rounded(&self, values: Vec<f32>) -> Vec<f32> {
        match self.dtype {
            Dtype::F16 => values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect(),
            _ => values,
        }
    }

    /// `rows` lengths from 0 to `steps`; full length and, where there are several rows, 0 occur often.
    pub fn lengths(&mut self, rows: usize, steps: usize) -> Vec<u32> {
        (0..rows)
            .map(|row| match self.below(4) {
                0 => steps as u32,
                1 if row > 0 => 0,
                _ => self.random.random_range(1..=steps) as u32,
            })
            .collect()
    }

    /// Uploads an activation, or the gradient of one, in the case's type.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn upload_activation(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
        self.upload_as(self.dtype, shape, values)
    }

    /// Uploads values in another type than the case's.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn upload_as(&self, dtype: Dtype, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
        let shape = shape.into();
        self.seen.count(&shape);
        self.gpu.floats("input", shape, dtype, values)
    }

    /// A tensor of NaN in the case's type, for outputs and scratch.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn poisoned_activation(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.poisoned_as(self.dtype, shape)
    }

    /// A tensor of NaN in another type than the case's, for outputs and scratch.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn poisoned_as(&self, dtype: Dtype, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let poison = vec![f32::NAN; shape.elements()];
        self.gpu.floats("poisoned", shape, dtype, &poison)
    }

    /// Scratch of a number of elements of a type, full of NaN.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn scratch(&self, (elements, dtype): (usize, Dtype)) -> Result<Tensor> {
        self.gpu.floats("scratch", [elements], dtype, &vec![f32::NAN; elements])
    }

    /// Uploads values that are f32 whatever activations are, such as parameters.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn upload(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
        let shape = shape.into();
        self.seen.count(&shape);
        self.gpu.tensor("input", shape, Dtype::F32, values)
    }

    /// Uploads whole numbers.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn upload_u32(&self, shape: impl Into<Shape>, values: &[u32]) -> Result<Tensor> {
        self.gpu.tensor("input", shape, Dtype::U32, values)
    }

    /// A tensor of f32 NaN: an output that a kernel must overwrite completely, or scratch that it must not trust.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::OutOfMemory`] if it does not fit; [`Error::Shape`] for another number of values.
    pub fn poisoned(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let poison = vec![f32::NAN; shape.elements()];
        self.gpu.tensor("poisoned", shape, Dtype::F32, &poison)
    }

    /// Records, submits and waits.
    ///
    /// # Errors
    /// The errors of recording and of the device.
    pub fn run(&self, record: impl FnOnce(&mut Recorder) -> Result<()>) -> Result<()> {
        let mut recorder = Recorder::new(self.gpu, "validate");
        record(&mut recorder)?;
        let recording = recorder.finish()?;
        let submission = recording.submit(0)?;
        self.gpu.wait(Some(submission))
    }

    /// The worst error of a tensor: the largest difference, relative to `scale` or the reference's largest value, whichever
    /// is larger. `scale` is what the values would be without cancellation, where that matters; else 0.
    ///
    /// # Errors
    /// [`Error::Gpu`] or [`Error::DeviceLost`] if the device failed; [`Error::Shape`] if the numbers of elements differ.
    pub fn error(&self, tensor: &Tensor, reference: &[f64], scale: f64) -> Result<f64> {
        let values = self.gpu.read_floats(tensor)?;
        if values.len() != reference.len() {
            return Err(Error::Shape {
                operation: "validate",
                argument: "reference",
                wanted: tensor.shape().to_string(),
                got: format!("{} values", reference.len()),
            });
        }
        // Below its smallest normal number f16 has ever fewer digits.
        let floor = if tensor.dtype() == Dtype::F16 { f16::MIN_POSITIVE.to_f64() } else { 0.0 };
        Ok(relative_error(&values, reference, scale.max(floor)))
    }

    /// The worst error of a tensor whose reference carries the expected error of rounding; `tolerance` is the check's.
    fn rounded_error(&self, tensor: &Tensor, reference: &[Rounded], scale: f64, tolerance: f64) -> Result<f64> {
        let scale = scale.max(rounded::scale(reference, tolerance));
        self.error(tensor, &rounded::values(reference), scale)
    }
}

/// The largest difference, relative to the largest absolute value of the reference or `scale`. A NaN or infinity that the
/// reference does not have makes it infinite.
pub fn relative_error(values: &[f32], reference: &[f64], scale: f64) -> f64 {
    let scale = largest(reference).max(scale).max(1e-6);
    values.iter().zip(reference).fold(0.0_f64, |worst, (value, reference)| {
        let difference = (f64::from(*value) - reference).abs() / scale;
        if difference.is_finite() { worst.max(difference) } else { f64::INFINITY }
    })
}

/// The largest absolute value.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Values in the reference's precision.
pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gpu::{Apart, GpuOptions, Recorder, Timer},
        kernels::matmul::{self, Matmul, Matrix, Operands},
    };
    use std::time::Duration;

    /// Which of the two an adapter loads from is its driver's matter. The way that this one's does not take is tried here, and the other
    /// one everywhere else.
    #[test]
    fn kernels_agree_with_the_reference_from_textures_and_from_buffers() {
        let gpu = Gpu::open(&GpuOptions::from_env()).unwrap();
        let textures = !gpu.tiles().textures && gpu.tiles().subgroup == Some(8);
        let gpu = gpu.reading_textures(textures);
        let kernels = ["matmul", "gru", "attentional_decoder", "attentional_decoder_step"];
        let checks = checks().into_iter().filter(|check| kernels.contains(&check.kernel) && check.dtype == Dtype::F32);
        for check in checks {
            let row = run(&gpu, &check, Cases::exactly(6), 1).unwrap();
            assert!(row.passed, "{}: {:.2e}, seed {}", row.kernel, row.worst_error, row.worst_seed);
        }
        assert_eq!(gpu.pipeline_labels().iter().any(|label| label.contains("TEXTURE_")), textures);
    }

    /// Each dispatch that reads a texture begins a pass of its own.
    #[test]
    fn dispatches_that_read_textures_are_timed() {
        let gpu = Gpu::open(&GpuOptions::from_env()).unwrap();
        let textures = gpu.tiles().subgroup == Some(8);
        let gpu = gpu.reading_textures(textures);
        let product = Matmul { m: 64, n: 64, k: 64, batch: 1, ..Matmul::default() };
        let [a, b, c] =
            [1.0, 2.0, 0.0].map(|value| gpu.floats("factor", [64, 64], Dtype::F32, &[value; 4096]).unwrap());
        let operands = Operands { a: Matrix::rows(&a), b: Matrix::rows(&b), bias: None, c: Matrix::rows(&c) };
        let mut recorder = Recorder::new(&gpu, "timed");
        for _ in 0..4 {
            product.record(&mut recorder, matmul::Tile::choose(&gpu, product.m), &operands).unwrap();
        }
        let recording = recorder.finish().unwrap();
        assert!(Timer::new(&gpu).unwrap().run_repeatedly(&recording, 3).unwrap().wall > Duration::ZERO);
        for apart in [Apart::No, Apart::Yes] {
            assert_eq!(recording.profile(1, apart).unwrap().len(), 4);
        }
        gpu.check().unwrap();
        assert_eq!(gpu.read::<f32>(&c).unwrap(), [128.0; 4096]);
        assert_eq!(gpu.pipeline_labels().iter().any(|label| label.contains("TEXTURE_")), textures);
    }
}
