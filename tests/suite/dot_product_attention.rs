//! Scaled dot-product attention against its reference, and what no random case shows.

use crate::common;
use softalign::{
    Error, Gpu, Tensor,
    gpu::{Dtype, Recorder},
    graph::{Columns, Graph, MultiHeadAttention, Program, ProgramOptions, Value},
    kernels::Step,
    kernels::dot_product_attention::{DotProductAttention, Gradients, Heads, Inputs, Saved, Tile, standard_scale},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("dot_product_attention");
}

/// The context, log_sum_exp and the gradients of query, key and value.
struct Outcome([Vec<f32>; 5]);

/// Runs forward and backward; outputs and scratch start as NaN.
fn run(
    gpu: &Gpu,
    dtype: Dtype,
    attention: DotProductAttention,
    values: [&[f32]; 4],
    lengths: &[u32],
) -> Result<Outcome, Error> {
    let DotProductAttention { batch, heads, queries, keys, size, .. } = attention;
    let (query_shape, key_shape) = ([batch, heads, queries, size], [batch, heads, keys, size]);
    let tensor = |shape: &[usize], values: &[f32]| gpu.floats("test", shape, dtype, values);
    let poison = |shape: &[usize], dtype| gpu.floats("test", shape, dtype, &vec![f32::NAN; shape.iter().product()]);
    let poisoned = |shape: &[usize]| poison(shape, dtype);
    let [query, key, value, d_context] = values;
    let (query, d_context) = (tensor(&query_shape, query)?, tensor(&query_shape, d_context)?);
    let (key, value) = (tensor(&key_shape, key)?, tensor(&key_shape, value)?);
    let lengths = gpu.tensor("test", [batch], Dtype::U32, lengths)?;
    let (context, log_sum_exp) = (poisoned(&query_shape)?, poison(&query_shape[..3], Dtype::F32)?);
    let statistics = poison(&[attention.statistics()], Dtype::F32)?;
    let (d_query, d_key, d_value) = (poisoned(&query_shape)?, poisoned(&key_shape)?, poisoned(&key_shape)?);
    let [query, key, value, d_context] = [&query, &key, &value, &d_context].map(Heads::apart);
    let step = Step::buffer(gpu)?;
    let inputs = Inputs { query, key, value, lengths: &lengths, bias: None, step: &step };
    let saved =
        Saved { context: Heads::apart(&context), log_sum_exp: &log_sum_exp, d_context, statistics: &statistics };
    let [query, key, value] = [&d_query, &d_key, &d_value].map(Heads::apart);
    let gradients = Gradients { query, key, value, bias: None };
    let tile = Tile::choose(gpu, size);
    let mut recorder = Recorder::new(gpu, "test");
    attention.record(&mut recorder, tile, &inputs, Heads::apart(&context), &log_sum_exp)?;
    attention.record_backward(&mut recorder, tile, &inputs, &saved, &gradients)?;
    let submission = recorder.finish()?.submit(0)?;
    gpu.wait(Some(submission))?;
    let read = |tensor: &Tensor| gpu.read_floats(tensor);
    Ok(Outcome([read(&context)?, read(&log_sum_exp)?, read(&d_query)?, read(&d_key)?, read(&d_value)?]))
}

fn wave(count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * 0.7).sin() * scale).collect()
}

const SMALL: DotProductAttention = DotProductAttention {
    batch: 2,
    heads: 1,
    queries: 37,
    keys: 41,
    size: 20,
    causal: false,
    scale: 0.25,
    dropout: None,
};

#[test]
fn a_row_without_keys_gives_zeros_whatever_it_holds() {
    let (queries, keys) = (2 * 37 * 20, 2 * 41 * 20);
    let (mut query, mut key, mut d_context) = (wave(queries, 1.0), wave(keys, 1.0), wave(queries, 1.0));
    for values in [&mut query, &mut key, &mut d_context] {
        let half = values.len() / 2;
        values[..half].fill(f32::NAN);
    }
    for (gpu, dtype) in common::forms() {
        for causal in [false, true] {
            let attention = DotProductAttention { causal, ..SMALL };
            let Outcome(tensors) = run(gpu, dtype, attention, [&query, &key, &key, &d_context], &[0, 41]).unwrap();
            for tensor in tensors {
                let (masked, seen) = tensor.split_at(tensor.len() / 2);
                assert!(masked.iter().all(|value| *value == 0.0));
                assert!(seen.iter().all(|value| value.is_finite()) && seen.iter().any(|value| *value != 0.0));
            }
        }
    }
}

#[test]
fn scores_of_millions_pick_one_key() {
    let attention = DotProductAttention { batch: 1, queries: 5, keys: 67, size: 4, scale: standard_scale(4), ..SMALL };
    // Query t scores key s with 2^19 s (-1)^t: even queries see the last valid key alone, odd ones the first. What is
    // read of it is exact in f16 too.
    let query: Vec<f32> = (0..5).flat_map(|t| [if t % 2 == 0 { 1024.0 } else { -1024.0 }, 0.0, 0.0, 0.0]).collect();
    let key: Vec<f32> = (0..67).flat_map(|s| [1024.0 * s as f32, 0.0, 0.0, 0.0]).collect();
    let value: Vec<f32> = (0..67 * 4).map(|at| at as f32).collect();
    for (gpu, dtype) in common::forms() {
        let Outcome([context, log_sum_exp, rest @ ..]) =
            run(gpu, dtype, attention, [&query, &key, &value, &wave(20, 1.0)], &[50]).unwrap();
        for t in 0..5 {
            let picked = if t % 2 == 0 { 49.0 } else { 0.0 };
            assert_eq!(context[t * 4..][..4], [0.0, 1.0, 2.0, 3.0].map(|d| picked * 4.0 + d));
            assert_eq!(log_sum_exp[t], 524_288.0 * picked);
        }
        assert!(rest.iter().flatten().all(|value| value.is_finite()));
    }
}

#[test]
fn repeats_its_bits() {
    let attention = DotProductAttention { batch: 2, heads: 3, queries: 70, keys: 65, size: 64, causal: true, ..SMALL };
    let (query, key) = (wave(2 * 3 * 70 * 64, 1.0), wave(2 * 3 * 65 * 64, 1.5));
    for (gpu, dtype) in common::forms() {
        let bits = || {
            let Outcome(tensors) = run(gpu, dtype, attention, [&query, &key, &key, &query], &[65, 33]).unwrap();
            tensors.map(|tensor| tensor.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        assert!(bits() == bits());
    }
}

#[test]
fn refuses_what_it_cannot_run() {
    let gpu = common::gpu();
    let large = DotProductAttention { batch: 1, queries: 1, keys: 1, size: 257, ..SMALL };
    let values = wave(257, 1.0);
    let error = run(gpu, Dtype::F32, large, [&values; 4], &[1]).err().unwrap();
    assert!(matches!(error, Error::Limit { need: 257, have: 256, .. }), "{error}");
    let values = wave(37 * 20 * 2, 1.0);
    let tensor = gpu.tensor("test", [2, 1, 37, 20], Dtype::F32, &values).unwrap();
    let log_sum_exp = gpu.tensor("test", [2, 1, 37], Dtype::F32, &values[..74]).unwrap();
    let lengths = gpu.tensor("test", [2], Dtype::U32, &[1_u32, 1]).unwrap();
    let heads = Heads::apart(&tensor);
    let step = Step::buffer(gpu).unwrap();
    let inputs = Inputs { query: heads, key: heads, value: heads, lengths: &lengths, bias: None, step: &step };
    let mut recorder = Recorder::new(gpu, "test");
    let error = SMALL.record(&mut recorder, Tile::choose(gpu, 20), &inputs, heads, &log_sum_exp).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "key", .. }), "{error}");
}

const HEADS: [usize; 4] = [2, 3, 5, 8];
const WIDTH: usize = HEADS[1] * HEADS[3];

/// Context and gradients of a graph over the inputs `query`, `key`, `value` (or `within`), each from its values.
fn run_graph(mut graph: Graph, context: Value, wanted: &[Value], inputs: &[(&str, Vec<f32>)]) -> Vec<Vec<f32>> {
    let upstream = graph.input("upstream", graph.dims(context).to_vec().as_slice(), Dtype::F32);
    let mut outputs = vec![context];
    outputs.extend(graph.gradients_from(&[(context, upstream)], wanted).unwrap());
    let options = ProgramOptions { label: "test".into(), outputs: &outputs, ..ProgramOptions::default() };
    let mut program = Program::compile(common::gpu(), &graph, &options).unwrap();
    program.write("lengths", &[5_u32, 4]).unwrap();
    for (name, values) in inputs {
        program.write(name, values).unwrap();
    }
    program.run(Step::default()).unwrap();
    outputs.iter().map(|value| program.read(*value).unwrap()).collect()
}

/// `[B, N, T, D]` in the columns `[B, T, N·D]`, or back.
fn transposed([batch, heads, steps, size]: [usize; 4], values: &[f32]) -> Vec<f32> {
    let at = |b: usize, n: usize, t: usize| ((b * heads + n) * steps + t) * size;
    let rows = (0..batch).flat_map(|b| (0..steps).flat_map(move |t| (0..heads).map(move |n| at(b, n, t))));
    rows.flat_map(|start| values[start..start + size].to_vec()).collect()
}

/// Rows of `[.., WIDTH]` beside one another.
fn beside(parts: &[&[f32]]) -> Vec<f32> {
    let rows = parts[0].len() / WIDTH;
    (0..rows).flat_map(|row| parts.iter().flat_map(move |part| part[row * WIDTH..][..WIDTH].to_vec())).collect()
}

/// Heads in the columns of their projections give what heads apart give, and parts of one projection what three give.
#[test]
fn heads_are_read_where_they_lie() {
    let [batch, heads, steps, size] = HEADS;
    let apart: Vec<Vec<f32>> = [1.0, 1.3, 0.7, 0.5].map(|scale| wave(batch * heads * steps * size, scale)).into();
    let mut graph = Graph::new();
    let lengths = graph.input("lengths", [batch], Dtype::U32);
    let values = ["query", "key", "value"].map(|name| graph.input(name, HEADS, Dtype::F32));
    let context = graph.dot_product_attention(values[0], values[1], values[2], lengths, true).unwrap();
    let named = |all: &[Vec<f32>]| {
        ["query", "key", "value", "upstream"].into_iter().zip(all.iter().cloned()).collect::<Vec<_>>()
    };
    let expected = run_graph(graph, context, &values, &named(&apart));
    let expected: Vec<_> = expected.iter().map(|tensor| transposed(HEADS, tensor)).collect();
    let columns: Vec<_> = apart.iter().map(|values| transposed(HEADS, values)).collect();

    let mut graph = Graph::new();
    let lengths = graph.input("lengths", [batch], Dtype::U32);
    let values = ["query", "key", "value"].map(|name| graph.input(name, [batch, steps, WIDTH], Dtype::F32));
    let [query, key, value] = values;
    let attention = MultiHeadAttention { causal: true, ..MultiHeadAttention::new(query, key, value, lengths, heads) };
    let context = graph.multi_head_attention(&attention).unwrap().context;
    assert!(run_graph(graph, context, &values, &named(&columns)) == expected);

    let mut graph = Graph::new();
    let lengths = graph.input("lengths", [batch], Dtype::U32);
    let projected = graph.input("projected", [batch, steps, 3 * WIDTH], Dtype::F32);
    let attention = MultiHeadAttention { causal: true, ..MultiHeadAttention::within(projected, lengths, heads) };
    let context = graph.multi_head_attention(&attention).unwrap().context;
    let inputs = [("projected", beside(&[&columns[0], &columns[1], &columns[2]])), ("upstream", columns[3].clone())];
    let found = run_graph(graph, context, &[projected], &inputs);
    assert!(found == [expected[0].clone(), beside(&[&expected[1], &expected[2], &expected[3]])]);

    // Keys and values of one projection, as an encoder's annotations give them to a decoder.
    let mut graph = Graph::new();
    let lengths = graph.input("lengths", [batch], Dtype::U32);
    let query = graph.input("query", [batch, steps, WIDTH], Dtype::F32);
    let projected = graph.input("projected", [batch, steps, 2 * WIDTH], Dtype::F32);
    let [key, value] = [0, 1].map(|part| Columns { value: projected, part, parts: 2 });
    let attention = MultiHeadAttention { causal: true, ..MultiHeadAttention::new(query, key, value, lengths, heads) };
    let context = graph.multi_head_attention(&attention).unwrap().context;
    let inputs = [
        ("query", columns[0].clone()),
        ("projected", beside(&[&columns[1], &columns[2]])),
        ("upstream", columns[3].clone()),
    ];
    let found = run_graph(graph, context, &[query, projected], &inputs);
    assert!(found == [expected[0].clone(), expected[1].clone(), beside(&[&expected[2], &expected[3]])]);
}

#[test]
fn refuses_columns_that_no_heads_lie_in() {
    let mut graph = Graph::new();
    let lengths = graph.input("lengths", [2], Dtype::U32);
    let [query, key] = [5, 7].map(|steps| graph.input(format!("{steps} steps"), [2, steps, 24], Dtype::F32));
    let half = |value, part| Columns { value, part, parts: 2 };
    let ask = |graph: &mut Graph, query: Columns, key: Columns, value: Columns, heads: usize| {
        graph.multi_head_attention(&MultiHeadAttention::new(query, key, value, lengths, heads)).unwrap_err().to_string()
    };
    let error = ask(&mut graph, query.into(), key.into(), key.into(), 5);
    assert!(error.contains("heads: wanted a number that divides the width 24, got 5"), "{error}");
    let error = ask(&mut graph, half(query, 0), half(key, 0), half(key, 1), 3);
    assert!(error.contains("an operand in each of 2 parts"), "{error}");
    let error = ask(&mut graph, query.into(), half(key, 0), half(key, 1), 3);
    assert!(error.contains("key: wanted f32 [2, _, 48]"), "{error}");
    let error = ask(&mut graph, query.into(), key.into(), half(key, 2), 3);
    assert!(error.contains("value: wanted"), "{error}");
}
