//! The gated recurrent unit against its reference.

mod common;

use softalign::{
    Error, Gpu,
    gpu::Recorder,
    kernels::gru::{Gru, Input, Inputs, Outputs, Saved, Tile, Weights},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("gru", 20);
}

/// y and hn of a layer whose weights all are `weight`, from inputs and states that all are `value`, under a mask of ones if it
/// has one.
fn run(gpu: &Gpu, gru: Gru, weight: f32, value: f32, lengths: &[u32]) -> [Vec<u32>; 2] {
    let Gru { batch, steps, input, hidden, directions, masked } = gru;
    let same = |elements: usize, value: f32| common::upload(gpu, [elements], &vec![value; elements]);
    let (x, h0) = (same(batch * steps * input, value), same(directions * batch * hidden, value));
    let mask = masked.then(|| same(directions * batch * hidden, 1.0));
    let lengths = common::upload_u32(gpu, [batch], lengths);
    let (weight_ih, weight_hh) = (same(3 * hidden * input, weight), same(3 * hidden * hidden, weight));
    let (bias_ih, bias_hh) = (same(3 * hidden, weight), same(3 * hidden, weight));
    let cell = Weights { weight_ih: &weight_ih, weight_hh: &weight_hh, bias_ih: &bias_ih, bias_hh: &bias_hh };
    let weights = vec![cell; directions];
    let y = common::poisoned(gpu, batch * steps * directions * hidden);
    let hn = common::poisoned(gpu, directions * batch * hidden);
    let states = common::poisoned(gpu, gru.states_shape().iter().product());
    let gates = common::poisoned(gpu, gru.gates_shape().iter().product());
    let scratch = common::poisoned(gpu, gru.scratch());
    common::run(gpu, |recorder| {
        let tile = Tile::choose(gpu, batch);
        let inputs = Inputs { x: Input::Rows(&x), h0: &h0, lengths: &lengths, weights: &weights, mask: mask.as_ref() };
        let saved = Saved { states: &states, gates: &gates };
        gru.record(recorder, tile, &inputs, &Outputs { y: &y, hn: &hn }, &saved, &scratch)
    });
    [common::bits(gpu, &y), common::bits(gpu, &hn)]
}

#[test]
fn gates_that_saturate_stay_finite() {
    let gru = Gru { batch: 2, steps: 3, input: 5, hidden: 8, directions: 2, masked: false };
    for (weight, value) in [(1e4, 1e4), (-1e4, 1e4), (1e15, -1e15)] {
        for gpu in [common::gpu(), common::portable()] {
            let [y, hn] = run(gpu, gru, weight, value, &[3, 1]);
            assert!(y.iter().chain(&hn).all(|bits| f32::from_bits(*bits).is_finite()), "{weight}, {value}");
        }
    }
}

#[test]
fn rows_of_length_zero_keep_their_state_and_the_same_bits_come_twice() {
    let gru = Gru { batch: 9, steps: 5, input: 7, hidden: 36, directions: 2, masked: false };
    let lengths = [0, 5, 0, 1, 2, 3, 4, 5, 0];
    let first = run(common::gpu(), gru, 0.1, 0.5, &lengths);
    assert_eq!(first, run(common::gpu(), gru, 0.1, 0.5, &lengths));
    let [y, hn] = first;
    for (row, length) in lengths.into_iter().enumerate() {
        let (y, state) = (&y[row * 5 * 72..][..5 * 72], &hn[row * 36..][..36]);
        assert!(y[length as usize * 72..].iter().all(|bits| *bits == 0), "row {row}");
        assert_eq!(length == 0, state.iter().all(|bits| *bits == 0.5_f32.to_bits()), "row {row}");
    }
}

#[test]
fn a_mask_of_ones_changes_no_bit() {
    for hidden in [36, 7] {
        let gru = Gru { batch: 9, steps: 5, input: 7, hidden, directions: 2, masked: false };
        for gpu in [common::gpu(), common::portable()] {
            let lengths = [0, 5, 0, 1, 2, 3, 4, 5, 0];
            let run = |masked| run(gpu, Gru { masked, ..gru }, 0.1, 0.5, &lengths);
            assert_eq!(run(false), run(true));
        }
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let small = common::poisoned(gpu, 3);
    let weights = [Weights { weight_ih: &small, weight_hh: &small, bias_ih: &small, bias_hh: &small }];
    let mut recorder = Recorder::new(gpu, "test");
    for (batch, directions) in [(1, 1), (0, 1), (3, 0), (3, 3)] {
        let gru = Gru { batch, steps: 2, input: 1, hidden: 1, directions, masked: false };
        let inputs = Inputs { x: Input::Rows(&small), h0: &small, lengths: &small, weights: &weights, mask: None };
        let outputs = Outputs { y: &small, hn: &small };
        let saved = Saved { states: &small, gates: &small };
        let tile = Tile::choose(gpu, 1);
        let result = gru.record(&mut recorder, tile, &inputs, &outputs, &saved, &small);
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}
