//! The gated recurrent unit against its reference.

use crate::common;
use softalign::{
    Error, Gpu, Tensor,
    gpu::{Dtype, Recorder},
    kernels::gru::{Gru, Input, Inputs, Outputs, Saved, Tile, Weights},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("gru");
}

/// y and hn of a layer whose weights all are `weight`, from inputs and states that all are `value`, under a mask of ones if it
/// has one: the bits of what they are in f32.
fn run(gpu: &Gpu, dtype: Dtype, gru: Gru, weight: f32, value: f32, lengths: &[u32]) -> [Vec<u32>; 2] {
    let Gru { batch, steps, input, hidden, directions, masked } = gru;
    let same = |elements: usize, value: f32| common::upload(gpu, [elements], &vec![value; elements]);
    let all = |elements: usize, value: f32| common::upload_as(gpu, dtype, [elements], &vec![value; elements]);
    let (x, h0) = (all(batch * steps * input, value), all(directions * batch * hidden, value));
    let mask = masked.then(|| all(directions * batch * hidden, 1.0));
    let lengths = common::upload_u32(gpu, [batch], lengths);
    let (weight_ih, weight_hh) = (same(3 * hidden * input, weight), same(3 * hidden * hidden, weight));
    let (bias_ih, bias_hh) = (same(3 * hidden, weight), same(3 * hidden, weight));
    let cell = Weights { weight_ih: &weight_ih, weight_hh: &weight_hh, bias_ih: &bias_ih, bias_hh: &bias_hh };
    let weights = vec![cell; directions];
    let poisoned = |elements| common::poisoned_as(gpu, dtype, elements);
    let y = poisoned(batch * steps * directions * hidden);
    let states = poisoned(gru.states_shape().iter().product());
    let gates = poisoned(gru.gates_shape().iter().product());
    let scratch = poisoned(gru.scratch(false));
    common::run(gpu, |recorder| {
        let tile = Tile::choose(gpu, [batch, hidden], directions);
        let inputs =
            Inputs { x: Input::Rows(&x), h0: Some(&h0), lengths: &lengths, weights: &weights, mask: mask.as_ref() };
        let saved = Saved { states: &states, gates: &gates };
        gru.record(recorder, tile, &inputs, &Outputs { y: &y, saved }, &scratch)
    });
    let [y, states] = [y, states]
        .map(|tensor| -> Vec<u32> { gpu.read_floats(&tensor).unwrap().into_iter().map(f32::to_bits).collect() });
    let last = (0..directions).flat_map(|d| states[gru.last(d)..][..batch * hidden].to_vec()).collect();
    [y, last]
}

#[test]
fn gates_that_saturate_stay_finite() {
    let gru = Gru { batch: 2, steps: 3, input: 5, hidden: 8, directions: 2, masked: false };
    for (gpu, dtype) in common::forms() {
        // What goes into a gate is stored: f16 ends at 65,504.
        let [large, huge] = if dtype == Dtype::F16 { [40.0, 80.0] } else { [1e4, 1e15] };
        for (weight, value) in [(large, large), (-large, large), (huge, -huge)] {
            let [y, hn] = run(gpu, dtype, gru, weight, value, &[3, 1]);
            assert!(y.iter().chain(&hn).all(|bits| f32::from_bits(*bits).is_finite()), "{dtype} {weight}, {value}");
        }
    }
}

#[test]
fn rows_of_length_zero_keep_their_state_and_the_same_bits_come_twice() {
    let gru = Gru { batch: 9, steps: 5, input: 7, hidden: 36, directions: 2, masked: false };
    let lengths = [0, 5, 0, 1, 2, 3, 4, 5, 0];
    for (gpu, dtype) in common::forms() {
        let first = run(gpu, dtype, gru, 0.1, 0.5, &lengths);
        assert_eq!(first, run(gpu, dtype, gru, 0.1, 0.5, &lengths));
        let [y, hn] = first;
        for (row, length) in lengths.into_iter().enumerate() {
            let (y, state) = (&y[row * 5 * 72..][..5 * 72], &hn[row * 36..][..36]);
            assert!(y[length as usize * 72..].iter().all(|bits| *bits == 0), "row {row}");
            assert_eq!(length == 0, state.iter().all(|bits| *bits == 0.5_f32.to_bits()), "row {row}");
        }
    }
}

#[test]
fn a_mask_of_ones_changes_no_bit() {
    for hidden in [36, 7] {
        let gru = Gru { batch: 9, steps: 5, input: 7, hidden, directions: 2, masked: false };
        for (gpu, dtype) in common::forms() {
            let lengths = [0, 5, 0, 1, 2, 3, 4, 5, 0];
            let run = |masked| run(gpu, dtype, Gru { masked, ..gru }, 0.1, 0.5, &lengths);
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
        let inputs =
            Inputs { x: Input::Rows(&small), h0: Some(&small), lengths: &small, weights: &weights, mask: None };
        let saved = Saved { states: &small, gates: &small };
        let outputs = Outputs { y: &small, saved };
        let tile = Tile::choose(gpu, [1, 1], 1);
        let result = gru.record(&mut recorder, tile, &inputs, &outputs, &small);
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
}

/// Shaders take the type of all activations from one of them.
#[test]
fn refuses_activations_of_two_types() {
    let gpu = common::gpu();
    let gru = Gru { batch: 1, steps: 1, input: 1, hidden: 1, directions: 1, masked: false };
    let (one, four) = (common::poisoned(gpu, 1), common::poisoned(gpu, 4));
    let (three, two) = (common::poisoned(gpu, 3), common::poisoned(gpu, 2));
    let lengths = common::upload_u32(gpu, [1], &[1]);
    let weights = [Weights { weight_ih: &three, weight_hh: &three, bias_ih: &three, bias_hh: &three }];
    let record = |x: &Tensor, y: &Tensor, states: &Tensor| {
        let inputs = Inputs { x: Input::Rows(x), h0: Some(&one), lengths: &lengths, weights: &weights, mask: None };
        let saved = Saved { states, gates: &four };
        let outputs = Outputs { y, saved };
        let scratch = common::poisoned(gpu, 3);
        gru.record(&mut Recorder::new(gpu, "test"), Tile::choose(gpu, [1, 1], 1), &inputs, &outputs, &scratch)
    };
    let y = common::poisoned(gpu, 1);
    record(&one, &y, &two).unwrap();
    let half = |elements| common::poisoned_as(gpu, Dtype::F16, elements);
    for (argument, result) in
        [("x", record(&half(1), &y, &two)), ("y", record(&one, &half(1), &two)), ("x", record(&one, &y, &half(2)))]
    {
        assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
    }
}
