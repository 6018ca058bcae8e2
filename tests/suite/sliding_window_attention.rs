//! Attention within a window against its reference, and what no random case shows.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::{Dtype, Recorder},
    graph::{Graph, MultiHeadAttention, Window},
    kernels::{
        Step,
        dot_product_attention::{self, DotProductAttention, Gradients, Heads, Saved, Tile},
        sliding_window_attention::{Inputs, SlidingWindowAttention},
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("sliding_window_attention");
}

const SHAPE: [usize; 4] = [2, 2, 70, 12];
const SMALL: DotProductAttention = DotProductAttention {
    batch: SHAPE[0],
    heads: SHAPE[1],
    queries: SHAPE[2],
    keys: SHAPE[2],
    size: SHAPE[3],
    causal: false,
    scale: 0.25,
    dropout: None,
};
const WINDOW: SlidingWindowAttention = SlidingWindowAttention { attention: SMALL, window: 5, dilation: 1, globals: 0 };

fn wave(scale: f32) -> Vec<f32> {
    (0..SHAPE.iter().product()).map(|at: usize| (at as f32 * 0.7).sin() * scale).collect()
}

/// The context, log_sum_exp and the gradients of query, key and value; outputs and scratch start as NaN.
fn run(gpu: &Gpu, dtype: Dtype, operation: SlidingWindowAttention, globals: &[u32]) -> Result<[Vec<f32>; 5], Error> {
    let tensor = |values: &[f32]| gpu.floats("test", SHAPE, dtype, values);
    let poisoned = || tensor(&vec![f32::NAN; SHAPE.iter().product()]);
    let [query, key, value, d_context] = [1.0, 1.5, 0.7, 0.3].map(|scale| tensor(&wave(scale)));
    let [query, key, value, d_context] = [query?, key?, value?, d_context?];
    let lengths = gpu.tensor("test", [2], Dtype::U32, &[70_u32, 44])?;
    let count = operation.globals;
    let globals = (count > 0).then(|| gpu.tensor("test", [2, count], Dtype::U32, globals)).transpose()?;
    let (context, log_sum_exp) = (poisoned()?, common::poisoned(gpu, 2 * 2 * 70));
    let log_sum_exp = log_sum_exp.reshape([2, 2, 70])?;
    let statistics = common::poisoned(gpu, operation.attention.statistics());
    let [d_query, d_key, d_value] = [poisoned()?, poisoned()?, poisoned()?];
    let step = Step::buffer(gpu)?;
    let [query, key, value, d_context] = [&query, &key, &value, &d_context].map(Heads::apart);
    let attention = dot_product_attention::Inputs { query, key, value, lengths: &lengths, bias: None, step: &step };
    let inputs = Inputs { attention, globals: globals.as_ref() };
    let saved =
        Saved { context: Heads::apart(&context), log_sum_exp: &log_sum_exp, d_context, statistics: &statistics };
    let [query, key, value] = [&d_query, &d_key, &d_value].map(Heads::apart);
    let tile = Tile::choose(gpu, SHAPE[3]);
    let mut recorder = Recorder::new(gpu, "test");
    operation.record(&mut recorder, tile, &inputs, Heads::apart(&context), &log_sum_exp)?;
    operation.record_backward(&mut recorder, tile, &inputs, &saved, &Gradients { query, key, value, bias: None })?;
    let submission = recorder.finish()?.submit(0)?;
    gpu.wait(Some(submission))?;
    let read = [&context, &log_sum_exp, &d_query, &d_key, &d_value].map(|tensor| gpu.read_floats(tensor));
    let [context, log_sum_exp, query, key, value] = read;
    Ok([context?, log_sum_exp?, query?, key?, value?])
}

/// Positions past the last are none, whatever the list says, and a list of none is no list.
#[test]
fn positions_that_are_not_there_are_not_seen() {
    for (gpu, dtype) in common::forms() {
        let without = run(gpu, dtype, WINDOW, &[]).unwrap();
        let listed = SlidingWindowAttention { globals: 3, ..WINDOW };
        assert!(run(gpu, dtype, listed, &[70, 71, u32::MAX, 70, 70, 70]).unwrap() == without);
        // Behind the second row's length: no key, but a query that sees all keys.
        let [context, ..] = run(gpu, dtype, listed, &[70, 71, 72, 60, 99, u32::MAX]).unwrap();
        let differs: Vec<usize> =
            (0..280).filter(|row| context[row * 12..][..12] != without[0][row * 12..][..12]).collect();
        assert_eq!(differs, [140 + 60, 210 + 60]);
    }
}

#[test]
fn repeats_its_bits() {
    let operation = SlidingWindowAttention {
        attention: DotProductAttention { causal: true, ..SMALL },
        dilation: 3,
        globals: 2,
        ..WINDOW
    };
    for (gpu, dtype) in common::forms() {
        let bits = || {
            run(gpu, dtype, operation, &[0, 33, 2, 70])
                .unwrap()
                .map(|tensor| tensor.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        assert!(bits() == bits());
    }
}

/// A hundred times the positions, a hundred times the work: nothing is of size T·T.
#[test]
fn costs_as_much_as_the_window() {
    let cost = |steps: usize| {
        let attention = DotProductAttention { queries: steps, keys: steps, ..SMALL };
        let operation = SlidingWindowAttention { attention, globals: 1, ..WINDOW };
        let mut sum = operation.cost(Dtype::F32);
        sum += operation.cost_backward(Dtype::F32);
        (sum.operations, sum.read, attention.statistics() as f64)
    };
    let (short, long) = (cost(1_000), cost(100_000));
    for (short, long) in [(short.0, long.0), (short.1, long.1), (short.2, long.2)] {
        assert!((long / short - 100.0).abs() < 1.0, "{short} {long}");
    }
}

#[test]
fn refuses_what_has_no_window() {
    let gpu = common::gpu();
    let error = run(gpu, Dtype::F32, SlidingWindowAttention { dilation: 0, ..WINDOW }, &[]).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "dilation", .. }), "{error}");
    let mut graph = Graph::new();
    let lengths = graph.input("lengths", [2], Dtype::U32);
    let [query, key] = [5, 7].map(|steps| graph.input(format!("{steps} steps"), [2, steps, 24], Dtype::F32));
    let bias = graph.input("bias", [3, 9], Dtype::F32);
    let whole = MultiHeadAttention::new(query, query, query, lengths, 3);
    let mut refused = |attention: MultiHeadAttention| graph.multi_head_attention(&attention).unwrap_err().to_string();
    let window = Some(Window::of(2));
    let error = refused(MultiHeadAttention { window, ..MultiHeadAttention::new(query, key, key, lengths, 3) });
    assert!(error.contains("as many steps as there are keys, 7, got 5"), "{error}");
    let error = refused(MultiHeadAttention { window, bias: Some(bias), ..whole });
    assert!(error.contains("none where there is a window"), "{error}");
    let globals = Some(query);
    let error = refused(MultiHeadAttention { window: Some(Window { globals, ..Window::of(2) }), ..whole });
    assert!(error.contains("globals: wanted u32 [2, _]"), "{error}");
}
