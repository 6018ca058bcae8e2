//! Checks of [`crate::kernels::lsh_attention`].

use super::{
    Case, KernelChecks, ROUNDING,
    dot_product_attention::{LARGE_SCORE, longest},
    dropout::dropped_rows,
    largest, widen,
};
use crate::{
    Result, Tensor,
    kernels::{
        Step,
        dot_product_attention::{Tile, WeightDropout, standard_scale},
        lsh_attention::{Gradients, Hash, Inputs, LshAttention, MOST_FACTORS, Order, Outputs, Padding, Saved},
    },
    reference::{dropout, lsh_attention as reference},
};

/// As of dot-product attention.
const TOLERANCE: f64 = 5e-6;
/// The error of a store in f16 after each round, of which earlier ones weigh the less, the more follow; backward, the stored context's error is in the mean that is taken off a score's gradient.
const HALF: [f64; 2] = [TOLERANCE + ROUNDING, TOLERANCE + 3.0 * ROUNDING];
/// Two directions that a vector points to as much, but for the rounding of sums of up to 65 products.
const ALIKE: f64 = 1e-4;

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "lsh_attention",
        forward: |case| forward(case, false),
        backward: Some(|case| backward(case, false)),
        f32: [TOLERANCE; 2],
        f16: Some(HALF),
    },
    KernelChecks {
        kernel: "lsh_attention_adjusted",
        forward: |case| forward(case, true),
        backward: Some(|case| backward(case, true)),
        f32: [TOLERANCE; 2],
        f16: Some(HALF),
    },
    KernelChecks {
        kernel: "lsh_attention_buckets",
        forward: buckets,
        backward: None,
        f32: [0.0; 2],
        f16: Some([0.0; 2]),
    },
];

struct Drawn {
    attention: LshAttention,
    /// Queries, keys and values.
    values: [Vec<f32>; 3],
    lengths: Vec<u32>,
    buckets: Vec<u32>,
    tensors: [Tensor; 3],
    lengths_gpu: Tensor,
    buckets_gpu: Option<Tensor>,
    step: Step,
    step_gpu: Tensor,
}

impl Drawn {
    fn new(case: &mut Case<'_>, dropping: bool) -> Result<Self> {
        let (batch, heads) = (1 + case.below(3), 1 + case.below(3));
        // One of each form of a load, and two pieces of a head to a lane. What yet larger heads change is shared with dot_product_attention.
        let size = [3, 8, 17, 40][case.below(4)];
        // Of several tiles of rows, too.
        let longest = [17, 70][case.below(2)];
        let (chunk, chunks) = (case.size(longest), 1 + case.below(6));
        let (steps, width) = (chunk * chunks, heads * size);
        // More chunks to a side than there are, too.
        let [before, after] = [case.below(3) * case.below(4), case.below(2) * case.below(3)];
        // One bucket for all, few, and more than a pass of the sort tells apart.
        let order =
            case.coin().then(|| Order { rounds: 1 + case.below(3), buckets: [2, 4, 14, 16, 40, 300][case.below(6)] });
        let padding =
            case.coin().then(|| Padding { least: case.below(chunk + 1), multiple: chunk * (1 + case.below(3)) });
        let attention = LshAttention {
            batch,
            heads,
            steps,
            size,
            chunk,
            before,
            after,
            causal: case.coin(),
            sees_itself: case.coin(),
            scale: standard_scale(size),
            order,
            padding,
            dropout: dropping.then(|| WeightDropout { rate: [0.1, 0.5][case.below(2)], operation: case.bits() }),
        };
        let lengths = case.lengths(batch, steps);
        let rounds = order.map_or(0, |order| order.rounds);
        let mut buckets = Vec::new();
        for row in 0..batch * heads * rounds {
            let (length, count) = (lengths[row / rounds / heads] as usize, order.map_or(0, |order| order.buckets));
            buckets.extend((0..steps).map(|t| if t < length { case.below(count) } else { count } as u32));
        }
        let hidden = |at: usize| at / width % steps >= lengths[at / (steps * width)] as usize;
        let (mut values, mut tensors) = ([(); 3].map(|()| case.values(batch * steps * width, 0.7)), Vec::new());
        for values in &mut values {
            // Masked rows must not count, whatever they hold.
            let hide = |with: f32, values: &[f32]| -> Vec<f32> {
                values.iter().enumerate().map(|(at, value)| if hidden(at) { with } else { *value }).collect()
            };
            tensors.push(case.upload_activation([batch, steps, width], &hide(f32::NAN, values))?);
            *values = hide(0.0, values);
        }
        let lengths_gpu = case.upload_u32([batch], &lengths)?;
        let buckets_gpu = order.map(|_| case.upload_u32([batch, heads, rounds, steps], &buckets)).transpose()?;
        let tensors = std::array::from_fn(|number| tensors[number].clone());
        let step = case.step();
        let step_gpu = Step::buffer(case.gpu)?;
        case.gpu.write(&step_gpu, &step.words())?;
        Ok(Self { attention, values, lengths, buckets, tensors, lengths_gpu, buckets_gpu, step, step_gpu })
    }

    fn inputs(&self) -> Inputs<'_> {
        let [query, key, value] = &self.tensors;
        let (lengths, buckets, step) = (&self.lengths_gpu, self.buckets_gpu.as_ref(), &self.step_gpu);
        Inputs { query, key, value, lengths, buckets, step }
    }

    fn reference<T>(&self, run: impl FnOnce(&reference::LshAttention, &reference::LshInputs<'_>) -> T) -> T {
        let LshAttention { batch, heads, steps, size, chunk, before, after, causal, sees_itself, .. } = self.attention;
        let LshAttention { scale, order, padding, dropout, .. } = self.attention;
        let attention = reference::LshAttention {
            batch,
            heads,
            steps,
            size,
            chunk,
            before,
            after,
            causal,
            sees_itself,
            scale: f64::from(scale),
            rounds: order.map_or(0, |order| order.rounds),
            padding: padding.map(|Padding { least, multiple }| [least, multiple]),
        };
        let kept = dropout.map(|WeightDropout { rate, operation }| {
            let Step { step, seed, .. } = self.step;
            let rows = dropped_rows(&self.step, heads * steps * steps);
            let dropout = dropout::Dropout { rate, seed, step, operation, draw: dropout::Draw::Element, rows };
            dropout.forward(&vec![1.0; batch * heads * steps * steps])
        });
        let [query, key, value] = self.values.each_ref().map(|values| widen(values));
        let [query, key, value] = [&query, &key, &value];
        let (lengths, buckets, kept) = (&self.lengths, &self.buckets, kept.as_deref());
        run(&attention, &reference::LshInputs { query, key, value, lengths, buckets, kept })
    }

    /// Context, log_sum_exp and the scratch of the sort.
    fn outputs(&self, case: &Case<'_>) -> Result<[Tensor; 3]> {
        let LshAttention { batch, heads, steps, size, .. } = self.attention;
        let context = case.poisoned_activation([batch, steps, heads * size])?;
        let sorted = case.upload_u32([self.attention.sorted()], &vec![u32::MAX; self.attention.sorted()])?;
        Ok([context, case.poisoned([batch, heads, steps])?, sorted])
    }
}

fn of([context, log_sum_exp, sorted]: &[Tensor; 3]) -> Outputs<'_> {
    Outputs { context, log_sum_exp, sorted }
}

fn forward(case: &mut Case<'_>, dropping: bool) -> Result<f64> {
    let drawn = Drawn::new(case, dropping)?;
    let outputs = drawn.outputs(case)?;
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), drawn.attention.size);
        drawn.attention.record(recorder, tile, &drawn.inputs(), &of(&outputs))
    })?;
    let expected = drawn.reference(|attention, inputs| attention.forward(inputs));
    // An error of a weight is an error of that share of the values, however small a context they average to.
    let [q, k, v] = &drawn.values;
    let size = drawn.attention.size;
    let score = longest(q, size) * longest(k, size) * f64::from(drawn.attention.scale);
    case.error(&outputs[0], &expected, largest(&widen(v)).max(1.0) * (score / LARGE_SCORE).max(1.0))
}

fn backward(case: &mut Case<'_>, dropping: bool) -> Result<f64> {
    let drawn = Drawn::new(case, dropping)?;
    let (attention, outputs) = (drawn.attention, drawn.outputs(case)?);
    let d_context = case.values(outputs[0].elements(), 0.1);
    let d_context_gpu = case.upload_activation(outputs[0].shape().clone(), &d_context)?;
    let statistics = case.poisoned([attention.statistics()])?;
    let [query, key, value] = drawn.tensors.each_ref().map(|tensor| case.poisoned_activation(tensor.shape().clone()));
    let (query, key, value) = (query?, key?, value?);
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), attention.size);
        attention.record(recorder, tile, &drawn.inputs(), &of(&outputs))?;
        let saved = Saved { outputs: of(&outputs), d_context: &d_context_gpu, statistics: &statistics };
        let gradients = Gradients { query: &query, key: &key, value: &value };
        attention.record_backward(recorder, tile, &drawn.inputs(), &saved, &gradients)
    })?;
    let expected = drawn.reference(|attention, inputs| attention.backward(inputs, &widen(&d_context)));
    // Of a score's gradient there may be left the rounding errors of the products of which it is the difference.
    let [q, k, v] = &drawn.values;
    let size = attention.size;
    let d_score = longest(&d_context, size) * longest(v, size) * f64::from(attention.scale);
    let largest_of = |values: &[f32]| largest(&widen(values));
    let worst = case.error(&query, &expected.query, d_score * largest_of(k))?;
    let worst = worst.max(case.error(&key, &expected.key, d_score * largest_of(q))?);
    Ok(worst.max(case.error(&value, &expected.value, largest_of(&d_context))?))
}

/// The share of buckets that are others than the reference's, but for those of vectors that lie between two.
fn buckets(case: &mut Case<'_>) -> Result<f64> {
    let (batch, heads, steps, rounds) = (1 + case.below(3), 1 + case.below(3), case.size(40), 1 + case.below(3));
    let size = case.size(65);
    let factors: Vec<usize> = (0..1 + case.below(3)).map(|_| 2 * case.size(9)).collect();
    let mut places = [0; MOST_FACTORS];
    places[..factors.len()].copy_from_slice(&factors);
    let hash = Hash { batch, heads, steps, size, rounds, factors: places };
    let (width, lengths) = (heads * size, case.lengths(batch, steps));
    let x = case.values(batch * steps * width, 1.0);
    let hidden = |at: usize| at / width % steps >= lengths[at / (steps * width)] as usize;
    let poisoned = x.iter().enumerate().map(|(at, value)| if hidden(at) { f32::NAN } else { *value });
    let x_gpu = case.upload_activation([batch, steps, width], &poisoned.collect::<Vec<_>>())?;
    let rotations = case.values(heads * size * rounds * hash.directions(), 1.0);
    let rotations_gpu = case.upload([heads, size, rounds, hash.directions()], &rotations)?;
    let lengths_gpu = case.upload_u32([batch], &lengths)?;
    let shape = [batch, heads, rounds, steps];
    let buckets = case.upload_u32(shape, &vec![u32::MAX; shape.iter().product()])?;
    case.run(|recorder| hash.record(recorder, [&x_gpu, &rotations_gpu, &lengths_gpu], &buckets))?;
    let found: Vec<u32> = case.gpu.read(&buckets)?;
    let mut wrong = 0;
    for ((x, found), length) in widen(&x).chunks(steps * width).zip(found.chunks(heads * rounds * steps)).zip(&lengths)
    {
        let sizes = [heads, size, rounds, *length as usize];
        let (expected, margins) = reference::buckets(x, &widen(&rotations), sizes, &factors);
        let rows = found.iter().zip(&expected).zip(&margins).enumerate();
        let decided = |row: usize, margin: f64| margin > ALIKE || row % steps >= *length as usize;
        wrong += rows.filter(|(row, ((found, expected), margin))| found != expected && decided(*row, **margin)).count();
    }
    Ok(wrong as f64 / found.len() as f64)
}
