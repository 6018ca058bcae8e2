//! Attention with relative positions against its reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::{Graph, RelativeQueries},
    kernels::relative_attention::{Inputs, RelativeAttention},
    reference::relative_attention as reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("relative_attention");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(35);
    for (queries, keys, lengths) in [(3, 3, [3, 1]), (2, 5, [5, 4]), (1, 4, [0, 4])] {
        let attention = reference::RelativeAttention { batch: 2, heads: 2, queries, keys, size: 3, scale: 0.6 };
        let inputs = [
            random.tensor(&[2, queries, 12]),
            random.tensor(&[2, keys, 6]),
            random.tensor(&[2, keys, 6]),
            random.tensor(&[keys, 6]),
        ];
        let up = random.tensor(&[2, queries, 6]);
        let of = |x: &[Vec<f64>], run: &mut dyn FnMut(&reference::RelativeInputs<'_>)| {
            let [queries, key, value, relative] = [&x[0], &x[1], &x[2], &x[3]];
            run(&reference::RelativeInputs { queries, key, value, relative, lengths: &lengths });
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
            ("queries", found.queries.as_slice()),
            ("key", &found.key),
            ("value", &found.value),
            ("relative", &found.relative),
        ];
        check_gradients("relative_attention", &inputs, objective, &gradients);
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let attention = RelativeAttention { batch: 1, heads: 1, queries: 3, keys: 2, size: 4, scale: 1.0 };
    let (queries, key, lengths) =
        (common::poisoned(gpu, 24), common::poisoned(gpu, 8), common::upload_u32(gpu, [1], &[2]));
    let inputs = Inputs { queries: &queries, key: &key, value: &key, relative: &key, lengths: &lengths };
    let mut recorder = Recorder::new(gpu, "test");
    let (context, log_sum_exp) = (common::poisoned(gpu, 12), common::poisoned(gpu, 3));
    let error = attention.record(&mut recorder, &inputs, &context, &log_sum_exp).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "keys", .. }), "{error}");
    let attention = RelativeAttention { queries: 1, size: 257, ..attention };
    let error = attention.record(&mut recorder, &inputs, &context, &log_sum_exp).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "size of a head", .. }), "{error}");
    let mut graph = Graph::new();
    let queries = graph.input("queries", [2, 3, 16], Dtype::F32);
    let key = graph.input("key", [2, 4, 8], Dtype::F32);
    let relative = graph.input("relative", [3, 8], Dtype::F32);
    let lengths = graph.input("lengths", [2], Dtype::U32);
    let asked = RelativeQueries { queries, heads: 2, scale: 1.0 };
    let error = graph.relative_attention(asked, [key, key], relative, lengths).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "relative", .. }), "{error}");
    let relative = graph.input("vectors", [4, 8], Dtype::F32);
    let error = graph.relative_attention(RelativeQueries { heads: 3, ..asked }, [key, key], relative, lengths);
    assert!(matches!(error, Err(Error::Shape { argument: "heads", .. })));
}
