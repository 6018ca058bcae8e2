//! Attention over learned spans against its reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::{Graph, Program, ProgramOptions, SpanQueries},
    kernels::{
        Step,
        matmul::Matrix,
        span_attention::{Inputs, SpanAttention},
    },
    reference::span_attention as reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("span_attention");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(36);
    // Spans that see nothing, a part and all, with a memory and before the first key.
    for (queries, keys, limit, spans) in
        [(3, 3, 4, [0.3, 1.4]), (2, 5, 3, [-2.5, 7.2]), (1, 4, 6, [0.1, 2.7]), (4, 4, 1, [0.2, 1.6])]
    {
        let attention =
            reference::SpanAttention { batch: 2, heads: 2, queries, keys, size: 3, limit, ramp: 2.0, scale: 0.6 };
        let inputs = [
            random.tensor(&[2, queries, 6]),
            random.tensor(&[2, keys, 6]),
            random.tensor(&[2, keys, 6]),
            random.tensor(&[limit, 3]),
            spans.to_vec(),
        ];
        let up = random.tensor(&[2, queries, 6]);
        let of = |x: &[Vec<f64>], run: &mut dyn FnMut(&reference::SpanInputs<'_>)| {
            let [query, key, value, position, spans] = [&x[0], &x[1], &x[2], &x[3], &x[4]];
            run(&reference::SpanInputs { query, key, value, position, spans });
        };
        let mut found = None;
        of(&inputs, &mut |inputs| found = Some(attention.backward(inputs, &up)));
        let found = found.unwrap();
        let objective = |x: &[Vec<f64>]| {
            let mut sum = 0.0;
            of(x, &mut |inputs| sum = dot(&attention.forward(inputs), &up));
            sum
        };
        let gradients = [
            ("query", found.query.as_slice()),
            ("key", &found.key),
            ("value", &found.value),
            ("position", &found.position),
            ("spans", &found.spans),
        ];
        check_gradients("span_attention", &inputs, objective, &gradients);
    }
}

/// What no span reaches is not read: it may be anything.
#[test]
fn does_not_walk_past_the_longest_span() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let [query, rows] = ["query", "rows"].map(|name| graph.input(name, [1, 9, 4], Dtype::F32));
    let (position, spans) = (graph.input("position", [8, 2], Dtype::F32), graph.input("spans", [2], Dtype::F32));
    let asked = SpanQueries { query, spans, ramp: 2.0, scale: 1.0 };
    let context = graph.span_attention(asked, [rows, rows], position).unwrap();
    let up = graph.input("up", [1, 9, 4], Dtype::F32);
    let mut kept = vec![context];
    kept.extend(graph.gradients_from(&[(context, up)], &[query, rows, position, spans]).unwrap());
    let options = ProgramOptions { outputs: &kept, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    let values: Vec<f32> = (0..36).map(|at| (at as f32 * 0.7).sin()).collect();
    // Spans of 0.5 and 1.5 with a ramp of 2 end before distances of 3 and 4.
    let vectors: Vec<f32> = (0..16).map(|at| if at < 6 { 0.3 } else { f32::NAN }).collect();
    for (name, values) in [("query", &values), ("rows", &values), ("up", &values), ("position", &vectors)] {
        program.write(name, values).unwrap();
    }
    program.write("spans", &[0.5_f32, 1.5]).unwrap();
    program.run(Step::default()).unwrap();
    for value in kept {
        let found: Vec<f32> = program.read(value).unwrap();
        assert!(found.iter().all(|value| value.is_finite()) && found.iter().any(|value| *value != 0.0), "{found:?}");
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let attention = SpanAttention { batch: 1, heads: 1, queries: 2, keys: 2, size: 4, limit: 3, ramp: 2.0, scale: 1.0 };
    let tensors = [8, 12, 1].map(|elements| common::poisoned(gpu, elements));
    let [rows, position, spans] = &tensors;
    let inputs = Inputs { query: rows, key: rows, value: rows, position, spans };
    let mut recorder = Recorder::new(gpu, "test");
    let (context, log_sum_exp) = (common::poisoned(gpu, 8), common::poisoned(gpu, 2));
    for (argument, wrong) in [
        ("keys", SpanAttention { queries: 3, ..attention }),
        ("size of a head", SpanAttention { size: 257, ..attention }),
        ("ramp", SpanAttention { ramp: 0.0, ..attention }),
        ("position", SpanAttention { limit: 4, ..attention }),
        ("query", SpanAttention { batch: 2, ..attention }),
    ] {
        let error = wrong.record(&mut recorder, &inputs, &context, &log_sum_exp).unwrap_err();
        assert!(matches!(error, Error::Shape { argument: found, .. } if found == argument), "{error}");
    }
    let bias = common::poisoned(gpu, 3);
    let error = attention.record_bias(&mut recorder, Matrix::rows(rows), [position, spans], &bias).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");

    let mut graph = Graph::new();
    let query = graph.input("query", [2, 3, 8], Dtype::F32);
    let mut refused = |heads: usize, [key, position]: [[usize; 2]; 2]| {
        let key = graph.input("rows", [2, key[0], key[1]], Dtype::F32);
        let position = graph.input("position", position, Dtype::F32);
        let spans = graph.input("spans", [heads], Dtype::F32);
        let asked = SpanQueries { query, spans, ramp: 2.0, scale: 1.0 };
        match graph.span_attention(asked, [key, key], position) {
            Err(Error::Shape { argument, .. }) => argument,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(3, [[4, 8], [5, 4]]), "spans");
    assert_eq!(refused(2, [[4, 8], [5, 3]]), "position");
    assert_eq!(refused(2, [[2, 8], [5, 4]]), "keys");
    assert_eq!(refused(2, [[4, 6], [5, 4]]), "key");
}
