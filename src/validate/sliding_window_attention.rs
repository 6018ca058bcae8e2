//! Checks of [`crate::kernels::sliding_window_attention`].

use super::{
    Case, KernelChecks,
    dot_product_attention::{HALF, LARGE_SCORE, Laid, Layout, TOLERANCE, head_size, longest, of_context, operands},
    dropout::dropped_rows,
    largest, widen,
};
use crate::{
    Result, Tensor,
    kernels::{
        Step,
        dot_product_attention::{self, DotProductAttention, Gradients, Saved, Tile, WeightDropout, standard_scale},
        sliding_window_attention::{Inputs, SlidingWindowAttention},
    },
    reference::{dot_product_attention::DotProductInputs, dropout, sliding_window_attention as reference},
};

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks {
        kernel: "sliding_window_attention",
        forward: |case| forward(case, false),
        backward: Some(|case| backward(case, false)),
        f32: [TOLERANCE; 2],
        f16: Some(HALF),
    },
    KernelChecks {
        kernel: "sliding_window_attention_adjusted",
        forward: |case| forward(case, true),
        backward: Some(|case| backward(case, true)),
        f32: [TOLERANCE; 2],
        f16: Some(HALF),
    },
];

struct Drawn {
    operation: SlidingWindowAttention,
    layout: Layout,
    /// Query, key and value.
    values: [Vec<f32>; 3],
    lengths: Vec<u32>,
    /// `[B, T]`
    globals: Vec<bool>,
    operands: [Laid; 3],
    lengths_gpu: Tensor,
    globals_gpu: Option<Tensor>,
    step: Step,
    step_gpu: Tensor,
}

impl Drawn {
    fn new(case: &mut Case<'_>, dropping: bool) -> Result<Self> {
        let layout = [Layout::Apart, Layout::Within][case.below(2)];
        // What larger heads change is shared with dot_product_attention.
        let (steps, size) = (case.size(130), head_size(case, 40));
        let dropout = dropping.then(|| WeightDropout { rate: [0.1, 0.5][case.below(2)], operation: case.bits() });
        let attention = DotProductAttention {
            dropout,
            batch: 1 + case.below(3),
            heads: 1 + case.below(3),
            queries: steps,
            keys: steps,
            size,
            causal: case.coin(),
            scale: standard_scale(size),
        };
        let (batch, heads) = (attention.batch, attention.heads);
        // Windows of nothing but one's own position, and past both ends; strides that leave residues without rows.
        let (window, dilation) = (case.below(2) * case.size(140), [1, 1, 2, 3, 150][case.below(5)]);
        let most = [0, 1, 3, 40][case.below(4)].min(steps);
        let listed: Vec<Vec<u32>> = (0..batch).map(|_| positions(case, steps, most)).collect();
        let globals = listed.iter().flat_map(|list| (0..steps as u32).map(|position| list.contains(&position)));
        let globals = globals.collect();
        let past = |list: &Vec<u32>| (list.len()..most).map(|_| steps as u32).collect::<Vec<_>>();
        let words: Vec<u32> = listed.iter().flat_map(|list| [list.clone(), past(list)].concat()).collect();
        let globals_gpu = (most > 0).then(|| case.upload_u32([batch, most], &words)).transpose()?;
        let lengths = case.lengths(batch, steps);
        let mut values = [(); 3].map(|()| case.values(batch * heads * steps * size, 1.0));
        let operands = operands(case, &attention, layout, 0)?;
        // Masked rows must not count, whatever they hold.
        for (index, (laid, values)) in operands.iter().zip(&mut values).enumerate() {
            let hidden = |at: usize| index > 0 && at / size % steps >= lengths[at / (heads * steps * size)] as usize;
            let hide = |with: f32| move |(at, value): (usize, &f32)| if hidden(at) { with } else { *value };
            laid.write(case, &values.iter().enumerate().map(hide(f32::NAN)).collect::<Vec<_>>())?;
            *values = values.iter().enumerate().map(hide(0.0)).collect();
        }
        let lengths_gpu = case.upload_u32([batch], &lengths)?;
        let step = case.step();
        let step_gpu = Step::buffer(case.gpu)?;
        case.gpu.write(&step_gpu, &step.words())?;
        let operation = SlidingWindowAttention { attention, window, dilation, globals: most };
        Ok(Self { operation, layout, values, lengths, globals, operands, lengths_gpu, globals_gpu, step, step_gpu })
    }

    fn inputs(&self) -> Inputs<'_> {
        let [query, key, value] = self.operands.each_ref().map(Laid::heads);
        let (lengths, step) = (&self.lengths_gpu, &self.step_gpu);
        let attention = dot_product_attention::Inputs { query, key, value, lengths, bias: None, step };
        Inputs { attention, globals: self.globals_gpu.as_ref() }
    }

    fn reference<T>(
        &self,
        run: impl FnOnce(&reference::SlidingWindowAttention, &DotProductInputs<'_>, &[bool]) -> T,
    ) -> T {
        let SlidingWindowAttention { attention, window, dilation, .. } = self.operation;
        let DotProductAttention { batch, heads, queries: steps, size, causal, scale, dropout, .. } = attention;
        let scale = f64::from(scale);
        let operation =
            reference::SlidingWindowAttention { batch, heads, steps, size, window, dilation, causal, scale };
        let [query, key, value] = self.values.each_ref().map(|values| widen(values));
        let kept = dropout.map(|WeightDropout { rate, operation }| {
            let Step { step, seed, .. } = self.step;
            let rows = dropped_rows(&self.step, heads * steps * steps);
            let dropout = dropout::Dropout { rate, seed, step, operation, draw: dropout::Draw::Element, rows };
            dropout.forward(&vec![1.0; batch * heads * steps * steps])
        });
        let (lengths, kept) = (&self.lengths, kept.as_deref());
        let inputs = DotProductInputs { query: &query, key: &key, value: &value, lengths, bias: None, kept };
        run(&operation, &inputs, &self.globals)
    }
}

/// At most so many positions of a sequence in ascending order, the first and the last among them often.
fn positions(case: &mut Case<'_>, steps: usize, most: usize) -> Vec<u32> {
    let mut list: Vec<u32> = (0..case.below(most + 1))
        .map(|_| match case.below(4) {
            0 => 0,
            1 => steps as u32 - 1,
            _ => case.below(steps) as u32,
        })
        .collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn forward(case: &mut Case<'_>, dropping: bool) -> Result<f64> {
    let drawn = Drawn::new(case, dropping)?;
    let DotProductAttention { batch, heads, queries, size, scale, .. } = drawn.operation.attention;
    let context = of_context(case, &drawn.operation.attention, drawn.layout)?;
    let log_sum_exp = case.poisoned([batch, heads, queries])?;
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.operation.record(recorder, tile, &drawn.inputs(), context.heads(), &log_sum_exp)
    })?;
    let (wanted, denominators) = drawn.reference(|operation, inputs, globals| operation.forward(inputs, globals));
    // An error of a weight is an error of that share of the values, however small a context they average to.
    let [query, key, value] = &drawn.values;
    let score = longest(query, size) * longest(key, size) * f64::from(scale);
    let scale = largest(&widen(value)).max(1.0) * (score / LARGE_SCORE).max(1.0);
    Ok(context.error(case, &wanted, scale)?.max(case.error(&log_sum_exp, &denominators, 1.0)?))
}

fn backward(case: &mut Case<'_>, dropping: bool) -> Result<f64> {
    let drawn = Drawn::new(case, dropping)?;
    let attention = drawn.operation.attention;
    let DotProductAttention { batch, heads, queries, size, scale, .. } = attention;
    let d_context = case.values(batch * heads * queries * size, 0.1);
    let [context, d_context_gpu] =
        [of_context(case, &attention, drawn.layout)?, of_context(case, &attention, drawn.layout)?];
    d_context_gpu.write(case, &d_context)?;
    let log_sum_exp = case.poisoned([batch, heads, queries])?;
    let statistics = case.poisoned([attention.statistics()])?;
    let made = operands(case, &attention, drawn.layout, 0)?;
    let [query, key, value] = made.each_ref().map(Laid::heads);
    let saved = Saved {
        context: context.heads(),
        log_sum_exp: &log_sum_exp,
        d_context: d_context_gpu.heads(),
        statistics: &statistics,
    };
    case.run(|recorder| {
        let tile = Tile::choose(recorder.gpu(), size);
        drawn.operation.record(recorder, tile, &drawn.inputs(), context.heads(), &log_sum_exp)?;
        let gradients = Gradients { query, key, value, bias: None };
        drawn.operation.record_backward(recorder, tile, &drawn.inputs(), &saved, &gradients)
    })?;
    let wanted = drawn.reference(|operation, inputs, globals| operation.backward(inputs, globals, &widen(&d_context)));
    // As in dot_product_attention: what is left of the rounding errors of two products that nearly cancel.
    let [query, key, value] = &drawn.values;
    let product = longest(&d_context, size) * longest(value, size) * f64::from(scale);
    let scales = [product * largest(&widen(key)), product * largest(&widen(query)), largest(&widen(&d_context))];
    let wanted = [wanted.query, wanted.key, wanted.value];
    let errors = made.iter().zip(wanted).zip(scales);
    errors
        .map(|((laid, wanted), scale)| laid.error(case, &wanted, scale))
        .try_fold(0.0, |worst: f64, error| Ok(worst.max(error?)))
}
