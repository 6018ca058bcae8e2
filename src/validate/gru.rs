//! Checks of [`crate::kernels::gru`].

use super::{
    Case, KernelChecks, ROUNDING, largest, relative_error,
    rounded::{self, Rounded, exact},
};
use crate::{
    Result, Tensor,
    gpu::{Dtype, ELEMENT, product},
    kernels::{
        embedding::Embedding,
        gru::{Backward, Gradients, Gru, Input, Inputs, Outputs, Saved, Tile, Tokens, WeightGradients, Weights},
    },
    reference,
};

/// Sums of up to 65 products, through the gates of up to 9 steps.
const FORWARD: f64 = 3e-6;
/// The same again backward, and sums over up to 9 * 33 steps and rows.
const BACKWARD: f64 = 5e-6;
/// A step stores what goes into its gates and what the next one reads, but a gate passes on less than it gets. Backward, what goes
/// round the gates is stored once more in each of up to 9 steps, and the gates, the states and the result are besides.
const HALF: [f64; 2] = [FORWARD + 4.0 * ROUNDING, BACKWARD + 12.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] =
    &[KernelChecks { kernel: "gru", forward, backward: Some(backward), f32: [FORWARD, BACKWARD], f16: Some(HALF) }];

/// A drawn case: values for the reference, tensors for the kernel.
struct Drawn {
    gru: Gru,
    x: Vec<f32>,
    h0: Vec<f32>,
    begin: Begin,
    lengths: Vec<u32>,
    weights: Vec<reference::gru::GruWeights<Rounded>>,
    named: Option<Named>,
    mask: Option<Mask>,
    x_gpu: Tensor,
    h0_gpu: Tensor,
    lengths_gpu: Tensor,
    weights_gpu: Vec<[Tensor; 4]>,
    y_gpu: Tensor,
    states: Tensor,
    gates: Tensor,
    scratch: Tensor,
}

/// How the states before the first step are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Zeros,
    Apart,
    /// Where the states begin, of one direction.
    InPlace,
}

/// The dropout mask on states: 0 in a quarter of its places.
pub(super) struct Mask {
    values: Vec<f32>,
    gpu: Tensor,
}

impl Mask {
    pub(super) fn draw(case: &mut Case<'_>, shape: &[usize]) -> Result<Self> {
        let elements = shape.iter().product();
        let values: Vec<f32> = (0..elements).map(|_| if case.below(4) == 0 { 0.0 } else { 4.0 / 3.0 }).collect();
        let values = case.rounded(values);
        Ok(Self { gpu: case.upload_activation(shape, &values)?, values })
    }

    pub(super) fn gpu(mask: Option<&Self>) -> Option<&Tensor> {
        mask.map(|mask| &mask.gpu)
    }

    pub(super) fn exact(mask: Option<&Self>) -> Option<Vec<Rounded>> {
        mask.map(|mask| exact(&mask.values))
    }
}

/// Inputs that are rows of a table.
pub(super) struct Named {
    size: usize,
    vocabulary: usize,
    tokens: Vec<u32>,
    table_gpu: Tensor,
    tokens_gpu: Tensor,
    scratch: Tensor,
    order: Tensor,
}

impl Named {
    /// Draws `inputs` tokens and the table of their rows; the rows that are named follow.
    pub(super) fn draw(case: &mut Case<'_>, inputs: usize, size: usize, gates: usize) -> Result<(Self, Vec<f32>)> {
        let vocabulary = case.size(40);
        let table = case.values(vocabulary * size, 1.0);
        let tokens: Vec<u32> = (0..inputs).map(|_| case.below(vocabulary) as u32).collect();
        let rows = tokens.iter().flat_map(|token| &table[*token as usize * size..][..size]).copied().collect();
        let order = Embedding { vocabulary, size: gates, tokens: inputs, padding: None }.order(&tokens)?;
        let named = Self {
            size,
            vocabulary,
            table_gpu: case.upload([vocabulary, size], &table)?,
            tokens_gpu: case.upload_u32([inputs], &tokens)?,
            scratch: case.poisoned([Tokens::scratch(vocabulary, gates)])?,
            order: case.upload_u32([order.len()], &order)?,
            tokens,
        };
        Ok((named, rows))
    }

    pub(super) fn tokens(&self) -> Tokens<'_> {
        let Self { table_gpu: table, tokens_gpu: tokens, scratch, order, .. } = self;
        Tokens { table, tokens, scratch, order: Some(order) }
    }

    pub(super) fn table_shape(&self) -> [usize; 2] {
        [self.vocabulary, self.size]
    }

    /// The gradient of the table from that of the rows.
    pub(super) fn of_table(&self, d_rows: &[Rounded]) -> Vec<Rounded> {
        let mut d_table = vec![Rounded::from(0.0); self.vocabulary * self.size];
        for (token, row) in self.tokens.iter().zip(d_rows.chunks(self.size)) {
            let into = &mut d_table[*token as usize * self.size..][..self.size];
            into.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
        }
        d_table
    }
}

/// Sizes, values and tensors; the padding of x is NaN. Half of the cases name rows of a table, half have a mask on the states.
fn draw(case: &mut Case<'_>) -> Result<Drawn> {
    // Half of the cases take 16-byte loads.
    let unit = if case.coin() { 4 } else { 1 };
    let mut width = |most: usize| case.size(most / unit) * unit;
    let (input, hidden) = (width(65), width(65));
    let gru = Gru {
        batch: case.size(33),
        steps: case.size(9),
        input,
        hidden,
        directions: 1 + case.below(2),
        masked: case.coin(),
    };
    let Gru { batch, steps, input, hidden, directions, masked } = gru;
    let (named, x) = if case.coin() {
        let (named, x) = Named::draw(case, batch * steps, input, directions * 3 * hidden)?;
        (Some(named), x)
    } else {
        (None, case.values(batch * steps * input, 1.0))
    };
    let begin = match case.below(3) {
        0 => Begin::Zeros,
        1 if directions == 1 => Begin::InPlace,
        _ => Begin::Apart,
    };
    let mut h0 = case.values(directions * batch * hidden, 0.5);
    if begin == Begin::Zeros {
        h0.fill(0.0);
    }
    let lengths = case.lengths(batch, steps);
    let mask = if masked { Some(Mask::draw(case, &[directions, batch, hidden])?) } else { None };
    let cells: Vec<_> = (0..directions).map(|_| cell_values(case, input, hidden)).collect();
    // Both directions of a layer whose weights are in one buffer, as those of a model are, take one dispatch a step.
    let weights_gpu = if case.coin() {
        upload_together(case, input, hidden, &cells)?
    } else {
        cells.iter().map(|values| upload_cell(case, input, hidden, values)).collect::<Result<_>>()?
    };
    let weights = cells.iter().map(exact_cell).collect();
    let mut padded = x.clone();
    for (row, values) in padded.chunks_mut(input).enumerate() {
        if row % steps >= lengths[row / steps] as usize {
            values.fill(f32::NAN);
        }
    }
    let mut states = vec![f32::NAN; product(&gru.states_shape())];
    if begin == Begin::InPlace {
        states[..h0.len()].copy_from_slice(&h0);
    }
    let states = case.upload_activation(gru.states_shape(), &states)?;
    let first = [directions, batch, hidden];
    Ok(Drawn {
        x_gpu: case.upload_activation([batch, steps, input], &padded)?,
        h0_gpu: match begin {
            Begin::InPlace => states.part(0, first, case.dtype)?,
            Begin::Zeros | Begin::Apart => case.upload_activation(first, &h0)?,
        },
        lengths_gpu: case.upload_u32([batch], &lengths)?,
        y_gpu: case.poisoned_activation([batch, steps, directions * hidden])?,
        states,
        gates: case.poisoned_activation(gru.gates_shape())?,
        scratch: case.poisoned_activation([gru.scratch(named.is_some()).max(1)])?,
        gru,
        begin,
        named,
        mask,
        x,
        h0,
        lengths,
        weights,
        weights_gpu,
    })
}

/// `weight_ih` `[3H, I]`, `weight_hh`, `bias_ih` and `bias_hh`, of a size that keeps the gates alive.
pub(super) fn cell_values(case: &mut Case<'_>, input: usize, hidden: usize) -> [Vec<f32>; 4] {
    let (from_x, from_h) = (1.0 / (input as f32).sqrt(), 1.0 / (hidden as f32).sqrt());
    [
        case.values(3 * hidden * input, from_x),
        case.values(3 * hidden * hidden, from_h),
        case.values(3 * hidden, 0.5),
        case.values(3 * hidden, 0.5),
    ]
}

pub(super) fn upload_cell(
    case: &Case<'_>,
    input: usize,
    hidden: usize,
    [weight_ih, weight_hh, bias_ih, bias_hh]: &[Vec<f32>; 4],
) -> Result<[Tensor; 4]> {
    Ok([
        case.upload([3 * hidden, input], weight_ih)?,
        case.upload([3 * hidden, hidden], weight_hh)?,
        case.upload([3 * hidden], bias_ih)?,
        case.upload([3 * hidden], bias_hh)?,
    ])
}

/// The parameters of several cells as parts of one buffer.
fn upload_together(case: &Case<'_>, input: usize, hidden: usize, cells: &[[Vec<f32>; 4]]) -> Result<Vec<[Tensor; 4]>> {
    const PART: usize = 64;
    let padded = |values: &Vec<f32>| {
        let padding = values.len().next_multiple_of(PART) - values.len();
        values.iter().copied().chain(vec![f32::NAN; padding]).collect::<Vec<_>>()
    };
    let flat: Vec<f32> = cells.iter().flatten().flat_map(padded).collect();
    let whole = case.upload([flat.len()], &flat)?;
    let mut start = 0;
    let mut part = |shape: &[usize]| {
        let part = whole.part(start as u64 * ELEMENT, shape, Dtype::F32);
        start += shape.iter().product::<usize>().next_multiple_of(PART);
        part
    };
    let mut cell = || {
        let (gates, bias) = (3 * hidden, [3 * hidden]);
        Ok([part(&[gates, input])?, part(&[gates, hidden])?, part(&bias)?, part(&bias)?])
    };
    cells.iter().map(|_| cell()).collect()
}

pub(super) fn poisoned_cell(case: &Case<'_>, input: usize, hidden: usize) -> Result<[Tensor; 4]> {
    Ok([
        case.poisoned([3 * hidden, input])?,
        case.poisoned([3 * hidden, hidden])?,
        case.poisoned([3 * hidden])?,
        case.poisoned([3 * hidden])?,
    ])
}

pub(super) fn exact_cell(values: &[Vec<f32>; 4]) -> reference::gru::GruWeights<Rounded> {
    let [weight_ih, weight_hh, bias_ih, bias_hh] = values.each_ref().map(|values| exact(values));
    reference::gru::GruWeights { weight_ih, weight_hh, bias_ih, bias_hh }
}

pub(super) fn as_weights([weight_ih, weight_hh, bias_ih, bias_hh]: &[Tensor; 4]) -> Weights<'_> {
    Weights { weight_ih, weight_hh, bias_ih, bias_hh }
}

/// The worst error of a cell's gradients.
pub(super) fn cell_error(
    case: &Case<'_>,
    gpu: &[Tensor; 4],
    reference: &reference::gru::GruWeights<Rounded>,
    tolerance: f64,
) -> Result<f64> {
    let expected = [&reference.weight_ih, &reference.weight_hh, &reference.bias_ih, &reference.bias_hh];
    let mut worst = 0.0_f64;
    for (gradient, reference) in gpu.iter().zip(expected) {
        worst = worst.max(case.rounded_error(gradient, reference, 0.0, tolerance)?);
    }
    Ok(worst)
}

impl Drawn {
    /// Runs the reference on the same values.
    fn with_reference<T>(
        &self,
        run: impl FnOnce(&reference::gru::Gru, &reference::gru::GruInputs<'_, Rounded>) -> T,
    ) -> T {
        let Gru { batch, steps, input, hidden, directions, .. } = self.gru;
        let gru = reference::gru::Gru { batch, steps, input, hidden, directions };
        let (x, h0, mask) = (exact(&self.x), exact(&self.h0), Mask::exact(self.mask.as_ref()));
        let (lengths, weights, mask) = (&self.lengths, &self.weights, mask.as_deref());
        run(&gru, &reference::gru::GruInputs { x: &x, h0: &h0, lengths, weights, mask })
    }

    fn inputs<'a>(&'a self, weights: &'a [Weights<'a>]) -> Inputs<'a> {
        let x = self.named.as_ref().map_or(Input::Rows(&self.x_gpu), |named| Input::Tokens(named.tokens()));
        let mask = Mask::gpu(self.mask.as_ref());
        let h0 = (self.begin != Begin::Zeros).then_some(&self.h0_gpu);
        Inputs { x, h0, lengths: &self.lengths_gpu, weights, mask }
    }

    fn outputs(&self) -> Outputs<'_> {
        let saved = Saved { states: &self.states, gates: &self.gates };
        Outputs { y: &self.y_gpu, saved }
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let weights: Vec<_> = drawn.weights_gpu.iter().map(as_weights).collect();
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), [drawn.gru.batch, drawn.gru.hidden], drawn.gru.directions);
        drawn.gru.record(recorder, tile, &drawn.inputs(&weights), &drawn.outputs(), &drawn.scratch)
    })?;
    let Gru { batch, hidden, .. } = drawn.gru;
    let expected = drawn.with_reference(|gru, inputs| gru.forward(inputs));
    let of_y = case.rounded_error(&drawn.y_gpu, &expected.y, 1.0, FORWARD)?;
    let states = case.gpu.read_floats(&drawn.states)?;
    let last = (0..drawn.gru.directions).flat_map(|d| &states[drawn.gru.last(d)..][..batch * hidden]);
    let last: Vec<f32> = last.copied().collect();
    let scale = rounded::scale(&expected.hn, FORWARD).max(1.0);
    Ok(of_y.max(relative_error(&last, &rounded::values(&expected.hn), scale)))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = draw(case)?;
    let Gru { batch, steps, input, hidden, directions, .. } = drawn.gru;
    let (d_y, mut d_hn) = (case.values(drawn.y_gpu.elements(), 0.1), case.values(directions * batch * hidden, 0.1));
    // The last states of a direction may have no gradient; others have theirs where that of the first ones goes.
    let ends: Vec<_> = (0..directions).map(|_| case.below(3) > 0).collect();
    let mut carried = d_hn.clone();
    for (d, _) in ends.iter().enumerate().filter(|(_, ends)| !**ends) {
        let own = d * batch * hidden..(d + 1) * batch * hidden;
        d_hn[own.clone()].fill(0.0);
        carried[own].fill(f32::NAN);
    }
    let mut padded = d_y.clone();
    for (row, values) in padded.chunks_mut(directions * hidden).enumerate() {
        if row % steps >= drawn.lengths[row / steps] as usize {
            values.fill(f32::NAN);
        }
    }
    let d_y_gpu = case.upload_activation([batch, steps, directions * hidden], &padded)?;
    let d_x = match &drawn.named {
        Some(named) => case.poisoned(named.table_shape())?,
        None => case.poisoned_activation([batch, steps, input])?,
    };
    let d_h0 = case.upload_activation([directions, batch, hidden], &carried)?;
    let mut d_weights = Vec::new();
    for _ in 0..directions {
        d_weights.push(poisoned_cell(case, input, hidden)?);
    }
    let [a, b, c] = drawn.gru.backward_scratch(case.dtype).map(|scratch| case.scratch(scratch));
    let scratch = [a?, b?, c?];
    let weights: Vec<_> = drawn.weights_gpu.iter().map(as_weights).collect();
    let into: Vec<WeightGradients<'_>> = d_weights.iter().map(as_weights).collect();
    let into_h0 = case.coin();
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), [drawn.gru.batch, drawn.gru.hidden], drawn.gru.directions);
        let (inputs, outputs) = (drawn.inputs(&weights), drawn.outputs());
        drawn.gru.record(recorder, tile, &inputs, &outputs, &drawn.scratch)?;
        let backward = Backward { inputs, saved: outputs.saved, d_y: &d_y_gpu, ends: &ends, into_h0 };
        let gradients = Gradients { x: &d_x, h0: &d_h0, weights: &into };
        drawn.gru.record_backward(recorder, tile, &backward, scratch.each_ref(), &gradients)
    })?;
    let expected = drawn.with_reference(|gru, inputs| gru.backward(inputs, &exact(&d_y), &exact(&d_hn)));
    let expected_x = drawn.named.as_ref().map_or_else(|| expected.x.clone(), |named| named.of_table(&expected.x));
    let mut errors = vec![case.rounded_error(&d_x, &expected_x, 0.0, BACKWARD)?];
    if into_h0 {
        errors.push(case.rounded_error(&d_h0, &expected.h0, 0.0, BACKWARD)?);
    }
    for (gradient, reference) in d_weights.iter().zip(&expected.weights) {
        errors.push(cell_error(case, gradient, reference, BACKWARD)?);
    }
    Ok(largest(&errors))
}
