//! Checks of [`crate::kernels::relative_attention`].

use super::{
    Case, KernelChecks, ROUNDING,
    dot_product_attention::{LARGE_SCORE, longest},
    largest, widen,
};
use crate::{
    Result, Tensor,
    kernels::relative_attention::{Gradients, Inputs, RelativeAttention, Saved},
    reference::relative_attention as reference,
};

/// As of dot-product attention, with scores of two products.
const TOLERANCE: f64 = 5e-6;
/// The error of one store in f16; backward, the stored context's error is in the mean that is taken off a score's gradient.
const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 2.0 * ROUNDING];

pub(super) const KERNELS: &[KernelChecks] = &[KernelChecks {
    kernel: "relative_attention",
    forward,
    backward: Some(backward),
    f32: [TOLERANCE; 2],
    f16: Some(HALF),
}];

struct Drawn {
    attention: RelativeAttention,
    /// Queries, keys, values and vectors of distances.
    values: [Vec<f32>; 4],
    lengths: Vec<u32>,
    tensors: [Tensor; 4],
    lengths_gpu: Tensor,
}

impl Drawn {
    fn new(case: &mut Case<'_>) -> Result<Self> {
        let (batch, heads) = (1 + case.below(3), 1 + case.below(3));
        // One of each form of a load, and two pieces of a head to a lane; and now and then more.
        let forms = if case.below(8) == 0 { 5 } else { 4 };
        let size = [3, 8, 17, 40, 128][case.below(forms)];
        let queries = case.size(70);
        let keys = queries + if case.coin() { case.size(70) } else { 0 };
        let scale = 0.7 / (size as f32).sqrt();
        let width = heads * size;
        let lengths = case.lengths(batch, keys);
        let shapes = [[batch, queries, 2 * width], [batch, keys, width], [batch, keys, width], [1, keys, width]];
        let mut values = shapes.map(|shape| case.values(shape.iter().product(), 0.7));
        let hidden = |at: usize| at / width % keys >= lengths[at / (keys * width)] as usize;
        let mut tensors = Vec::new();
        for (number, shape) in shapes.into_iter().enumerate() {
            // Masked rows must not count, whatever they hold.
            let masked = (1..3).contains(&number);
            let with = |with: f32, values: &[f32]| -> Vec<f32> {
                let each = values.iter().enumerate();
                each.map(|(at, value)| if masked && hidden(at) { with } else { *value }).collect()
            };
            tensors.push(case.upload_activation(shape, &with(f32::NAN, &values[number]))?);
            values[number] = with(0.0, &values[number]);
        }
        let lengths_gpu = case.upload_u32([batch], &lengths)?;
        let attention = RelativeAttention { batch, heads, queries, keys, size, scale };
        let tensors = std::array::from_fn(|number| tensors[number].clone());
        Ok(Self { attention, values, lengths, tensors, lengths_gpu })
    }

    fn inputs(&self) -> Inputs<'_> {
        let [queries, key, value, relative] = &self.tensors;
        Inputs { queries, key, value, relative, lengths: &self.lengths_gpu }
    }

    fn reference<T>(&self, run: impl FnOnce(&reference::RelativeAttention, &reference::RelativeInputs<'_>) -> T) -> T {
        let RelativeAttention { batch, heads, queries, keys, size, scale } = self.attention;
        let scale = f64::from(scale);
        let attention = reference::RelativeAttention { batch, heads, queries, keys, size, scale };
        let [queries, key, value, relative] = self.values.each_ref().map(|values| widen(values));
        let lengths = &self.lengths;
        run(
            &attention,
            &reference::RelativeInputs { queries: &queries, key: &key, value: &value, relative: &relative, lengths },
        )
    }

    fn context(&self, case: &Case<'_>) -> Result<[Tensor; 2]> {
        let RelativeAttention { batch, heads, queries, size, .. } = self.attention;
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
    let [q, k, v, r] = &drawn.values;
    let size = drawn.attention.size;
    let score = longest(q, size) * (longest(k, size) + longest(r, size)) * f64::from(drawn.attention.scale);
    case.error(&context, &expected, largest(&widen(v)).max(1.0) * (score / LARGE_SCORE).max(1.0))
}

fn backward(case: &mut Case<'_>) -> Result<f64> {
    let drawn = Drawn::new(case)?;
    let attention = drawn.attention;
    let [context, log_sum_exp] = drawn.context(case)?;
    let d_context = case.values(context.elements(), 0.1);
    let d_context_gpu = case.upload_activation(context.shape().clone(), &d_context)?;
    let statistics = case.poisoned([attention.statistics()])?;
    let gradients = drawn.tensors.each_ref().map(|tensor| case.poisoned_activation(tensor.shape().clone()));
    let [queries, key, value, relative] = gradients;
    let [queries, key, value, relative] = [queries?, key?, value?, relative?];
    case.run(|recorder| {
        attention.record(recorder, &drawn.inputs(), &context, &log_sum_exp)?;
        let saved =
            Saved { context: &context, log_sum_exp: &log_sum_exp, d_context: &d_context_gpu, statistics: &statistics };
        let gradients = Gradients { queries: &queries, key: &key, value: &value, relative: &relative };
        attention.record_backward(recorder, &drawn.inputs(), &saved, &gradients)
    })?;
    let expected = drawn.reference(|attention, inputs| attention.backward(inputs, &widen(&d_context)));
    // Of a score's gradient there may be left the rounding errors of the products of which it is the difference.
    let product = longest(&d_context, attention.size) * longest(&drawn.values[2], attention.size);
    let d_score = product * f64::from(attention.scale);
    let [q, k, _, r] = drawn.values.each_ref().map(|values| largest(&widen(values)));
    let mut worst = 0.0_f64;
    for (tensor, expected, scale) in [
        (&queries, &expected.queries, d_score * k.max(r)),
        (&key, &expected.key, d_score * q),
        (&value, &expected.value, largest(&widen(&d_context))),
        (&relative, &expected.relative, d_score * q),
    ] {
        worst = worst.max(case.error(tensor, expected, scale)?);
    }
    Ok(worst)
}
