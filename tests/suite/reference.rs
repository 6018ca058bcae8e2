//! The CPU reference is what every kernel is checked against, so nothing of this crate can check it: its gradients are
//! proved by central differences, and the rest by what its definition says.

use crate::common::differences::{Random, assert_close, check_gradients, dot};
use softalign::reference::adam::Adam;
use softalign::reference::additive_attention::{AdditiveAttention, AdditiveInputs};
use softalign::reference::additive_score::{AdditiveScore, ScoreInputs};
use softalign::reference::alignment_loss::AlignmentLoss;
use softalign::reference::attentional_decoder::{AttentionalDecoder, DecoderInputs};
use softalign::reference::beam_search::{BeamStep, Ended, Selection};
use softalign::reference::coverage_loss::CoverageLoss;
use softalign::reference::cross_entropy::{CrossEntropy, Taught};
use softalign::reference::dot_product_attention::{DotProductAttention, DotProductInputs, standard_scale};
use softalign::reference::dropout::{Draw, Dropout, Rows};
use softalign::reference::embedding::Embedding;
use softalign::reference::gru::{Gru, GruInputs, GruWeights};
use softalign::reference::local_attention::{LocalAttention, Window};
use softalign::reference::matmul::{Activation, Matmul};
use softalign::reference::pointwise::Pointwise;
use softalign::reference::reduction;
use softalign::reference::sliding_window_attention::SlidingWindowAttention;
use softalign::reference::softmax::Softmax;

impl Random {
    fn gru(&mut self, input: usize, hidden: usize) -> GruWeights {
        GruWeights {
            weight_ih: self.tensor(&[3, hidden, input]),
            weight_hh: self.tensor(&[3, hidden, hidden]),
            bias_ih: self.tensor(&[3, hidden]),
            bias_hh: self.tensor(&[3, hidden]),
        }
    }
}

#[test]
fn matmul_gradients() {
    let mut random = Random::new(1);
    for (m, n, k, batch) in [(1, 1, 1, 1), (3, 5, 2, 1), (2, 7, 3, 3), (5, 1, 11, 2), (2, 3, 0, 1)] {
        for activation in [Activation::None, Activation::Tanh, Activation::Sigmoid] {
            for mode in 0..8 {
                let (transpose_a, transpose_b, with_bias) = (mode & 1 != 0, mode & 2 != 0, mode & 4 != 0);
                let matmul = Matmul { m, n, k, batch, transpose_a, transpose_b, activation };
                let mut inputs = vec![random.tensor(&[batch, m, k]), random.tensor(&[batch, k, n])];
                if with_bias {
                    inputs.push(random.tensor(&[n]));
                }
                let up = random.tensor(&[batch, m, n]);
                let bias = |x: &[Vec<f64>]| x.get(2).cloned();
                let found = matmul.backward(&inputs[0], &inputs[1], bias(&inputs).as_deref(), &up);
                assert_eq!(found.bias.is_some(), with_bias);
                let mut gradients = vec![("a", found.a.as_slice()), ("b", found.b.as_slice())];
                gradients.extend(found.bias.as_deref().map(|bias| ("bias", bias)));
                let objective = |x: &[Vec<f64>]| dot(&matmul.forward(&x[0], &x[1], bias(x).as_deref()), &up);
                check_gradients(&format!("{matmul:?}"), &inputs, objective, &gradients);
            }
        }
    }
}

#[test]
fn matmul_by_hand() {
    let matmul =
        Matmul { m: 2, n: 2, k: 3, batch: 1, transpose_a: false, transpose_b: false, activation: Activation::None };
    let expected = [58.5, 63.0, 139.5, 153.0];
    let (a, b, bias) = ([1., 2., 3., 4., 5., 6.], [7., 8., 9., 10., 11., 12.], [0.5, -1.0]);
    assert_eq!(matmul.forward(&a, &b, Some(&bias)), expected);
    let (a, b) = ([1., 4., 2., 5., 3., 6.], [7., 9., 11., 8., 10., 12.]);
    let transposed = Matmul { transpose_a: true, transpose_b: true, ..matmul };
    assert_eq!(transposed.forward(&a, &b, Some(&bias)), expected);
}

#[test]
fn softmax_gradients() {
    let mut random = Random::new(2);
    for (rows, columns, lengths) in
        [(1, 1, None), (3, 7, None), (4, 5, Some([0, 1, 5, 3].as_slice())), (2, 1, Some([0, 1].as_slice()))]
    {
        let softmax = Softmax { rows, columns };
        let (x, up) = (random.tensor(&[rows, columns]), random.tensor(&[rows, columns]));
        let y = softmax.forward(&x, lengths);
        let d_x = softmax.backward(&y, &up);
        let objective = |x: &[Vec<f64>]| dot(&softmax.forward(&x[0], lengths), &up);
        check_gradients("softmax", &[x], objective, &[("x", &d_x)]);
        for row in 0..rows {
            let length = lengths.map_or(columns, |lengths| lengths[row] as usize);
            let row = &y[row * columns..][..columns];
            assert_close("sum", &[row.iter().sum()], &[if length == 0 { 0.0 } else { 1.0 }], 1e-15);
            assert!(row[length..].iter().all(|&y| y == 0.0));
        }
    }
}

#[test]
fn softmax_of_extreme_values() {
    let softmax = Softmax { rows: 1, columns: 3 };
    assert_eq!(softmax.forward(&[1e300, -1e300, 1e300], None), [0.5, 0.0, 0.5]);
    assert_eq!(softmax.forward(&[-1e300; 3], None), [1.0 / 3.0; 3]);
    assert_eq!(softmax.forward(&[f64::NEG_INFINITY, 800.0, f64::NEG_INFINITY], None), [0.0, 1.0, 0.0]);
    assert_eq!(softmax.forward(&[f64::NEG_INFINITY; 3], None), [0.0; 3]);
    assert_eq!(softmax.forward(&[1000.0, 1000.0, f64::NAN], Some(&[2])), [0.5, 0.5, 0.0]);
    let y = softmax.forward(&[710.0, 709.0, 708.0], None);
    assert_close("shift", &y, &softmax.forward(&[2.0, 1.0, 0.0], None), 1e-15);
}

#[test]
fn additive_attention_gradients() {
    let mut random = Random::new(3);
    let cases = [
        (1, 1, 1, 1, 1, [1].as_slice()),
        (3, 2, 5, 3, 7, &[5, 1, 0]),
        (4, 3, 4, 5, 2, &[0, 4, 3, 1]),
        (1, 1, 3, 2, 3, &[0]),
    ];
    for (batch, queries, keys, size, value_size, lengths) in cases {
        let attention = AdditiveAttention { batch, queries, keys, size, value_size };
        let inputs = [
            random.tensor(&[batch, queries, size]),
            random.tensor(&[batch, keys, size]),
            random.tensor(&[size]),
            random.tensor(&[batch, keys, value_size]),
        ];
        let up_context = random.tensor(&[batch, queries, value_size]);
        let up_weights = random.tensor(&[batch, queries, keys]);
        fn view<'a>(x: &'a [Vec<f64>], lengths: &'a [u32]) -> AdditiveInputs<'a> {
            AdditiveInputs { query: &x[0], key: &x[1], energy: &x[2], value: &x[3], lengths }
        }
        for d_weights in [None, Some(up_weights.as_slice())] {
            let found = attention.backward(&view(&inputs, lengths), &up_context, d_weights);
            let objective = |x: &[Vec<f64>]| {
                let (context, weights) = attention.forward(&view(x, lengths));
                dot(&context, &up_context) + d_weights.map_or(0.0, |up| dot(&weights, up))
            };
            let gradients =
                [("query", &*found.query), ("key", &*found.key), ("energy", &*found.energy), ("value", &*found.value)];
            check_gradients(&format!("{attention:?}"), &inputs, objective, &gradients);
        }
        let (context, weights) = attention.forward(&view(&inputs, lengths));
        for (b, &length) in lengths.iter().enumerate() {
            for t in 0..queries {
                let weights = &weights[(b * queries + t) * keys..][..keys];
                assert!(weights[length as usize..].iter().all(|&weight| weight == 0.0));
                let context = &context[(b * queries + t) * value_size..][..value_size];
                assert_eq!(length == 0, context.iter().all(|&c| c == 0.0));
            }
        }
    }
}

#[test]
fn masked_positions_may_hold_anything() {
    let mut random = Random::new(4);
    let attention = AdditiveAttention { batch: 1, queries: 2, keys: 3, size: 2, value_size: 2 };
    let (query, energy) = (random.tensor(&[2, 2]), random.tensor(&[2]));
    let mut key = random.tensor(&[3, 2]);
    let mut value = random.tensor(&[3, 2]);
    let run = |key: &[f64], value: &[f64]| {
        let inputs = AdditiveInputs { query: &query, key, energy: &energy, value, lengths: &[2] };
        (attention.forward(&inputs), attention.backward(&inputs, &[1.0; 4], None))
    };
    let expected = run(&key, &value);
    key[4..].fill(f64::NAN);
    value[4..].fill(f64::INFINITY);
    assert_eq!(run(&key, &value), expected);
}

#[test]
fn sliding_window_attention_gradients() {
    let mut random = Random::new(23);
    let cases = [(1, 1, 1, 0, 1), (2, 3, 7, 2, 1), (2, 2, 8, 1, 3), (1, 2, 6, 9, 2)];
    for (batch, size, steps, window, dilation) in cases {
        for causal in [false, true] {
            let (heads, scale) = (2, standard_scale(size));
            let attention = SlidingWindowAttention { batch, heads, steps, size, window, dilation, causal, scale };
            let shape = [batch, heads, steps, size];
            let inputs = [random.tensor(&shape), random.tensor(&shape), random.tensor(&shape)];
            let up = random.tensor(&shape);
            let lengths: Vec<u32> = (0..batch).map(|b| (steps - 2 * b) as u32).collect();
            let globals: Vec<bool> = (0..batch * steps).map(|position| position % 5 == 3).collect();
            fn view<'a>(x: &'a [Vec<f64>], lengths: &'a [u32]) -> DotProductInputs<'a> {
                DotProductInputs { query: &x[0], key: &x[1], value: &x[2], lengths, bias: None, kept: None }
            }
            let found = attention.backward(&view(&inputs, &lengths), &globals, &up);
            let objective = |x: &[Vec<f64>]| dot(&attention.forward(&view(x, &lengths), &globals).0, &up);
            let gradients = [("query", &*found.query), ("key", &*found.key), ("value", &*found.value)];
            check_gradients(&format!("{attention:?}"), &inputs, objective, &gradients);
        }
    }
}

/// Where the window holds every key, or every position is global, it is dot-product attention.
#[test]
fn a_window_of_everything_hides_nothing() {
    let mut random = Random::new(24);
    let (batch, heads, steps, size, scale) = (2, 2, 9, 3, 0.7);
    let shape = [batch, heads, steps, size];
    let [query, key, value] = [(); 3].map(|()| random.tensor(&shape));
    let inputs = DotProductInputs { query: &query, key: &key, value: &value, lengths: &[9, 4], bias: None, kept: None };
    for causal in [false, true] {
        let whole = DotProductAttention { batch, heads, queries: steps, keys: steps, size, causal, scale };
        let (expected, denominators) = whole.forward(&inputs);
        for (window, global) in [(steps, false), (0, true)] {
            let attention = SlidingWindowAttention { batch, heads, steps, size, window, dilation: 1, causal, scale };
            let (context, found) = attention.forward(&inputs, &vec![global; batch * steps]);
            assert_close("context", &context, &expected, 0.0);
            assert_close("log_sum_exp", &found, &denominators, 0.0);
        }
    }
}

#[test]
fn dot_product_attention_gradients() {
    let mut random = Random::new(5);
    let cases = [
        (1, 1, 1, 1, 1, [1].as_slice()),
        (3, 2, 3, 5, 7, &[5, 1, 0]),
        (2, 3, 5, 5, 2, &[5, 3]),
        (2, 1, 7, 3, 3, &[0, 3]),
    ];
    for (batch, heads, queries, keys, size, lengths) in cases {
        for causal in [false, true] {
            let scale = if causal { 1.0 } else { standard_scale(size) };
            let attention = DotProductAttention { batch, heads, queries, keys, size, causal, scale };
            let inputs = [
                random.tensor(&[batch, heads, queries, size]),
                random.tensor(&[batch, heads, keys, size]),
                random.tensor(&[batch, heads, keys, size]),
                random.tensor(&[heads, queries + keys - 1]),
            ];
            let up = random.tensor(&[batch, heads, queries, size]);
            // What dropout does to weights is the same under every small change of the inputs.
            let kept: Vec<f64> =
                random.tensor(&[batch, heads, queries, keys]).iter().map(|x| f64::from(*x > 0.0) * 2.0).collect();
            fn view<'a>(x: &'a [Vec<f64>], lengths: &'a [u32], kept: &'a [f64]) -> DotProductInputs<'a> {
                let (bias, kept) = (Some(x[3].as_slice()), Some(kept));
                DotProductInputs { query: &x[0], key: &x[1], value: &x[2], lengths, bias, kept }
            }
            let found = attention.backward(&view(&inputs, lengths, &kept), &up);
            let objective = |x: &[Vec<f64>]| dot(&attention.forward(&view(x, lengths, &kept)).0, &up);
            let gradients =
                [("query", &*found.query), ("key", &*found.key), ("value", &*found.value), ("bias", &*found.bias)];
            check_gradients(&format!("{attention:?}"), &inputs, objective, &gradients);

            let (_, log_sum_exp) = attention.forward(&view(&inputs, lengths, &kept));
            for (row, &found) in log_sum_exp.iter().enumerate() {
                let (head, t) = (row / queries, row % queries);
                let length = lengths[head / heads] as usize;
                let visible = (0..length).filter(|&s| !causal || s <= t);
                let bias = |s: usize| inputs[3][head % heads * (queries + keys - 1) + queries - 1 + s - t];
                let score = |s: usize| {
                    let key = &inputs[1][(head * keys + s) * size..][..size];
                    dot(&inputs[0][row * size..][..size], key) * scale + bias(s)
                };
                let sum: f64 = visible.map(|s| score(s).exp()).sum();
                assert_close("log_sum_exp", &[found], &[if length == 0 { 0.0 } else { sum.ln() }], 1e-12);
            }
        }
    }
}

#[test]
fn gru_gradients() {
    let mut random = Random::new(6);
    let cases = [(1, 1, 1, 1, [1].as_slice()), (3, 5, 2, 3, &[5, 1, 0]), (2, 3, 5, 1, &[2, 3]), (2, 4, 1, 5, &[0, 4])];
    for (batch, steps, input, hidden, lengths) in cases {
        for (directions, masked) in [(1, false), (2, false), (1, true), (2, true)] {
            let gru = Gru { batch, steps, input, hidden, directions };
            let mut inputs = vec![random.tensor(&[batch, steps, input]), random.tensor(&[directions, batch, hidden])];
            for _ in 0..directions {
                let GruWeights { weight_ih, weight_hh, bias_ih, bias_hh } = random.gru(input, hidden);
                inputs.extend([weight_ih, weight_hh, bias_ih, bias_hh]);
            }
            let up_y = random.tensor(&[batch, steps, directions, hidden]);
            let up_hn = random.tensor(&[directions, batch, hidden]);
            let mask = masked.then(|| random.tensor(&[directions, batch, hidden]));
            let (mask, weights) = (mask.as_deref(), gru_weights(&inputs[2..]));
            let given = GruInputs { x: &inputs[0], h0: &inputs[1], lengths, weights: &weights, mask };
            let found = gru.backward(&given, &up_y, &up_hn);
            let objective = |x: &[Vec<f64>]| {
                let weights = &gru_weights(&x[2..]);
                let outputs = gru.forward(&GruInputs { x: &x[0], h0: &x[1], lengths, weights, mask });
                dot(&outputs.y, &up_y) + dot(&outputs.hn, &up_hn)
            };
            let mut gradients = vec![("x", found.x.as_slice()), ("h0", &found.h0)];
            for weights in &found.weights {
                gradients.extend(named(weights));
            }
            check_gradients(&format!("{gru:?}"), &inputs, objective, &gradients);
        }
    }
}

fn gru_weights(tensors: &[Vec<f64>]) -> Vec<GruWeights> {
    let direction = |x: &[Vec<f64>]| GruWeights {
        weight_ih: x[0].clone(),
        weight_hh: x[1].clone(),
        bias_ih: x[2].clone(),
        bias_hh: x[3].clone(),
    };
    tensors.chunks(4).map(direction).collect()
}

fn named(weights: &GruWeights) -> [(&str, &[f64]); 4] {
    [
        ("weight_ih", &weights.weight_ih),
        ("weight_hh", &weights.weight_hh),
        ("bias_ih", &weights.bias_ih),
        ("bias_hh", &weights.bias_hh),
    ]
}

#[test]
fn gru_rows_are_packed() {
    let mut random = Random::new(7);
    let (input, hidden, length) = (3, 2, 3);
    let gru = Gru { batch: 2, steps: 5, input, hidden, directions: 2 };
    let weights = [random.gru(input, hidden), random.gru(input, hidden)];
    let (x, h0) = (random.tensor(&[2, 5, input]), random.tensor(&[2, 2, hidden]));
    let inputs = GruInputs { x: &x, h0: &h0, lengths: &[length as u32, 0], weights: &weights, mask: None };
    let padded = gru.forward(&inputs);

    // The first row alone, cut to its length, must not differ.
    let cut = Gru { batch: 1, steps: length, ..gru };
    let h0_cut = [&h0[..hidden], &h0[2 * hidden..3 * hidden]].concat();
    let first = GruInputs { x: &x[..length * input], h0: &h0_cut, lengths: &[length as u32], ..inputs };
    let alone = cut.forward(&first);
    assert_eq!(padded.y[..length * 2 * hidden], alone.y);
    assert!(padded.y[length * 2 * hidden..].iter().all(|&y| y == 0.0));
    assert_eq!(padded.hn[..hidden], alone.hn[..hidden]);
    assert_eq!(padded.hn[2 * hidden..3 * hidden], alone.hn[hidden..]);
    assert_eq!(padded.hn[hidden..2 * hidden], h0[hidden..2 * hidden]);
    assert_eq!(padded.hn[3 * hidden..], h0[3 * hidden..]);

    // The second direction is the first one on the reversed row.
    let reversed: Vec<f64> = (0..length).rev().flat_map(|s| x[s * input..][..input].to_vec()).collect();
    let one = Gru { directions: 1, ..cut };
    let mirrored = one.forward(&GruInputs { x: &reversed, h0: &h0_cut[hidden..], weights: &weights[1..], ..first });
    for s in 0..length {
        let found = &alone.y[(2 * s + 1) * hidden..][..hidden];
        assert_eq!(found, &mirrored.y[(length - 1 - s) * hidden..][..hidden]);
    }
}

/// A mask of zeros is a recurrent product that is not there; z still weights the state.
#[test]
fn a_mask_is_on_what_enters_the_recurrent_product_alone() {
    let mut random = Random::new(70);
    let (input, hidden) = (3, 2);
    let gru = Gru { batch: 2, steps: 4, input, hidden, directions: 1 };
    let weights = random.gru(input, hidden);
    let (x, h0) = (random.tensor(&[2, 4, input]), random.tensor(&[1, 2, hidden]));
    let run = |weights: &GruWeights, mask: Option<&[f64]>| {
        gru.forward(&GruInputs { x: &x, h0: &h0, lengths: &[4, 3], weights: std::slice::from_ref(weights), mask }).y
    };
    assert_eq!(run(&weights, None), run(&weights, Some(&[1.0; 4])));
    let without = GruWeights { weight_hh: vec![0.0; 3 * hidden * hidden], ..weights.clone() };
    assert_eq!(run(&without, None), run(&weights, Some(&[0.0; 4])));
    assert_ne!(run(&weights, None), run(&weights, Some(&[0.0; 4])));
}

#[test]
fn attentional_decoder_gradients() {
    let mut random = Random::new(8);
    let cases =
        [(1, 1, 1, 1, 1, 1, 1, [1].as_slice()), (3, 3, 5, 2, 3, 2, 4, &[5, 1, 0]), (2, 5, 3, 3, 2, 5, 1, &[2, 3])];
    for (batch, steps, keys, word, hidden, size, annotation, lengths) in cases {
        let decoder = AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation };
        let cell = random.gru(word + annotation, hidden);
        let inputs = [
            random.tensor(&[batch, steps, word]),
            random.tensor(&[batch, hidden]),
            random.tensor(&[batch, keys, size]),
            random.tensor(&[batch, keys, annotation]),
            random.tensor(&[size, hidden]),
            random.tensor(&[size]),
            cell.weight_ih,
            cell.weight_hh,
            cell.bias_ih,
            cell.bias_hh,
        ];
        fn view<'a>(
            x: &'a [Vec<f64>],
            cell: &'a GruWeights,
            lengths: &'a [u32],
            mask: Option<&'a [f64]>,
        ) -> DecoderInputs<'a> {
            DecoderInputs {
                words: &x[0],
                state0: &x[1],
                key: &x[2],
                annotation: &x[3],
                lengths,
                query_weight: &x[4],
                energy: &x[5],
                cell,
                mask,
            }
        }
        let up_features = random.tensor(&[batch, steps, hidden + annotation + word]);
        let up_weights = random.tensor(&[batch, steps, keys]);
        let drawn = random.tensor(&[batch, hidden]);
        for (d_weights, mask) in [(None, None), (Some(up_weights.as_slice()), None), (None, Some(drawn.as_slice()))] {
            let cell = &gru_weights(&inputs[6..])[0];
            let found = decoder.backward(&view(&inputs, cell, lengths, mask), &up_features, d_weights);
            let objective = |x: &[Vec<f64>]| {
                let outputs = decoder.forward(&view(x, &gru_weights(&x[6..])[0], lengths, mask));
                dot(&outputs.features, &up_features) + d_weights.map_or(0.0, |up| dot(&outputs.weights, up))
            };
            let mut gradients = vec![
                ("words", found.words.as_slice()),
                ("state0", &found.state0),
                ("key", &found.key),
                ("annotation", &found.annotation),
                ("query_weight", &found.query_weight),
                ("energy", &found.energy),
            ];
            gradients.extend(named(&found.cell));
            check_gradients(&format!("{decoder:?}"), &inputs, objective, &gradients);
        }
    }
}

#[test]
fn embedding_gradients() {
    let mut random = Random::new(9);
    let embedding = Embedding { vocabulary: 5, size: 3, padding: None };
    let (table, tokens) = (random.tensor(&[5, 3]), [4, 1, 1, 0, 1, 3]);
    assert_eq!(embedding.forward(&table, &tokens)[..3], table[12..]);
    let up = random.tensor(&[tokens.len(), 3]);
    let found = embedding.backward(&tokens, &up);
    let objective = |x: &[Vec<f64>]| dot(&embedding.forward(&x[0], &tokens), &up);
    check_gradients("embedding", &[table], objective, &[("table", &found)]);
}

#[test]
fn cross_entropy_gradients() {
    let mut random = Random::new(10);
    for (rows, classes, impossible, smoothing, targets) in [
        (1, 2, 0, 0.0, [1].as_slice()),
        (5, 7, 0, 0.0, &[3, 0, 6, 1, 0]),
        (5, 7, 0, 0.1, &[3, 0, 6, 1, 0]),
        (5, 7, 4, 0.1, &[5, 0, 6, 4, 0]),
        (2, 3, 0, 0.3, &[0; 2]),
    ] {
        let loss = CrossEntropy { rows, classes, smoothing, impossible, scale: 0.37, padding: 0 };
        let logits = random.tensor(&[rows, classes]);
        let found = loss.backward(&logits, targets, -1.7);
        let objective = |x: &[Vec<f64>]| -1.7 * loss.forward(&x[0], targets);
        check_gradients(&format!("{loss:?}"), std::slice::from_ref(&logits), objective, &[("logits", &found)]);

        let mean = Softmax { rows, columns: classes }.forward(&random.tensor(&[rows, classes]), None);
        let taught = Taught { loss, mean: &mean, weight: 0.3 };
        let found = taught.backward(&logits, targets, -1.7);
        let objective = |x: &[Vec<f64>]| -1.7 * taught.forward(&x[0], targets);
        check_gradients(&format!("{taught:?}"), &[logits], objective, &[("logits", &found)]);
    }
}

#[test]
fn cross_entropy_by_hand() {
    let loss = CrossEntropy { rows: 2, classes: 4, smoothing: 0.0, impossible: 0, scale: 0.5, padding: 0 };
    // Even logits know nothing: log C. Padding adds nothing, however wrong its logits.
    assert_close("even", &[loss.forward(&[0., 0., 0., 0., -9., 9., 9., 9.], &[3, 0])], &[0.5 * 4f64.ln()], 1e-15);
    let extreme = [1e4, -1e4, 0.0, 0.0, 0.0, 0.0, 0.0, 1e4];
    assert_close("extreme", &[loss.forward(&extreme, &[1, 3])], &[1e4], 1e-9);
    assert!(loss.backward(&extreme, &[1, 3], 1.0).iter().all(|d| d.is_finite()));
    let smoothed = CrossEntropy { smoothing: 0.2, ..loss };
    let expected = 0.5 * (0.85 * 2e4 + 0.05 * (1e4 + 1e4) + 2.0 * 0.0 + 0.05 * 3e4);
    assert_close("smoothed", &[smoothed.forward(&extreme, &[1, 3])], &[expected], 1e-9);
    // What the first two have of it goes to the others.
    let of_possible = CrossEntropy { impossible: 2, ..smoothed };
    let expected = 0.5 * (0.8 * 2e4 + 0.1 * (1e4 + 1e4) + 0.1 * (1e4 + 0.0));
    assert_close("possible", &[of_possible.forward(&extreme, &[1, 3])], &[expected], 1e-9);
    // Teachers that are sure of other classes, of which the second row's is the student's own.
    let mean = [0., 0., 1., 0., 0., 0., 0., 1.];
    let taught = Taught { loss, mean: &mean, weight: 0.25 };
    let expected = 0.5 * (0.75 * (2e4 + 0.0) + 0.25 * (1e4 + 0.0));
    assert_close("taught", &[taught.forward(&extreme, &[1, 3])], &[expected], 1e-9);
}

#[test]
fn losses_of_attention_by_hand_and_their_gradients() {
    let alignment = AlignmentLoss { elements: 4, scale: 0.5 };
    let found = alignment.forward(&[0.5, 0.5, 0.25, 0.75], &[1.0, 0.0, 0.5, 0.5]);
    let logarithm = |weight: f64| (weight + 1e-6).ln();
    let expected = -0.5 * (logarithm(0.5) + 0.5 * logarithm(0.25) + 0.5 * logarithm(0.75));
    assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    // Two rows of three steps; the first looks at its only position three times, the second's last step is padding.
    let coverage = CoverageLoss { batch: 2, steps: 3, keys: 1, scale: 2.0, padding: 0 };
    let found = coverage.forward(&[0.5, 1.0, 1.0, 0.25, 0.5, 9.0], &[7, 7, 2, 7, 2, 0]);
    assert_eq!(found, 2.0 * (0.5 + 1.0 + 0.25));

    let mut random = Random::new(71);
    let weights: Vec<f64> = random.tensor(&[2, 5, 3]).into_iter().map(|x| 0.1 + x.abs()).collect();
    let shares: Vec<f64> = random.tensor(&[2, 5, 3]).into_iter().map(|x| x.max(0.0)).collect();
    let alignment = AlignmentLoss { elements: 30, scale: 0.3 };
    let found = alignment.backward(&weights, &shares, 1.7);
    let objective = |x: &[Vec<f64>]| 1.7 * alignment.forward(&x[0], &shares);
    check_gradients("alignment_loss", std::slice::from_ref(&weights), objective, &[("weights", &found)]);
    let targets = [4, 5, 4, 2, 0, 9, 0, 4, 4, 2];
    let coverage = CoverageLoss { batch: 2, steps: 5, keys: 3, scale: 0.3, padding: 0 };
    let found = coverage.backward(&weights, &targets, 1.7);
    let objective = |x: &[Vec<f64>]| 1.7 * coverage.forward(&x[0], &targets);
    check_gradients("coverage_loss", &[weights], objective, &[("weights", &found)]);
}

#[test]
fn reduction_gradients() {
    let mut random = Random::new(11);
    for (rows, columns) in [(1, 1), (5, 3), (2, 13)] {
        let x = random.tensor(&[rows, columns]);
        let up = random.tensor(&[columns]);
        let inputs = [x.clone()];
        let found = reduction::sum_backward(x.len(), 0.7);
        check_gradients("sum", &inputs, |x| 0.7 * reduction::sum(&x[0]), &[("x", &found)]);
        let found = reduction::sum_of_squares_backward(&x, 0.7);
        check_gradients("sum_of_squares", &inputs, |x| 0.7 * reduction::sum_of_squares(&x[0]), &[("x", &found)]);
        let found = reduction::column_sum_backward(rows, columns, &up);
        let objective = |x: &[Vec<f64>]| dot(&reduction::column_sum(&x[0], rows, columns), &up);
        check_gradients("column_sum", &inputs, objective, &[("x", &found)]);
    }
    assert_eq!(reduction::column_sum(&[1., 2., 3., 4., 5., 6.], 2, 3), [5., 7., 9.]);
    assert_eq!((reduction::sum(&[1., -2., 4.]), reduction::sum_of_squares(&[1., -2., 4.])), (3.0, 21.0));
}

#[test]
fn pointwise_gradients() {
    let mut random = Random::new(12);
    let functions = [
        Pointwise::Scale(-0.7),
        Pointwise::Tanh,
        Pointwise::Sigmoid,
        Pointwise::Relu,
        Pointwise::GeluErf,
        Pointwise::GeluTanh,
        Pointwise::Swish,
    ];
    for operation in [Pointwise::Add, Pointwise::Multiply].into_iter().chain(functions) {
        let mut inputs = vec![random.tensor(&[13])];
        if operation.is_binary() {
            inputs.push(random.tensor(&[13]));
        }
        let up = random.tensor(&[13]);
        let second = |x: &[Vec<f64>]| x.get(1).cloned();
        let (d_a, d_b) = operation.backward(&inputs[0], second(&inputs).as_deref(), &up);
        let mut gradients = vec![("a", d_a.as_slice())];
        gradients.extend(d_b.as_deref().map(|d_b| ("b", d_b)));
        let objective = |x: &[Vec<f64>]| dot(&operation.forward(&x[0], second(x).as_deref()), &up);
        check_gradients(&format!("{operation:?}"), &inputs, objective, &gradients);
    }
    assert_eq!(Pointwise::Sigmoid.forward(&[-1e4, 0.0, 1e4], None), [0.0, 0.5, 1.0]);
    assert_eq!(Pointwise::Tanh.forward(&[-1e4, 0.0, 1e4], None), [-1.0, 0.0, 1.0]);
    // Of tables of the normal distribution, on both sides of 3, where the way to compute it changes.
    let tails = [0.5, 0.158_655_253_931_457_05, 0.001_349_898_031_630_094_6, 2.866_515_718_791_939e-7];
    for (x, tail) in [0.0, 1.0, 3.0, 5.0].into_iter().zip(tails) {
        assert_close("below", &Pointwise::GeluErf.forward(&[-x, x], None), &[-x * tail, x * (1.0 - tail)], 1e-15);
    }
}

#[test]
fn dropout_gradients_and_statistics() {
    // Of the published formula, computed elsewhere: a kernel's bits must be these.
    assert_eq!(
        [softalign::random::pcg(0), softalign::random::pcg(1), softalign::random::pcg(u32::MAX)],
        [129_708_002, 2_831_084_092, 3_861_530_882]
    );

    let mut random = Random::new(13);
    let dropout = Dropout { rate: 0.3, seed: 1, step: 2, operation: 3, draw: Draw::Element, rows: Rows::ALL };
    let (x, up) = (random.tensor(&[31]), random.tensor(&[31]));
    let found = dropout.backward(&up);
    check_gradients("dropout", &[x], |x| dot(&dropout.forward(&x[0]), &up), &[("x", &found)]);

    let n = 100_000;
    let mask = |dropout: Dropout| dropout.forward(&vec![1.0; n]);
    let within = |case: &str, count: usize, share: f64| {
        let (expected, sigma) = (n as f64 * share, (n as f64 * share * (1.0 - share)).sqrt());
        assert!((count as f64 - expected).abs() <= 3.0 * sigma, "{case}: {count} of {n}, expected {expected}");
    };
    for rate in [0.1, 0.5, 0.9] {
        let dropout = Dropout { rate, ..dropout };
        let (keep, reference) = (1.0 - f64::from(rate), mask(dropout));
        assert!(reference.iter().all(|&y| y == 0.0 || (y - 1.0 / keep).abs() < 1e-12));
        within("kept", reference.iter().filter(|&&y| y != 0.0).count(), keep);
        // Any coordinate must give a mask of its own, and so must neighbours within a mask.
        let others =
            [Dropout { seed: 2, ..dropout }, Dropout { step: 3, ..dropout }, Dropout { operation: 4, ..dropout }];
        for other in others.map(mask) {
            let both = reference.iter().zip(&other).filter(|(a, b)| **a != 0.0 && **b != 0.0).count();
            within("kept in both", both, keep * keep);
        }
    }
    assert_eq!(mask(Dropout { rate: 0.0, ..dropout }), vec![1.0; n]);

    // [B, T, E] = [n / 20, 4, 5]: what is drawn together stays or goes together, and the rest does not.
    let (steps, width) = (4, 5);
    let by_row = mask(Dropout { draw: Draw::Row { width }, ..dropout });
    assert!(by_row.chunks(width).all(|row| row.iter().all(|y| *y == row[0])));
    let by_sequence = mask(Dropout { draw: Draw::Sequence { steps, width }, ..dropout });
    let sequences = || by_sequence.chunks(steps * width);
    assert!(sequences().all(|sequence| sequence.chunks(width).all(|step| step == &sequence[..width])));
    for (case, draws) in [("row", by_row.iter().step_by(width)), ("element", by_sequence.iter().step_by(steps * width))]
    {
        let (kept, all) = (draws.clone().filter(|y| **y != 0.0).count() as f64, draws.len() as f64);
        assert!((kept / all - 0.7).abs() < 3.0 * (0.21 / all).sqrt(), "{case}: {kept} of {all}");
    }
    assert!(sequences().any(|sequence| sequence[0] != sequence[1]));
}

#[test]
fn adam_steps_and_clips() {
    let adam = Adam { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip_norm: None, weight_decay: 0.0 };
    let gradients = [3.0, -4.0, 0.0];
    let step = |adam: Adam, gradients: &[f64]| {
        let mut state = [[1.0; 3], [0.0; 3], [0.0; 3]];
        let [parameters, first, second] = &mut state;
        let norm = adam.update(1, parameters, gradients, first, second);
        (norm, state)
    };
    // The first step is the learning rate in the gradient's direction, whatever the gradient's size.
    let (norm, [parameters, first, second]) = step(adam, &gradients);
    assert_eq!(norm, 5.0);
    assert_close("parameters", &parameters, &[0.9, 1.1, 1.0], 1e-8);
    assert_close("first", &first, &[0.3, -0.4, 0.0], 1e-15);
    assert_close("second", &second, &[0.009, 0.016, 0.0], 1e-15);

    let (norm, [_, first, second]) = step(Adam { clip_norm: Some(1.0), ..adam }, &gradients);
    assert_eq!(norm, 5.0, "the norm is reported before clipping");
    assert_close("first", &first, &[0.06, -0.08, 0.0], 1e-7);
    assert_close("second", &second, &[0.00036, 0.00064, 0.0], 1e-8);
    assert_eq!(step(Adam { clip_norm: Some(5.1), ..adam }, &gradients), step(adam, &gradients), "nothing to clip");
    assert!(step(Adam { clip_norm: Some(1.0), ..adam }, &[0.0; 3]).1[0] == [1.0; 3]);

    // Decay is decoupled: it neither passes through the moments nor depends on the gradient.
    let (_, [parameters, first, _]) = step(Adam { weight_decay: 0.5, ..adam }, &gradients);
    assert_close("parameters", &parameters, &[0.85, 1.05, 0.95], 1e-8);
    assert_close("first", &first, &[0.3, -0.4, 0.0], 1e-15);

    for bad in [f64::NAN, f64::INFINITY] {
        let (norm, state) = step(adam, &[1.0, bad, 1.0]);
        assert!(!norm.is_finite());
        assert_eq!(state, [[1.0; 3], [0.0; 3], [0.0; 3]]);
    }

    // Algorithm 1 written out in its uncorrected sums: m_t = (1 - b1) * sum of b1^(t - i) g_i, likewise v_t.
    let mut random = Random::new(14);
    let gradients = random.tensor(&[7]);
    let (mut parameter, mut first, mut second) = ([0.25], [0.0], [0.0]);
    let mut expected = 0.25;
    for t in 0..gradients.len() {
        adam.update(t as u32 + 1, &mut parameter, &gradients[t..=t], &mut first, &mut second);
        let average = |beta: f64, power: i32| {
            let weight = |i: usize| beta.powi((t - i) as i32);
            let sum: f64 = (0..=t).map(|i| weight(i) * gradients[i].powi(power)).sum();
            sum / (0..=t).map(weight).sum::<f64>()
        };
        expected -= 0.1 * average(0.9, 1) / (average(0.999, 2).sqrt() + 1e-8);
        assert_close("parameter", &parameter, &[expected], 1e-12);
    }
}

/// The logits behind a text, of a model whose every text is a world of its own.
fn logits_behind(text: &[u32], classes: usize) -> Vec<f64> {
    let seed = text.iter().fold(17, |seed, token| seed * 31 + u64::from(*token));
    let mut random = Random::new(seed);
    random.tensor(&[classes]).into_iter().map(|x| 2.0 * x).collect()
}

/// Every text of up to `capacity` tokens, its end included, with its score under a length penalty, the best first.
fn all_texts(classes: usize, capacity: usize, alpha: f64) -> Vec<(Vec<u32>, f64)> {
    let (mut open, mut texts) = (vec![(Vec::new(), 0.0)], Vec::new());
    for length in 1..=capacity {
        for (text, score) in std::mem::take(&mut open) {
            let logits = logits_behind(&text, classes);
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            for token in 2..classes as u32 {
                let longer = ([&text[..], &[token]].concat(), score + (logits[token as usize].exp() / sum).ln());
                if token == 2 || length == capacity {
                    texts.push((longer.0, longer.1 / ((5.0 + length as f64) / 6.0).powf(alpha)));
                } else {
                    open.push(longer);
                }
            }
        }
    }
    texts.sort_by(|a, b| b.1.total_cmp(&a.1));
    texts
}

#[test]
fn a_wide_beam_step_finds_the_best_of_all_texts() {
    let (classes, capacity, beam) = (5, 4, 27);
    for (alpha, asked) in [(0.0, 27), (0.0, 1), (0.7, 1), (1.0, 5), (3.0, 27)] {
        let step = BeamStep { sentences: 1, beam, classes, capacity, length_penalty: alpha, asked, normalised: false };
        let mut state = step.start();
        let mut texts = vec![Vec::new(); beam];
        let mut ended = Vec::new();
        for number in 0..capacity {
            let logits: Vec<f64> = texts.iter().flat_map(|text| logits_behind(text, classes)).collect();
            let before = state.ended[0].clone();
            let chosen = step.select(&logits, number, &mut state);
            for found in state.ended[0].iter().filter(|found| !before.contains(found)) {
                ended.push(([&texts[found.parent as usize][..], &[found.token]].concat(), found.score));
            }
            if state.done[0] {
                break;
            }
            texts = chosen[0].iter().map(|next| [&texts[next.parent as usize][..], &[next.token]].concat()).collect();
        }
        assert!(state.done[0]);
        ended.sort_by(|a, b| b.1.total_cmp(&a.1));
        let wanted = all_texts(classes, capacity, alpha);
        for (found, wanted) in ended.iter().zip(&wanted).take(asked) {
            assert_eq!(found.0, wanted.0, "alpha {alpha}");
            assert_close("score", &[found.1], &[wanted.1], 1e-12);
        }
        assert!(ended.len() >= asked);
    }
}

#[test]
fn beam_step_fills_up_with_absent_hypotheses_and_keeps_what_has_ended() {
    let step =
        BeamStep { sentences: 1, beam: 3, classes: 4, capacity: 9, length_penalty: 0.0, asked: 2, normalised: false };
    let mut state = step.start();
    let even = 0.25f64.ln();
    let selection = |parent, token, score| Selection { parent, token, score };
    let found = step.select(&[0.0; 12], 0, &mut state);
    assert_eq!(found, [[selection(0, 3, even), selection(1, 0, -1e30), selection(2, 0, -1e30)]]);
    let first = Ended { score: even, step: 0, parent: 0, token: 2 };
    assert_eq!((&state.ended[0][..], state.done[0]), (&[first][..], false));
    // The text that has ended outlives hypotheses that are better, and a second one settles it: nothing can pass it.
    state.scores = vec![-0.1, -1e30, -1e30];
    step.select(&[0.0, 0.0, -9.0, 9.0].repeat(3), 1, &mut state);
    assert_eq!((state.ended[0].len(), state.ended[0][0], state.done[0]), (2, first, false));
    step.select(&[0.0, 0.0, 9.0, -9.0].repeat(3), 2, &mut state);
    assert_eq!((state.ended[0][0].step, state.ended[0][1], state.done[0]), (2, first, true));
}

#[test]
fn local_attention_gradients() {
    let mut random = Random::new(20);
    let lengths = [7, 0, 1, 4];
    for window in [
        Window::Global,
        Window::Monotonic { half_width: 1.0, first: 2 },
        Window::Predicted { half_width: 2.0 },
        Window::Predicted { half_width: 0.5 },
    ] {
        for columns in [7, 5, 9] {
            let attention = LocalAttention { batch: 4, queries: 3, keys: 7, columns, window };
            let (scores, up) = (random.tensor(&[4, 3, columns]), random.tensor(&[4, 3, 7]));
            // No centre so close to the edge of a window that a step of the differences crosses it.
            let shares = [0.11, 0.52, 0.9, 0.3, 0.4, 0.5, 0.21, 0.33, 0.77, 0.08, 0.43, 0.95].to_vec();
            let is_predicted = matches!(window, Window::Predicted { .. });
            let inputs = if is_predicted { vec![scores, shares] } else { vec![scores] };
            let of_inputs = |x: &[Vec<f64>]| x.get(1).cloned().unwrap_or_default();
            let objective = |x: &[Vec<f64>]| dot(&attention.forward(&x[0], &of_inputs(x), &lengths).0, &up);
            let (d_scores, d_shares) = attention.backward(&inputs[0], &of_inputs(&inputs), &lengths, &up);
            let gradients: Vec<(&str, &[f64])> = [("scores", &*d_scores), ("shares", &*d_shares)].into();
            check_gradients(&format!("{attention:?}"), &inputs, objective, &gradients[..inputs.len()]);
        }
    }
}

#[test]
fn local_attention_by_hand() {
    let seen = |window, shares: &[f64]| {
        let attention = LocalAttention { batch: 1, queries: 3, keys: 6, columns: 6, window };
        attention.forward(&[0.0; 18], shares, &[5])
    };
    let (weights, centres) = seen(Window::Monotonic { half_width: 1.0, first: 3 }, &[]);
    assert_eq!(centres, [3.0, 4.0, 4.0], "a window stays at the last position");
    let third = 1.0 / 3.0;
    let last = [0.0, 0.0, 0.0, 0.5, 0.5, 0.0];
    assert_close("weights", &weights, &[[0.0, 0.0, third, third, third, 0.0], last, last].concat(), 1e-15);
    let (weights, centres) = seen(Window::Predicted { half_width: 1.0 }, &[0.5, 0.0, 1.0]);
    assert_eq!(centres, [2.5, 0.0, 5.0]);
    // Deviations of one half: exp(-1/2) on either side, exp(-2) at the edge.
    let (near, edge) = (0.5 * (-0.5_f64).exp(), (-2.0_f64).exp());
    let expected =
        [[0.0, 0.0, near, near, 0.0, 0.0], [0.5, 0.5 * edge, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, edge, 0.0]];
    assert_close("weights", &weights, &expected.concat(), 1e-15);
}

#[test]
fn additive_score_gradients() {
    let mut random = Random::new(21);
    for (batch, queries, keys, size, lengths) in
        [(1, 1, 1, 1, [1].as_slice()), (3, 2, 4, 3, [4, 0, 2].as_slice()), (2, 1, 5, 2, [1, 5].as_slice())]
    {
        let score = AdditiveScore { batch, queries, keys, size };
        let inputs =
            vec![random.tensor(&[batch, queries, size]), random.tensor(&[batch, keys, size]), random.tensor(&[size])];
        let up = random.tensor(&[batch, queries, keys]);
        let of = |x: &[Vec<f64>]| score.forward(&ScoreInputs { query: &x[0], key: &x[1], energy: &x[2], lengths });
        let whole = ScoreInputs { query: &inputs[0], key: &inputs[1], energy: &inputs[2], lengths };
        let found = score.backward(&whole, &up);
        let gradients: [(&str, &[f64]); 3] = [("query", &found.query), ("key", &found.key), ("energy", &found.energy)];
        check_gradients(&format!("{score:?}"), &inputs, |x| dot(&of(x), &up), &gradients);
        let scores = score.forward(&whole);
        let masked = |i: usize| i % keys >= lengths[i / keys / queries] as usize;
        assert!(scores.iter().enumerate().all(|(i, score)| masked(i) == (*score == 0.0)));
    }
}
