//! A kernel of one's own in a graph, forward and backward, against a reference of one's own in f64.

use std::fmt;

use half::f16;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::{largest, widen};
use crate::{
    Error, Gpu, Result,
    gpu::{Dtype, Shape},
    graph::{Graph, Program, ProgramOptions, Value},
    kernels::Step,
};

/// What every tensor that the graph makes is filled with beforehand: a NaN that no arithmetic makes.
const POISON: f32 = f32::from_bits(0x7fc0_dead);
/// The most elements of a gradient that are compared; of a larger one so many are drawn.
const MOST: usize = 512;
/// The step of central differences, in f64: its square is their error.
const STEP: f64 = 1e-5;

/// An input of an operation under trial.
#[derive(Clone, Debug)]
pub struct Input {
    name: String,
    shape: Shape,
    dtype: Dtype,
    /// Drawn where there are none; whole numbers by their bits.
    values: Option<Vec<f32>>,
    differentiated: bool,
}

impl Input {
    /// Standard normal values, f32.
    pub fn drawn(name: impl Into<String>, shape: impl Into<Shape>) -> Self {
        Self { name: name.into(), shape: shape.into(), dtype: Dtype::F32, values: None, differentiated: true }
    }

    /// Given values, f32, in row-major order.
    pub fn given(name: impl Into<String>, shape: impl Into<Shape>, values: Vec<f32>) -> Self {
        Self { values: Some(values), ..Self::drawn(name, shape) }
    }

    /// Given whole numbers, such as tokens or lengths, which have no gradient.
    pub fn numbers(name: impl Into<String>, shape: impl Into<Shape>, values: Vec<u32>) -> Self {
        let values = values.into_iter().map(f32::from_bits).collect();
        Self { dtype: Dtype::U32, differentiated: false, ..Self::given(name, shape, values) }
    }

    /// The same in f16, as activations may be; the reference is given the rounded values.
    pub fn half(self) -> Self {
        Self { dtype: Dtype::F16, ..self }
    }

    /// The same without a gradient, such as a mask.
    pub fn without_gradient(self) -> Self {
        Self { differentiated: false, ..self }
    }

    /// The values as the device has them.
    fn values(&self, random: &mut ChaCha8Rng) -> Vec<f32> {
        let values = self.values.clone().unwrap_or_else(|| normal(random, self.shape.elements()));
        match self.dtype {
            Dtype::F16 => values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect(),
            _ => values,
        }
    }

    /// The values as the reference has them.
    fn widened(&self, values: &[f32]) -> Vec<f64> {
        match self.dtype {
            Dtype::U32 => values.iter().map(|value| f64::from(value.to_bits())).collect(),
            _ => widen(values),
        }
    }
}

fn normal(random: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| StandardNormal.sample(random)).collect()
}

/// What an operation is tried with.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The operation's name, for messages.
    pub name: String,
    /// The inputs, in the order in which operation and reference take them.
    pub inputs: Vec<Input>,
    /// The largest error that passes, relative to a tensor's largest value. f32 and sums of up to a few hundred take about 1e-5.
    pub tolerance: f64,
    /// The seed of what is drawn.
    pub seed: u64,
}

/// What a trial has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The operation's name.
    pub name: String,
    /// The largest error that passes.
    pub tolerance: f64,
    /// Every output, then the gradient of every input that has one.
    pub tensors: Vec<Compared>,
}

/// A tensor compared with the reference, by its worst element.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Which output it is, or the gradient of which input.
    pub tensor: String,
    /// Its shape.
    pub shape: Shape,
    /// The worst error, relative to the reference's largest value; infinite where a value is not a finite number.
    pub error: f64,
    /// Where that is.
    pub element: Vec<usize>,
    /// What the kernels computed there; nothing where they wrote nothing.
    pub found: Option<f32>,
    /// What the reference has there.
    pub expected: f64,
}

impl Report {
    /// Whether every tensor agrees.
    pub fn passed(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.error <= self.tolerance)
    }

    /// Nothing where every tensor agrees.
    ///
    /// # Errors
    /// [`Error::Data`] with every tensor that does not, its worst element, what was found there and what was expected.
    pub fn check(&self) -> Result<()> {
        let wrong: Vec<String> =
            self.tensors.iter().filter(|one| one.error > self.tolerance).map(Compared::to_string).collect();
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Error::data(&self.name, format!("{} (tolerance {:.0e})", wrong.join("; "), self.tolerance))),
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tensor, shape, error, element, found, expected } = self;
        match found {
            Some(found) => {
                write!(
                    f,
                    "{tensor} {shape} is {found} at {element:?}, expected {expected:.7}: error {error:.1e} of the largest value"
                )
            }
            None => write!(f, "{tensor} {shape} was not written at {element:?}, expected {expected:.7}"),
        }
    }
}

/// Tries an operation on the inputs that `trial` has: `build` appends it to a graph and gives its outputs, `reference` computes them
/// in f64 from the same inputs, whole numbers among them as floats. The gradients, under drawn gradients of the outputs, are
/// compared with central differences of the reference. Every tensor that the graph makes, scratch too, is NaN beforehand.
///
/// What `build` appends may be one operation or several; it runs as in any other graph.
///
/// # Errors
/// [`Error::Shape`] for values that do not fit an input, or a reference that does not fit an output; the errors of `build`, of
/// kernels and of the device. A wrong result is no error here: see [`Report::check`].
pub fn operation(
    gpu: &Gpu,
    trial: &Trial,
    build: impl FnOnce(&mut Graph, &[Value]) -> Result<Vec<Value>>,
    reference: impl Fn(&[Vec<f64>]) -> Vec<Vec<f64>>,
) -> Result<Report> {
    let mut random = ChaCha8Rng::seed_from_u64(trial.seed);
    let values: Vec<Vec<f32>> = trial.inputs.iter().map(|input| input.values(&mut random)).collect();
    let mut drawn = Drawn {
        inputs: trial.inputs.iter().zip(&values).map(|(input, values)| input.widened(values)).collect(),
        reference: &reference,
        upstream: Vec::new(),
    };

    let half = trial.inputs.iter().any(|input| input.dtype == Dtype::F16);
    let mut graph = Graph::with_precision(if half { Dtype::F16 } else { Dtype::F32 });
    let mut staged = Vec::new();
    let inputs: Vec<Value> =
        trial.inputs.iter().map(|input| graph.input(&input.name, input.shape.clone(), input.dtype)).collect();
    for (input, values) in trial.inputs.iter().zip(values) {
        staged.push((input.name.clone(), input.dtype, values));
    }
    let outputs = build(&mut graph, &inputs)?;
    let expected = reference(&drawn.inputs);
    fits(&graph, &outputs, &expected)?;

    let wanted: Vec<usize> = (0..inputs.len()).filter(|place| trial.inputs[*place].differentiated).collect();
    let mut upstream = Vec::new();
    for (place, output) in outputs.iter().enumerate() {
        let (shape, dtype) = (graph.shape(*output).clone(), graph.dtype(*output));
        let input = Input { dtype, ..Input::drawn(format!("gradient of output {place}"), shape.clone()) };
        let values = input.values(&mut random);
        drawn.upstream.push(widen(&values));
        if !wanted.is_empty() {
            upstream.push((*output, graph.input(&input.name, shape, dtype)));
            staged.push((input.name, dtype, values));
        }
    }
    let of: Vec<Value> = wanted.iter().map(|place| inputs[*place]).collect();
    let gradients = if of.is_empty() { Vec::new() } else { graph.gradients_from(&upstream, &of)? };

    let results = [outputs.as_slice(), &gradients].concat();
    let found = run(gpu, trial, &graph, &staged, &results)?;
    let (forward, backward) = found.split_at(outputs.len());
    let mut tensors = Vec::new();
    for ((output, found), (place, expected)) in outputs.iter().zip(forward).zip(expected.iter().enumerate()) {
        let pairs: Vec<_> = expected.iter().copied().enumerate().collect();
        tensors.push(compared(format!("output {place}"), graph.shape(*output), found, &pairs));
    }
    for (place, found) in wanted.into_iter().zip(backward) {
        let Input { name, shape, .. } = &trial.inputs[place];
        let elements = some_of(found, &mut random);
        let expected: Vec<_> = elements.into_iter().map(|element| (element, drawn.slope(place, element))).collect();
        tensors.push(compared(format!("the gradient of `{name}`"), shape, found, &expected));
    }
    Ok(Report { name: trial.name.clone(), tolerance: trial.tolerance, tensors })
}

/// What the reference is given.
struct Drawn<'a, F> {
    inputs: Vec<Vec<f64>>,
    reference: &'a F,
    upstream: Vec<Vec<f64>>,
}

impl<F: Fn(&[Vec<f64>]) -> Vec<Vec<f64>>> Drawn<'_, F> {
    /// The central difference of the outputs, each times its gradient, by one element of an input.
    fn slope(&mut self, input: usize, element: usize) -> f64 {
        let value = self.inputs[input][element];
        let step = STEP * value.abs().max(1.0);
        let mut loss = |value: f64| {
            self.inputs[input][element] = value;
            let outputs = (self.reference)(&self.inputs);
            let pairs = outputs.iter().flatten().zip(self.upstream.iter().flatten());
            pairs.map(|(output, gradient)| output * gradient).sum::<f64>()
        };
        let slope = (loss(value + step) - loss(value - step)) / (2.0 * step);
        self.inputs[input][element] = value;
        slope
    }
}

/// Checks that the outputs are floats, and the reference's as many.
fn fits(graph: &Graph, outputs: &[Value], expected: &[Vec<f64>]) -> Result<()> {
    let wrong = |argument, wanted, got| Err(Error::Shape { operation: "validate", argument, wanted, got });
    if let Some(output) = outputs.iter().find(|output| graph.dtype(**output) == Dtype::U32) {
        return wrong("outputs", "floats".into(), format!("u32 {}", graph.shape(*output)));
    }
    let wanted: Vec<usize> = outputs.iter().map(|output| graph.shape(*output).elements()).collect();
    let got: Vec<usize> = expected.iter().map(Vec::len).collect();
    match wanted == got {
        true => Ok(()),
        false => wrong("reference", format!("outputs of {wanted:?} values"), format!("{got:?}")),
    }
}

/// Runs a graph once, whose tensors are poisoned, and reads results.
fn run(
    gpu: &Gpu,
    trial: &Trial,
    graph: &Graph,
    staged: &[(String, Dtype, Vec<f32>)],
    results: &[Value],
) -> Result<Vec<Vec<f32>>> {
    // Each value has memory of its own: an element that is not written shows nothing else's.
    let made = graph.made();
    let kept = [made.as_slice(), results].concat();
    let options = ProgramOptions { label: trial.name.clone(), outputs: &kept, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, graph, &options)?;
    for value in made {
        let tensor = program.tensor(value)?;
        gpu.write(tensor, &tensor.dtype().encode(&vec![POISON; tensor.elements()]))?;
    }
    let used: Vec<String> = program.inputs().map(str::to_owned).collect();
    for (name, dtype, values) in staged.iter().filter(|(name, ..)| used.contains(name)) {
        program.write(name, &dtype.encode(values))?;
    }
    program.run(Step::default())?;
    results.iter().map(|value| gpu.read_floats(program.tensor(*value)?)).collect()
}

/// Every element of a gradient, or some of a large one; the first that is not finite among them.
fn some_of(found: &[f32], random: &mut ChaCha8Rng) -> Vec<usize> {
    if found.len() <= MOST {
        return (0..found.len()).collect();
    }
    let broken = found.iter().position(|value| !value.is_finite());
    (0..MOST).map(|_| random.random_range(0..found.len())).chain(broken).collect()
}

/// Compares a tensor with what some of its elements should be.
fn compared(tensor: String, shape: &Shape, found: &[f32], expected: &[(usize, f64)]) -> Compared {
    let values: Vec<f64> = expected.iter().map(|(_, value)| *value).collect();
    let scale = largest(&values).max(1e-6);
    let error = |(element, expected): &(usize, f64)| {
        let error = (f64::from(found[*element]) - expected).abs() / scale;
        if error.is_finite() { error } else { f64::INFINITY }
    };
    let worst = expected.iter().max_by(|one, other| error(one).total_cmp(&error(other)));
    let Some((element, value)) = worst else {
        return Compared { tensor, shape: shape.clone(), error: 0.0, element: Vec::new(), found: None, expected: 0.0 };
    };
    let at = found[*element];
    let unwritten = [Dtype::F32, Dtype::F16].iter().any(|dtype| {
        let poison = dtype.decode(&dtype.encode(&[POISON]));
        poison.first().is_some_and(|poison| poison.to_bits() == at.to_bits())
    });
    Compared {
        tensor,
        shape: shape.clone(),
        error: error(&(*element, *value)),
        element: place(shape, *element),
        found: (!unwritten).then_some(at),
        expected: *value,
    }
}

/// The place of an element by its extents.
fn place(shape: &Shape, element: usize) -> Vec<usize> {
    let mut rest = element;
    let mut place = Vec::new();
    for extent in shape.dims().iter().rev() {
        place.push(rest % extent);
        rest /= extent;
    }
    place.reverse();
    place
}
