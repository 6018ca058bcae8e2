//! Checks of [`crate::kernels::span_attention`].

use super::{
    Case, KernelChecks, ROUNDING,
    dot_product_attention::{LARGE_SCORE, longest},
    largest, relative_error, widen,
};
use crate::{
    Result, Tensor,
    gpu::Dtype,
    kernels::{
        matmul::Matrix,
        span_attention::{Gradients, Inputs, Saved, SpanAttention},
    },
    reference::span_attention as reference,
};

/// As of dot-product attention, with scores of two products.
const TOLERANCE: f64 = 5e-6;
/// The error of one store in f16; backward, the stored context's error is in the mean that is taken off a score's gradient.
const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 2.0 * ROUNDING];
/// Products are added up one by one, and not in four sums.
const BIAS: f64 = 2e-5;

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks { kernel: "span_attention", forward, backward: Some(backward), f32: [TOLERANCE; 2], f16: Some(HALF) },
    KernelChecks { kernel: "span_attention_bias", forward: bias, backward: None, f32: [BIAS; 2], f16: Some([BIAS; 2]) },
];

struct Drawn {
    attention: SpanAttention,
    /// Queries, keys, values; vectors of distances and spans.
    values: [Vec<f32>; 5],
    tensors: [Tensor; 5],
}

impl Drawn {
    fn new(case: &mut Case<'_>) -> Result<Self> {
        let (batch, heads) = (1 + case.below(3), 1 + case.below(3));
        // One of each form of a load, and two pieces of a head to a lane; and now and then more.
        let forms = if case.below(8) == 0 { 5 } else { 4 };
        let size = [3, 8, 17, 40, 128][case.below(forms)];
        let queries = case.size(70);
        let keys = queries + if case.coin() { case.size(70) } else { 0 };
        let limit = case.size(70);
        let (ramp, scale) = (2.0 + case.below(30) as f32, 0.7 / (size as f32).sqrt());
        let attention = SpanAttention { batch, heads, queries, keys, size, limit, ramp, scale };
        let (width, all) = (heads * size, [1, limit, size]);
        let shapes = [[batch, queries, width], [batch, keys, width], [batch, keys, width], all, [1, 1, heads]];
        let mut values = shapes.map(|shape| case.values(shape.iter().product(), 0.7));
        // From somewhat too short, where nothing is seen, to somewhat too long.
        let longest = limit as f32 + ramp;
        values[4] = (0..heads).map(|_| case.below(1 << 16) as f32 / 65_536.0 * (longest + ramp) - 1.1 * ramp).collect();
        let mut tensors = Vec::new();
        for (number, shape) in shapes.into_iter().enumerate() {
            let dtype = if number < 3 { case.dtype } else { Dtype::F32 };
            tensors.push(case.upload_as(dtype, shape, &values[number])?);
        }
        let tensors = std::array::from_fn(|number| tensors[number].clone());
        Ok(Self { attention, values, tensors })
    }

    fn inputs(&self) -> Inputs<'_> {
        let [query, key, value, position, spans] = &self.tensors;
        Inputs { query, key, value, position, spans }
    }

    fn of_reference(&self) -> reference::SpanAttention {
        let SpanAttention { batch, heads, queries, keys, size, limit, ramp, scale } = self.attention;
        let [ramp, scale] = [ramp, scale].map(f64::from);
        reference::SpanAttention { batch, heads, queries, keys, size, limit, ramp, scale }
    }

    fn reference<T>(&self, run: impl FnOnce(&reference::SpanAttention, &reference::SpanInputs<'_>) -> T) -> T {
        let [query, key, value, position, spans] = self.values.each_ref().map(|values| widen(values));
        let inputs =
            reference::SpanInputs { query: &query, key: &key, value: &value, position: &position, spans: &spans };
        run(&self.of_reference(), &inputs)
    }

    fn context(&self, case: &Case<'_>) -> Result<[Tensor; 2]> {
        let SpanAttention { batch, heads, queries, size, .. } = self.attention;
        let context = case.poisoned_activation([batch, queries, heads * size])?;
        Ok([context, case.poisoned([batch, heads, queries])?])
    }
}

fn forward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let [context, log_sum_exp] = drawn.context(case)?;
    case.run(|recorder| drawn.attention.record(recorder, &drawn.inputs(), &context, &log_sum_exp))?;
    let expected = drawn.reference(|attention, inputs| attention.forward(inputs));
    // An error of a weight is an error of that share of the values, however small a context they average to.
    let [q, k, v, p, _] = &drawn.values;
    let size = drawn.attention.size;
    let score = longest(q, size) * (longest(k, size) + longest(p, size)) * f64::from(drawn.attention.scale);
    case.error(&context, &expected, largest(&widen(v)).max(1.0) * (score / LARGE_SCORE).max(1.0))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let attention = drawn.attention;
    let [context, log_sum_exp] = drawn.context(case)?;
    let d_context = case.values(context.elements(), 0.1);
    let d_context_gpu = case.upload_activation(context.shape().clone(), &d_context)?;
    let [a, b, c, d] = attention.scratch().map(|elements| case.poisoned([elements]));
    let scratch = [a?, b?, c?, d?];
    let mut gradients = Vec::new();
    for tensor in &drawn.tensors {
        gradients.push(case.poisoned_as(tensor.dtype(), tensor.shape().clone())?);
    }
    let [query, key, value, position, spans] = std::array::from_fn(|number| gradients[number].clone());
    case.run(|recorder| {
        attention.record(recorder, &drawn.inputs(), &context, &log_sum_exp)?;
        let (log_sum_exp, d_context) = (&log_sum_exp, &d_context_gpu);
        let saved = Saved { context: &context, log_sum_exp, d_context, scratch: scratch.each_ref() };
        let gradients = Gradients { query: &query, key: &key, value: &value, position: &position, spans: &spans };
        attention.record_backward(recorder, &drawn.inputs(), &saved, &gradients)
    })?;
    let expected = drawn.reference(|attention, inputs| attention.backward(inputs, &widen(&d_context)));
    // Of a score's gradient there may be left the rounding errors of the products of which it is the difference.
    let product = longest(&d_context, attention.size) * longest(&drawn.values[2], attention.size);
    let d_score = product * f64::from(attention.scale);
    let [q, k, _, p, _] = drawn.values.each_ref().map(|values| largest(&widen(values)));
    // An error of the mean that is taken off counts as often as weights without their masks would: often, where all masks are nearly 0.
    let unmasked = drawn.reference(|attention, inputs| attention.most_unmasked(inputs)).max(1.0);
    let mut worst = 0.0_f64;
    for (tensor, expected, scale) in [
        (&query, &expected.query, d_score * (k + p)),
        (&key, &expected.key, d_score * q),
        (&value, &expected.value, largest(&widen(&d_context))),
        (&position, &expected.position, d_score * q),
        (&spans, &expected.spans, unmasked * product / f64::from(attention.ramp)),
    ] {
        worst = worst.max(case.error(tensor, expected, scale)?);
    }
    Ok(worst)
}

/// Compares what the bias makes of weights: the logarithm of a mask that is nearly 0 may be off by more.
fn bias(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let SpanAttention { batch, heads, queries, size, limit, scale, .. } = drawn.attention;
    let (rows, capacity) = (batch * queries, limit + case.size(5));
    let bias = case.poisoned([rows, heads, capacity])?;
    let [query, _, _, position, spans] = &drawn.tensors;
    case.run(|recorder| drawn.attention.record_bias(recorder, Matrix::rows(query), [position, spans], &bias))?;
    let expected = drawn.reference(|attention, inputs| attention.bias(inputs.query, inputs.position, inputs.spans));
    let weight = |bias: f64| (bias * f64::from(scale)).exp();
    let found = case.gpu.read_floats(&bias)?;
    let written = found.chunks(capacity).flat_map(|row| row.iter().take(limit + 1));
    let found: Vec<f32> = written.map(|bias| weight(f64::from(*bias)) as f32).collect();
    let expected: Vec<f64> = expected.into_iter().map(weight).collect();
    debug_assert_eq!(expected.len(), rows * heads * (limit + 1), "heads of {size}");
    Ok(relative_error(&found, &expected, 1.0))
}
