//! Checks of [`crate::kernels::dot_product_attention`].

use super::{Case, KernelChecks, ROUNDING, dropout::dropped_rows, largest, relative_error, widen};
use crate::{
    Result, Tensor,
    kernels::{
        Step,
        dot_product_attention::{
            DotProductAttention, Gradients, Heads, Inputs, LARGEST_SIZE, Saved, Tile, WeightDropout, standard_scale,
        },
    },
    reference::{dot_product_attention as reference, dropout},
};

/// Outliers make scores of up to 100; an f32 score of that size is off by some 4e-6, and exp makes that an error of its weight.
pub(super) const TOLERANCE: f64 = 5e-6;
/// A case whose scores may be larger is allowed as much more.
pub(super) const LARGE_SCORE: f64 = 100.0;
/// The error of one store in f16; backward, the stored context's error is in the mean that is taken off a score's gradient.
pub(super) const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 2.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "dot_product_attention",
        forward: |case| forward(case, false),
        backward: Some(|case| backward(case, false)),
        f32: [TOLERANCE; 2],
        f16: Some(HALF),
    },
    KernelChecks {
        kernel: "dot_product_attention_adjusted",
        forward: |case| forward(case, true),
        backward: Some(|case| backward(case, true)),
        f32: [TOLERANCE; 2],
        f16: Some(HALF),
    },
];

/// Where heads lie in the tensors of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    Apart,
    SideBySide,
    /// Query, key and value in the columns of one tensor, and so their gradients.
    Within,
}

/// A tensor with heads in it.
pub(super) struct Laid {
    pub(super) tensor: Tensor,
    /// The first column, where heads lie side by side.
    pub(super) first: Option<usize>,
    pub(super) dims: [usize; 4],
}

impl Laid {
    pub(super) fn heads(&self) -> Heads<'_> {
        match self.first {
            None => Heads::apart(&self.tensor),
            Some(first) => Heads::side_by_side(&self.tensor, first, self.dims[3]),
        }
    }

    /// The rows' places in the tensor, in the order of `[B, N, T, D]`.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let [batch, heads, steps, _] = self.dims;
        let Heads { offset, batch_stride, head_stride, stride, .. } = self.heads();
        let of_batch = move |b| (0..heads).map(move |n| offset + b * batch_stride + n * head_stride);
        (0..batch).flat_map(of_batch).flat_map(move |start| (0..steps).map(move |t| start + t * stride))
    }

    /// Writes heads of `[B, N, T, D]`, and nothing between them.
    pub(super) fn write(&self, case: &Case<'_>, values: &[f32]) -> Result<()> {
        let size = self.dims[3];
        let mut all = case.gpu.read_floats(&self.tensor)?;
        for (start, row) in self.rows().zip(values.chunks(size)) {
            all[start..start + size].copy_from_slice(row);
        }
        case.gpu.write(&self.tensor, &self.tensor.dtype().encode(&all))
    }

    /// The error of the heads; whatever else the tensor holds is not looked at.
    pub(super) fn error(&self, case: &Case<'_>, wanted: &[f64], scale: f64) -> Result<f64> {
        let all = case.gpu.read_floats(&self.tensor)?;
        let values: Vec<f32> = self.rows().flat_map(|start| &all[start..start + self.dims[3]]).copied().collect();
        Ok(relative_error(&values, wanted, scale))
    }
}

struct Drawn {
    attention: DotProductAttention,
    layout: Layout,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    lengths: Vec<u32>,
    /// Query, key and value.
    operands: [Laid; 3],
    lengths_gpu: Tensor,
    bias: Option<(Vec<f32>, Tensor)>,
    step: Step,
    step_gpu: Tensor,
}

/// Sizes of heads: 1, primes, and a multiple of each width of a load, with neighbours of a tile's. Each makes a form of its own, which
/// a driver on the CPU keeps as compiled code of many megabytes.
const HEAD_SIZES: [usize; 12] = [1, 3, 8, 17, 20, 31, 32, 40, 64, 65, 128, LARGEST_SIZE];

/// A size of heads, at most the largest.
pub(super) fn head_size(case: &mut Case<'_>, largest: usize) -> usize {
    let sizes = HEAD_SIZES.iter().filter(|size| **size <= largest).count();
    HEAD_SIZES[case.below(sizes)]
}

impl Drawn {
    /// A case without or with what forms under `ADJUSTED` are for: a bias, dropout or both.
    fn new(case: &mut Case<'_>, adjusted: bool) -> Result<Self> {
        let layout = [Layout::Apart, Layout::SideBySide, Layout::Within][case.below(3)];
        let largest = if case.below(4) == 0 { LARGEST_SIZE } else { 128 };
        let (size, keys) = (head_size(case, largest), case.size(130));
        let [biased, dropping] = [[false, false], [true, false], [false, true], [true, true]][match adjusted {
            true => 1 + case.below(3),
            false => 0,
        }];
        let dropout = dropping.then(|| WeightDropout { rate: [0.1, 0.5][case.below(2)], operation: case.bits() });
        let attention = DotProductAttention {
            dropout,
            batch: 1 + case.below(3),
            heads: 1 + case.below(3),
            queries: if layout == Layout::Within { keys } else { case.size(130) },
            keys,
            size,
            causal: case.coin(),
            scale: if case.coin() { standard_scale(size) } else { 0.7 * standard_scale(size) },
        };
        let DotProductAttention { batch, heads, queries, .. } = attention;
        let query = case.values(batch * heads * queries * size, 1.0);
        let [mut key, mut value] = [(); 2].map(|()| case.values(batch * heads * keys * size, 1.0));
        let lengths = case.lengths(batch, keys);
        let lengths_gpu = case.upload_u32([batch], &lengths)?;
        // Masked rows must not count, whatever they hold.
        let hide = |values: &[f32], with: f32| -> Vec<f32> {
            let hidden = |at: usize| at / size % keys >= lengths[at / (heads * keys * size)] as usize;
            values.iter().enumerate().map(|(at, value)| if hidden(at) { with } else { *value }).collect()
        };
        let before = if layout == Layout::SideBySide { [0, 3, 8][case.below(3)] } else { 0 };
        let operands = operands(case, &attention, layout, before)?;
        for (laid, values) in operands.iter().zip([&query, &hide(&key, f32::NAN), &hide(&value, f32::NAN)]) {
            laid.write(case, values)?;
        }
        (key, value) = (hide(&key, 0.0), hide(&value, 0.0));
        let bias = biased.then(|| case.values(heads * (queries + keys - 1), 1.0));
        let upload = |bias: Vec<f32>| Ok((case.upload([heads, queries + keys - 1], &bias)?, bias));
        let bias = bias.map(upload).transpose()?.map(|(tensor, bias)| (bias, tensor));
        let step = case.step();
        let step_gpu = Step::buffer(case.gpu)?;
        case.gpu.write(&step_gpu, &step.words())?;
        Ok(Self { attention, layout, query, key, value, lengths, operands, lengths_gpu, bias, step, step_gpu })
    }

    fn inputs(&self) -> Inputs<'_> {
        let [query, key, value] = self.operands.each_ref().map(Laid::heads);
        let bias = self.bias.as_ref().map(|(_, tensor)| tensor);
        Inputs { query, key, value, lengths: &self.lengths_gpu, bias, step: &self.step_gpu }
    }

    fn reference<T>(
        &self,
        run: impl FnOnce(&reference::DotProductAttention, &reference::DotProductInputs<'_>) -> T,
    ) -> T {
        let DotProductAttention { batch, heads, queries, keys, size, causal, scale, dropout } = self.attention;
        let scale = f64::from(scale);
        let attention = reference::DotProductAttention { batch, heads, queries, keys, size, causal, scale };
        let (query, key, value) = (widen(&self.query), widen(&self.key), widen(&self.value));
        let lengths = &self.lengths;
        let bias = self.bias.as_ref().map(|(values, _)| widen(values));
        let kept = dropout.map(|WeightDropout { rate, operation }| {
            let Step { step, seed, .. } = self.step;
            let rows = dropped_rows(&self.step, heads * queries * keys);
            let dropout = dropout::Dropout { rate, seed, step, operation, draw: dropout::Draw::Element, rows };
            dropout.forward(&vec![1.0; batch * heads * queries * keys])
        });
        let (bias, kept) = (bias.as_deref(), kept.as_deref());
        run(&attention, &reference::DotProductInputs { query: &query, key: &key, value: &value, lengths, bias, kept })
    }
}

/// A tensor of NaN for a context or its gradient.
pub(super) fn of_context(case: &Case<'_>, attention: &DotProductAttention, layout: Layout) -> Result<Laid> {
    let DotProductAttention { batch, heads, queries, size, .. } = *attention;
    let dims = [batch, heads, queries, size];
    let (tensor, first) = match layout {
        Layout::Apart => (case.poisoned_activation(dims)?, None),
        Layout::SideBySide | Layout::Within => (case.poisoned_activation([batch, queries, heads * size])?, Some(0)),
    };
    Ok(Laid { tensor, first, dims })
}

/// Tensors of NaN for query, key and value, or for their gradients, with `before` columns before the heads.
pub(super) fn operands(
    case: &Case<'_>,
    attention: &DotProductAttention,
    layout: Layout,
    before: usize,
) -> Result<[Laid; 3]> {
    let DotProductAttention { batch, heads, queries, keys, size, .. } = *attention;
    let width = heads * size;
    let shared = case.poisoned_activation([batch, keys, 3 * width])?;
    let laid = |steps: usize, part: usize| {
        let dims = [batch, heads, steps, size];
        let (tensor, first) = match layout {
            Layout::Apart => (case.poisoned_activation(dims)?, None),
            Layout::SideBySide => (case.poisoned_activation([batch, steps, before + width])?, Some(before)),
            Layout::Within => (shared.clone(), Some(part * width)),
        };
        Ok(Laid { tensor, first, dims })
    };
    Ok([laid(queries, 0)?, laid(keys, 1)?, laid(keys, 2)?])
}

fn forward(case: &mut Case<'_>, adjusted: bool) -> Result<f64> {
    let drawn = Drawn::new(case, adjusted)?;
    let DotProductAttention { batch, heads, queries, size, .. } = drawn.attention;
    let context = of_context(case, &drawn.attention, drawn.layout)?;
    let log_sum_exp = case.poisoned([batch, heads, queries])?;
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), context.heads(), &log_sum_exp)
    })?;
    let (wanted, denominators) = drawn.reference(|attention, inputs| attention.forward(inputs));
    // An error of a weight is an error of that share of the values, however small a context they average to.
    let score = longest(&drawn.query, size) * longest(&drawn.key, size) * f64::from(drawn.attention.scale);
    let scale = largest(&widen(&drawn.value)).max(1.0) * (score / LARGE_SCORE).max(1.0);
    Ok(context.error(case, &wanted, scale)?.max(case.error(&log_sum_exp, &denominators, 1.0)?))
}

fn backward(case: &mut Case<'_>, adjusted: bool) -> Result<f64> {
    let drawn = Drawn::new(case, adjusted)?;
    let DotProductAttention { batch, heads, queries, keys, size, scale, .. } = drawn.attention;
    let d_context = case.values(batch * heads * queries * size, 0.1);
    let [context, d_context_gpu] =
        [of_context(case, &drawn.attention, drawn.layout)?, of_context(case, &drawn.attention, drawn.layout)?];
    d_context_gpu.write(case, &d_context)?;
    let log_sum_exp = case.poisoned([batch, heads, queries])?;
    let statistics = case.poisoned([drawn.attention.statistics()])?;
    let d_bias = case.poisoned([heads, queries + keys - 1])?;
    let parts = case.poisoned([drawn.attention.bias_parts()])?;
    let made = operands(case, &drawn.attention, drawn.layout, 0)?;
    let [query, key, value] = made.each_ref().map(Laid::heads);
    let saved = Saved {
        context: context.heads(),
        log_sum_exp: &log_sum_exp,
        d_context: d_context_gpu.heads(),
        statistics: &statistics,
    };
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), context.heads(), &log_sum_exp)?;
        let bias = drawn.bias.as_ref().map(|_| (&d_bias, &parts));
        let gradients = Gradients { query, key, value, bias };
        drawn.attention.record_backward(recorder, tile, &drawn.inputs(), &saved, &gradients)
    })?;
    let wanted = drawn.reference(|attention, inputs| attention.backward(inputs, &widen(&d_context)));
    // A score's gradient is the difference of two products d_context · value, which are nearly equal where one weight is
    // nearly 1: what is left of their rounding errors is as large as the products are.
    let product = longest(&d_context, size) * longest(&drawn.value, size) * f64::from(scale);
    let scales =
        [product * largest(&widen(&drawn.key)), product * largest(&widen(&drawn.query)), largest(&widen(&d_context))];
    let of_bias = match &drawn.bias {
        Some(_) => case.error(&d_bias, &wanted.bias, longest(&d_context, size) * longest(&drawn.value, size))?,
        None => 0.0,
    };
    let wanted = [wanted.query, wanted.key, wanted.value];
    let errors = made.iter().zip(wanted).zip(scales);
    errors
        .map(|((laid, wanted), scale)| laid.error(case, &wanted, scale))
        .try_fold(of_bias, |worst: f64, error| Ok(worst.max(error?)))
}

/// The length of the longest row.
pub(super) fn longest(values: &[f32], size: usize) -> f64 {
    let length = |row: &[f32]| widen(row).iter().map(|value| value * value).sum::<f64>().sqrt();
    values.chunks(size).map(length).fold(0.0, f64::max)
}
