//! Attention within buckets of a hash, and within chunks of a text, against its reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::{Buckets, ChunkedAttention, Graph, Program, ProgramOptions},
    kernels::{
        Step,
        dot_product_attention::{Tile, WeightDropout},
        lsh_attention::{Hash, Inputs, LshAttention, Order, Outputs, Padding},
    },
    reference::lsh_attention as reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("lsh_attention");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(41);
    for (chunk, before, after, rounds) in [(2, 1, 0, 2), (3, 0, 0, 1), (1, 1, 1, 3), (2, 1, 0, 0), (3, 2, 1, 0)] {
        for (sees_itself, causal) in [(false, true), (false, false), (true, true), (true, false)] {
            let (batch, heads, steps, size) = (2, 2, 6, 3);
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
                scale: 0.6,
                rounds,
                padding: None,
            };
            let shape = [batch, steps, heads, size];
            let inputs: Vec<_> = (0..3).map(|_| random.tensor(&shape)).collect();
            // Dropout is a factor of each weight.
            let kept = random.tensor(&[batch, heads, steps, steps]);
            let up = random.tensor(&shape);
            let buckets: Vec<u32> = (0..batch * heads * rounds * steps).map(|at| (at * 7 % 5 % 3) as u32).collect();
            let lengths = [6, 4];
            let view = |x: &[Vec<f64>], run: &mut dyn FnMut(&reference::LshInputs<'_>)| {
                let ([query, key, value], kept) = ([&x[0], &x[1], &x[2]], Some(kept.as_slice()));
                run(&reference::LshInputs { query, key, value, lengths: &lengths, buckets: &buckets, kept });
            };
            let mut found = None;
            view(&inputs, &mut |inputs| found = Some(attention.backward(inputs, &up)));
            let found = found.unwrap();
            let objective = |x: &[Vec<f64>]| {
                let mut sum = 0.0;
                view(x, &mut |inputs| sum = dot(&attention.forward(inputs), &up));
                sum
            };
            let gradients = [("query", found.query.as_slice()), ("key", &found.key), ("value", &found.value)];
            check_gradients(&format!("{attention:?}"), &inputs, objective, &gradients);
        }
    }
}

/// A vector and its opposite have other buckets, a multiple of it the same one, and factors count as digits do.
#[test]
fn buckets_tell_directions_apart() {
    let x = [1.0, 0.2, -1.0, -0.2, 3.0, 0.6, -0.1, 2.0];
    let rotations = [1.0, 0.0, 0.0, 1.0];
    let (buckets, _) = reference::buckets(&x, &rotations, [1, 2, 1, 4], &[4]);
    assert_eq!(buckets, [0, 2, 0, 1]);
    let (buckets, _) = reference::buckets(&x, &rotations, [1, 2, 1, 3], &[2, 2]);
    assert_eq!(buckets, [0, 3, 0, 4]);
}

/// Texts that are no longer than a chunk are one, whatever their buckets; a position that sees none but itself has its own value.
#[test]
fn a_short_text_is_one_chunk() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let [query, value] = ["query", "value"].map(|name| graph.input(name, [1, 3, 4], Dtype::F32));
    let lengths = graph.counts([1], 3);
    let numbers = graph.input("buckets", [1, 1, 2, 3], Dtype::U32);
    let of = |chunk, buckets| ChunkedAttention {
        query,
        key: None,
        value,
        lengths,
        buckets,
        heads: 1,
        chunk,
        before: 1,
        after: 0,
        causal: true,
        padding: None,
        dropout: 0.0,
    };
    let buckets = Some(Buckets { numbers, count: 2 });
    let contexts = [of(3, None), of(5, buckets), of(1, buckets)].map(|one| graph.lsh_attention(&one).unwrap());
    let options = ProgramOptions { outputs: &contexts, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    let values: Vec<f32> = (0..12).map(|at| (at as f32 * 1.7).sin()).collect();
    program.write("query", &values).unwrap();
    program.write("value", &values).unwrap();
    program.write("buckets", &[0_u32, 1, 1, 0, 1, 1]).unwrap();
    program.run(Step::default()).unwrap();
    let [whole, short, single] = contexts.map(|context| program.read::<f32>(context).unwrap());
    assert_eq!(whole, short);
    assert_eq!(whole[..4], values[..4]);
    assert_eq!(single[..4], values[..4]);
    // The last one sees the first in no order.
    let error = single[8..].iter().zip(&values[4..8]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error < 1e-6 && whole[8..] != single[8..], "{single:?}");
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let order = Some(Order { rounds: 2, buckets: 4 });
    let attention = LshAttention {
        batch: 1,
        heads: 1,
        steps: 4,
        size: 3,
        chunk: 2,
        before: 1,
        after: 0,
        causal: true,
        sees_itself: false,
        scale: 1.0,
        order,
        padding: None,
        dropout: None,
    };
    let tile = Tile::choose(gpu, 3);
    let step = Step::buffer(gpu).unwrap();
    let (query, lengths) = (common::poisoned(gpu, 12), common::upload_u32(gpu, [1], &[4]));
    let buckets = common::upload_u32(gpu, [1, 1, 2, 4], &[0; 8]);
    let [query, key, value] = [&query; 3];
    let inputs = Inputs { query, key, value, lengths: &lengths, buckets: Some(&buckets), step: &step };
    let [context, log_sum_exp] = [12, 4].map(|elements| common::poisoned(gpu, elements));
    let sorted = common::upload_u32(gpu, [attention.sorted()], &vec![0; attention.sorted()]);
    let outputs = Outputs { context: &context, log_sum_exp: &log_sum_exp, sorted: &sorted };
    let mut recorder = Recorder::new(gpu, "test");
    let small = LshAttention { batch: 1, ..attention };
    assert!(small.record(&mut recorder, tile, &inputs, &outputs).is_ok());
    for (wrong, named) in [
        (LshAttention { chunk: 3, ..attention }, "chunk"),
        (LshAttention { size: 257, ..attention }, "size of a head"),
        (LshAttention { dropout: Some(WeightDropout { rate: 1.0, operation: 0 }), ..attention }, "dropout"),
        (LshAttention { before: usize::MAX, ..attention }, "chunks to either side"),
        (LshAttention { order: None, ..attention }, "buckets"),
        (LshAttention { order: Some(Order { rounds: 2, buckets: 0 }), ..attention }, "buckets"),
        (LshAttention { padding: Some(Padding { least: 1, multiple: 3 }), ..attention }, "multiple"),
        (LshAttention { padding: Some(Padding { least: 3, multiple: 4 }), ..attention }, "least"),
        (LshAttention { order: Some(Order { rounds: 3, buckets: 4 }), ..attention }, "buckets"),
    ] {
        match wrong.record(&mut recorder, tile, &inputs, &outputs) {
            Err(Error::Shape { argument, .. }) => assert_eq!(argument, named),
            other => panic!("{named}: {other:?}"),
        }
    }
    let hash = Hash { batch: 1, heads: 1, steps: 4, size: 3, rounds: 2, factors: [2, 3, 0, 0] };
    let error = hash.record(&mut recorder, [query, query, &lengths], &buckets).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "buckets", .. }), "{error}");
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 6, 8], Dtype::F32);
    let lengths = graph.input("lengths", [2], Dtype::U32);
    let rotations = graph.input("rotations", [2, 4, 3, 2], Dtype::F32);
    for (factors, named) in [(&[2][..], "rotations"), (&[3], "buckets"), (&[2; 5], "factors")] {
        let error = graph.lsh_buckets(x, rotations, lengths, factors).unwrap_err();
        assert!(matches!(error, Error::Shape { argument, .. } if argument == named), "{error}");
    }
    let attention = ChunkedAttention {
        query: x,
        key: None,
        value: x,
        lengths,
        buckets: None,
        heads: 2,
        chunk: 4,
        before: 1,
        after: 0,
        causal: true,
        padding: None,
        dropout: 0.0,
    };
    for (wrong, named) in [
        (attention, "chunk"),
        (ChunkedAttention { heads: 3, chunk: 3, ..attention }, "heads"),
        (ChunkedAttention { dropout: 1.0, chunk: 3, ..attention }, "dropout"),
    ] {
        let error = graph.lsh_attention(&wrong).unwrap_err();
        assert!(matches!(error, Error::Shape { argument, .. } if argument == named), "{error}");
    }
}
