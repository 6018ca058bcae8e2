//! The attentional decoder's loop against its reference.

mod common;

use softalign::{
    Error, Gpu,
    gpu::Recorder,
    kernels::{
        attentional_decoder::{AttentionalDecoder, DecoderStep, Inputs, Saved, StepInputs, StepTensors, Tiles},
        gru::Weights,
        matmul::Matrix,
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("attentional_decoder", 20);
}

/// Some numbers in (-0.5, 0.5).
fn numbers(gpu: &Gpu, elements: usize, seed: usize) -> softalign::Tensor {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5;
    common::upload(gpu, [elements], &(0..elements).map(value).collect::<Vec<_>>())
}

fn plain(tensor: &softalign::Tensor, stride: usize) -> Matrix<'_> {
    Matrix { tensor, offset: 0, stride, batch_stride: 0 }
}

/// Two steps of three rows per sentence, all alike, lead where the loop leads; and twice to the same bits.
#[test]
fn steps_with_a_beam_lead_where_the_loop_leads() {
    let (batch, beam, steps, keys, word, hidden, size, annotation) = (3, 3, 2, 6, 8, 12, 16, 20);
    for gpu in [common::gpu(), common::portable()] {
        let decoder = AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation };
        let width = decoder.features();
        let words = numbers(gpu, batch * steps * word, 1);
        let state0 = numbers(gpu, batch * hidden, 2);
        let (key, values) = (numbers(gpu, batch * keys * size, 3), numbers(gpu, batch * keys * annotation, 4));
        let lengths = common::upload_u32(gpu, [batch], &[6, 0, 3]);
        let (query_weight, energy) = (numbers(gpu, size * hidden, 5), numbers(gpu, size, 6));
        let weight_ih = numbers(gpu, 3 * hidden * (word + annotation), 7);
        let weight_hh = numbers(gpu, 3 * hidden * hidden, 8);
        let (bias_ih, bias_hh) = (numbers(gpu, 3 * hidden, 9), numbers(gpu, 3 * hidden, 10));
        let cell = Weights { weight_ih: &weight_ih, weight_hh: &weight_hh, bias_ih: &bias_ih, bias_hh: &bias_hh };
        let run_loop = || {
            let (features, weights) = (batch * steps * width, batch * steps * keys);
            let (features, weights) = (common::poisoned(gpu, features), common::poisoned(gpu, weights));
            let states = common::poisoned(gpu, decoder.states_shape().iter().product());
            let gates = common::poisoned(gpu, decoder.gates_shape().iter().product());
            let queries = common::poisoned(gpu, decoder.queries_shape().iter().product());
            let scratch = common::poisoned(gpu, decoder.scratch());
            common::run(gpu, |recorder| {
                let inputs = Inputs {
                    words: &words,
                    state0: &state0,
                    key: &key,
                    annotation: &values,
                    lengths: &lengths,
                    query_weight: &query_weight,
                    energy: &energy,
                    cell,
                };
                let saved = Saved { states: &states, gates: &gates, queries: &queries };
                let tiles = Tiles::choose(gpu, &decoder);
                decoder.record(recorder, &tiles, &inputs, &features, &weights, &saved, &scratch)
            });
            gpu.read::<f32>(&features).unwrap()
        };
        let expected = run_loop();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&expected), bits(&run_loop()));

        let step = DecoderStep { batch, beam, keys, word, hidden, size, annotation };
        let rows = batch * beam;
        let repeat = |tensor: &softalign::Tensor, each: usize, skip: usize, stride: usize| {
            let values: Vec<f32> = gpu.read(tensor).unwrap();
            let row = |row: usize| values[row / beam * stride + skip..][..each].to_vec();
            (0..rows).flat_map(row).collect::<Vec<f32>>()
        };
        let mut states = repeat(&state0, hidden, 0, hidden);
        states.resize(2 * rows * hidden, f32::NAN);
        let states = common::upload(gpu, [2, rows, hidden], &states);
        let features = common::poisoned(gpu, rows * (hidden + annotation));
        let (gi, queries) = (common::poisoned(gpu, rows * 3 * hidden), common::poisoned(gpu, rows * size));
        let gates = common::poisoned(gpu, rows * 4 * hidden);
        for t in 0..steps {
            let words = common::upload(gpu, [rows, word], &repeat(&words, word, t * word, steps * word));
            common::run(gpu, |recorder| {
                step.record_words(recorder, rows, &cell, plain(&words, word), plain(&gi, 3 * hidden))?;
                let inputs = StepInputs {
                    key: &key,
                    annotation: &values,
                    lengths: &lengths,
                    query_weight: &query_weight,
                    energy: &energy,
                    cell,
                };
                let half = rows * hidden;
                let tensors = StepTensors {
                    gi: plain(&gi, 3 * hidden),
                    states: &states,
                    from: t % 2 * half,
                    to: (t + 1) % 2 * half,
                    queries: plain(&queries, size),
                    features: plain(&features, hidden + annotation),
                    weights: None,
                    gates: &gates,
                    gates_offset: 0,
                };
                step.record(recorder, &Tiles::of_step(gpu, &step), &inputs, &tensors)
            });
            let got: Vec<f32> = gpu.read(&features).unwrap();
            for (row, got) in got.chunks(hidden + annotation).enumerate() {
                let expected = &expected[(row / beam * steps + t) * width..][..hidden + annotation];
                let worst = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
                assert!(worst < 2e-6 && !got.iter().any(|x| x.is_nan()), "step {t}, row {row}: {worst}");
            }
        }
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let small = common::poisoned(gpu, 3);
    let cell = Weights { weight_ih: &small, weight_hh: &small, bias_ih: &small, bias_hh: &small };
    let decoder = AttentionalDecoder { batch: 2, steps: 2, keys: 2, word: 2, hidden: 2, size: 2, annotation: 2 };
    let inputs = Inputs {
        words: &small,
        state0: &small,
        key: &small,
        annotation: &small,
        lengths: &small,
        query_weight: &small,
        energy: &small,
        cell,
    };
    let saved = Saved { states: &small, gates: &small, queries: &small };
    let mut recorder = Recorder::new(gpu, "test");
    let tiles = Tiles::choose(gpu, &decoder);
    let result = decoder.record(&mut recorder, &tiles, &inputs, &small, &small, &saved, &small);
    assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
}
