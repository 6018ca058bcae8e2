//! Products by cooperative matrices: which take them, and the trial that a device must pass before any does.
//!
//! f16 holds what the factors of such a product are: activations and gradients of f16 as they are, a layer's weights rounded. Products
//! with scores, whose gradients are f32 because f16 has not their range, are none of them. A gradient that grows past f16's range
//! makes infinities, and a step that is not finite is skipped and its loss scale lowered.

use super::{
    ACTIVATIONS, Activation, By, Form, LAYER, Loads, Matmul, Matrix, Operands, SINGLE, Summed, Sums, Types, WEIGHT,
};
use crate::{
    Error, Result,
    gpu::{Cooperative, Dtype, Gpu, Recorder, Specialisation, Tiles},
    kernels::forms,
    reference,
};

/// Rows and columns that a workgroup computes.
pub(super) const SIDE: usize = 64;
/// Products with fewer steps than this spend their time on loads and stores.
const LEAST_STEPS: usize = 32;

/// What factors are multiplied as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Factors {
    Half,
    Single,
}

/// The matrices that a product is computed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matrices {
    factors: Factors,
    /// Rows and columns of one.
    size: u32,
    lanes: u32,
    scalars: bool,
}

impl Matrices {
    /// Those of an adapter with such factors, for each number of lanes that its subgroups may have.
    fn each(has: Cooperative, factors: Factors) -> Vec<Self> {
        let size = match factors {
            Factors::Half => has.half,
            Factors::Single => has.single,
        };
        let by = |size| forms::distinct(has.lanes).into_iter().map(move |lanes| (size, lanes));
        let each = size.into_iter().flat_map(by);
        each.map(|(size, lanes)| Self { factors, size, lanes, scalars: has.scalars }).collect()
    }

    /// Steps of k between loads that are waited for.
    pub fn depth(self) -> usize {
        if self.factors == Factors::Half { 32 } else { 16 }
    }

    pub fn specialisation(self, product: &Matmul, form: Form) -> Specialisation {
        let Form { types, loads, sums, .. } = form;
        let [a, b, c] = types.map(|dtype| dtype == Dtype::F16);
        Specialisation::new()
            .define("COOPERATIVE")
            .define_if(self.size == 8, "EIGHTS")
            .define_if(self.factors == Factors::Single, "SINGLE")
            .define_if(self.scalars, "SCALARS")
            .define_if(a, "HALF_a")
            .define_if(b, "HALF_b")
            .define_if(c, "HALF_c")
            .define_if(loads.a, "VECTOR_a")
            .define_if(loads.b, "VECTOR_b")
            .define_if(loads.c, "VECTOR_c")
            .define_if(product.transpose_a, "TRANSPOSE_A")
            .define_if(product.transpose_b, "TRANSPOSE_B")
            .define_if(product.accumulate, "ACCUMULATE")
            .define_if(sums != Sums::None, "SUMS")
            .define_if(sums == Sums::Apart, "APART")
            .define_if(product.activation == Activation::Tanh, "TANH")
            .define_if(product.activation == Activation::Sigmoid, "SIGMOID")
            .constant("LANES", self.lanes)
    }
}

fn factors(types: Types) -> Option<Factors> {
    match types {
        SINGLE => Some(Factors::Single),
        LAYER | WEIGHT | ACTIVATIONS => Some(Factors::Half),
        _ => None,
    }
}

/// Whether products of such types may be by cooperative matrices.
#[cfg(feature = "validate")]
pub(crate) fn cooperative_takes(types: Types) -> bool {
    factors(types).is_some()
}

/// The matrices of a device for products of such types.
fn each(gpu: &Gpu, types: Types) -> Vec<Matrices> {
    let has = gpu.tiles().cooperative.zip(factors(types));
    has.map_or_else(Vec::new, |(has, factors)| Matrices::each(has, factors))
}

/// Those of every adapter, where this one has any.
pub(super) fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let adapters = if tiles.cooperative.is_some() { &Cooperative::ALL[..] } else { &[] };
    let mut all = Vec::new();
    for product in Matmul::each() {
        for types in [SINGLE, LAYER, WEIGHT, ACTIVATIONS].into_iter().filter(|types| product.takes(*types)) {
            let of = |factors| adapters.iter().flat_map(move |has| Matrices::each(*has, factors));
            let by = factors(types).into_iter().flat_map(of);
            for (matrices, loads) in forms::pairs(by, &Loads::every(product.transpose_a, product.transpose_b)) {
                let form = |sums: &Sums| Form { types, slices: 1, loads, sums: *sums };
                all.extend(product.each_sums(types).iter().map(|sums| matrices.specialisation(&product, form(sums))));
            }
        }
    }
    forms::distinct(all)
}

impl Matmul {
    /// The matrices for a product that is large enough to pay, on a device whose trial has passed.
    pub(super) fn matrices(&self, gpu: &Gpu, types: Types) -> Option<Matrices> {
        let large = self.m >= SIDE && self.n >= SIDE && self.k >= LEAST_STEPS;
        if large { tried(gpu, types)?.ok() } else { None }
    }

    /// Records the product by cooperative matrices whatever its size is, with the sums of op(A)'s rows if they are wanted.
    ///
    /// # Errors
    /// As [`Matmul::record`]; [`Error::Data`] where the device's matrices are wrong, [`Error::Shape`] where it has none for such types.
    #[cfg(feature = "validate")]
    pub(crate) fn record_cooperative(&self, recorder: &mut Recorder, product: &Summed<'_>) -> Result<()> {
        let types = product.operands.types();
        match tried(recorder.gpu(), types) {
            Some(Ok(matrices)) => self.record_by(recorder, By::Matrices(matrices), product),
            Some(Err(why)) => Err(Error::data("matmul", why)),
            None => {
                let wanted = "those of a product by cooperative matrices on this device".into();
                let got = types.map(Dtype::name).join(", ");
                Err(Error::Shape { operation: "matmul", argument: "types", wanted, got })
            }
        }
    }
}

/// What a trial of a device's cooperative matrices says, by what their factors are, `f16` or `f32`; nothing where the device has none,
/// or is opened without them. Wrong ones are used by no product.
pub fn cooperative_trials(gpu: &Gpu) -> Vec<(&'static str, std::result::Result<(), String>)> {
    let each = [(LAYER, "f16"), (SINGLE, "f32")].into_iter();
    each.filter_map(|(types, name)| Some((name, tried(gpu, types)?.map(|_| ())))).collect()
}

/// The matrices for products of such types, of those that a device has, which are right, or what is wrong with them: found by a trial
/// on first use.
fn tried(gpu: &Gpu, types: Types) -> Option<std::result::Result<Matrices, String>> {
    let each = each(gpu, types);
    let first = *each.first()?;
    let tried = gpu.cooperative_trials()[first.factors as usize].get_or_init(|| {
        let mut wrong = Vec::new();
        for matrices in each {
            match trial(gpu, matrices) {
                Ok(()) => return Ok(matrices.lanes),
                Err(why) => wrong.push(format!("by {} lanes: {why}", matrices.lanes)),
            }
        }
        let why = wrong.join("; ");
        tracing::warn!("cooperative matrices are not used on this device: {why}");
        Err(why)
    });
    Some(tried.clone().map(|lanes| Matrices { lanes, ..first }))
}

/// The extents of layers `[M, K]` to `[M, N]` that fill neither the squares of workgroups nor the rounds of sums, of which there are
/// several: odd ones, and multiples of four, whose loads and stores are other ones.
const TRIALS: [[usize; 3]; 2] = [[70, 67, 75], [72, 68, 76]];

/// A layer, forward and backward, on whole numbers: f16 holds every sum, so each element must be right to the last bit. A sum that is
/// carried wrongly from round to round is not, nor rows taken for columns.
fn trial(gpu: &Gpu, by: Matrices) -> Result<()> {
    TRIALS.into_iter().try_for_each(|extents| trial_of(gpu, by, extents))
}

fn trial_of(gpu: &Gpu, by: Matrices, [m, n, k]: [usize; 3]) -> Result<()> {
    let (layer, weight) = if by.factors == Factors::Half { (LAYER, WEIGHT) } else { (SINGLE, SINGLE) };
    let product = |m, n, k| Matmul { m, n, k, batch: 1, ..Matmul::default() };
    compare(gpu, by, &Matmul { transpose_b: true, ..product(m, n, k) }, layer)?;
    compare(gpu, by, &product(m, k, n), layer)?;
    compare(gpu, by, &Matmul { transpose_a: true, accumulate: true, ..product(n, k, m) }, weight)
}

fn compare(gpu: &Gpu, by: Matrices, product: &Matmul, types: Types) -> Result<()> {
    let Matmul { m, n, k, transpose_a, transpose_b, accumulate, .. } = *product;
    let whole = |count: usize, from: f32| (0..count).map(|i| (i * (i + 3) / 2 % 7) as f32 + from).collect::<Vec<f32>>();
    let (a, b, before) = (whole(m * k, -3.0), whole(k * n, -2.0), whole(m * n, 1.0));
    let [a_gpu, b_gpu, c] = [
        gpu.floats("trial", [if transpose_a { k } else { m }, if transpose_a { m } else { k }], types[0], &a)?,
        gpu.floats("trial", [if transpose_b { n } else { k }, if transpose_b { k } else { n }], types[1], &b)?,
        gpu.floats("trial", [m, n], types[2], &before)?,
    ];
    let mut recorder = Recorder::new(gpu, "trial");
    let [a_rows, b_rows, c_rows] = [&a_gpu, &b_gpu, &c].map(Matrix::rows);
    let operands = Operands { a: a_rows, b: b_rows, bias: None, c: c_rows };
    product.record_by(&mut recorder, By::Matrices(by), &Summed { operands, sums: None })?;
    gpu.wait(Some(recorder.finish()?.submit(0)?))?;
    let widen = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
    let activation = reference::matmul::Activation::None;
    let expected = reference::matmul::Matmul { m, n, k, batch: 1, transpose_a, transpose_b, activation };
    let expected = expected.forward(&widen(&a), &widen(&b), None);
    for (at, (found, expected)) in gpu.read_floats(&c)?.iter().zip(expected).enumerate() {
        let expected = expected + if accumulate { f64::from(before[at]) } else { 0.0 };
        if f64::from(*found) != expected {
            let transposed = if transpose_a { "A^T B" } else { "A B^T" };
            let which = if transpose_a || transpose_b { transposed } else { "A B" };
            let place = [at / n, at % n];
            return Err(Error::data("matmul", format!("{which} is {found} at {place:?}, expected {expected}")));
        }
    }
    Ok(())
}
