//! Additive attention against its reference, and what random cases do not show.

use crate::common;
use softalign::{
    Error, Gpu, Tensor,
    gpu::{Dtype, Recorder},
    kernels::{
        additive_attention::{AdditiveAttention, Backward, Inputs, KeyGradients, Tile},
        matmul::Matrix,
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("additive_attention");
}

struct Tensors {
    query: Tensor,
    key: Tensor,
    energy: Tensor,
    value: Tensor,
    lengths: Tensor,
}

impl Tensors {
    /// Values that grow past the domain of the factored tanh in some tiles only.
    fn new(gpu: &Gpu, dtype: Dtype, shape: &AdditiveAttention, lengths: &[u32]) -> Self {
        let AdditiveAttention { batch, queries, keys, size, value_size } = *shape;
        let of = |dtype: Dtype, dims: [usize; 3], scale: f32| {
            let values: Vec<f32> =
                (0..dims.iter().product()).map(|i: usize| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * scale).collect();
            gpu.floats("input", dims, dtype, &values).unwrap()
        };
        let tensor = |dims, scale| of(dtype, dims, scale);
        Self {
            query: tensor([batch, queries, size], 3.0),
            key: tensor([batch, keys, size], 21.0),
            energy: of(Dtype::F32, [1, 1, size], 0.3),
            value: tensor([batch, keys, value_size], 1.0),
            lengths: gpu.tensor("lengths", [batch], Dtype::U32, lengths).unwrap(),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let Self { query, key, energy, value, lengths } = self;
        Inputs { query: Matrix::batch(query), key, energy, value, lengths }
    }
}

/// Every output of forward and backward, from poisoned buffers.
fn outputs(gpu: &Gpu, dtype: Dtype, shape: &AdditiveAttention, tensors: &Tensors) -> Vec<Vec<f32>> {
    let AdditiveAttention { batch, queries, keys, size, value_size } = *shape;
    let of = |dtype: Dtype, dims: [usize; 3]| {
        gpu.floats("poisoned", dims, dtype, &vec![f32::NAN; dims.iter().product()]).unwrap()
    };
    let (poisoned, of_f32) = (|dims| of(dtype, dims), |dims| of(Dtype::F32, dims));
    let [context, weights] = [poisoned([batch, queries, value_size]), of_f32([batch, queries, keys])];
    let [d_energy, d_query] = [of_f32([batch, queries, keys]), poisoned([batch, queries, size])];
    let [d_key, d_energy_vector] = [poisoned([batch, keys, size]), of_f32([1, 1, size])];
    let [d_value, scratch] = [poisoned([batch, keys, value_size]), of_f32([1, 1, shape.scratch()])];
    let (inputs, tile) = (tensors.inputs(), Tile::choose(gpu, shape));
    let mut recorder = Recorder::new(gpu, "test");
    let r = &mut recorder;
    shape.record(r, tile, &inputs, Matrix::batch(&context), Some(Matrix::batch(&weights))).unwrap();
    // The context serves as its own gradient.
    let backward = Backward {
        inputs,
        weights: Matrix::batch(&weights),
        d_context: Matrix::batch(&context),
        d_weights: None,
        d_energy: Matrix::batch(&d_energy),
    };
    let of_keys = KeyGradients { key: &d_key, energy: &d_energy_vector, value: &d_value };
    shape.record_backward_query(r, tile, &backward, Matrix::batch(&d_query)).unwrap();
    shape.record_backward_key(r, tile, &backward, &scratch, &of_keys).unwrap();
    let submission = recorder.finish().unwrap().submit(0).unwrap();
    gpu.wait(Some(submission)).unwrap();
    [context, weights, d_energy, d_query, d_key, d_energy_vector, d_value]
        .map(|x| gpu.read_floats(&x).unwrap())
        .to_vec()
}

#[test]
fn repeats_its_bits() {
    let shape = AdditiveAttention { batch: 2, queries: 17, keys: 140, size: 36, value_size: 20 };
    for (gpu, dtype) in common::forms() {
        let tensors = Tensors::new(gpu, dtype, &shape, &[140, 77]);
        let bits = |outputs: Vec<Vec<f32>>| -> Vec<u32> { outputs.concat().iter().map(|x| x.to_bits()).collect() };
        let first = outputs(gpu, dtype, &shape, &tensors);
        assert!(first.iter().flatten().all(|x| x.is_finite()));
        assert_eq!(bits(first), bits(outputs(gpu, dtype, &shape, &tensors)));
    }
}

#[test]
fn rows_without_valid_keys_are_zero() {
    let shape = AdditiveAttention { batch: 2, queries: 3, keys: 9, size: 8, value_size: 4 };
    for (gpu, dtype) in common::forms() {
        let tensors = Tensors::new(gpu, dtype, &shape, &[0, 0]);
        assert!(outputs(gpu, dtype, &shape, &tensors).iter().flatten().all(|x| *x == 0.0));
    }
}

#[test]
fn one_valid_key_gets_all_the_weight() {
    let shape = AdditiveAttention { batch: 2, queries: 9, keys: 150, size: 8, value_size: 4 };
    for gpu in [common::gpu(), common::portable()] {
        let tensors = Tensors::new(gpu, Dtype::F32, &shape, &[1, 1]);
        let found = outputs(gpu, Dtype::F32, &shape, &tensors);
        let [context, weights, d_energy, d_query, ..] = found.as_slice() else { unreachable!("there are seven") };
        assert!(weights.iter().enumerate().all(|(at, x)| *x == if at % 150 == 0 { 1.0 } else { 0.0 }));
        let value: Vec<f32> = gpu.read(&tensors.value).unwrap();
        for (row, context) in context.chunks(4).enumerate() {
            assert_eq!(context, &value[row / 9 * 150 * 4..][..4], "row {row}");
        }
        assert!(d_energy.iter().chain(d_query).all(|x| x.abs() < 1e-6), "a constant weight has no gradient");
    }
}

#[test]
fn refuses_a_wrong_shape() {
    let gpu = common::gpu();
    let shape = AdditiveAttention { batch: 2, queries: 3, keys: 9, size: 8, value_size: 4 };
    let tensors = Tensors::new(gpu, Dtype::F32, &shape, &[9, 9]);
    let larger = AdditiveAttention { keys: 10, ..shape };
    let mut recorder = Recorder::new(gpu, "test");
    let context = Matrix::batch(&tensors.query);
    let error = larger.record(&mut recorder, Tile::choose(gpu, &larger), &tensors.inputs(), context, None).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
    let half = Tensors::new(gpu, Dtype::F16, &shape, &[9, 9]);
    let mixed = Inputs { value: &half.value, ..tensors.inputs() };
    let error = shape.record(&mut recorder, Tile::choose(gpu, &shape), &mixed, context, None).unwrap_err();
    assert!(matches!(error, Error::Shape { argument: "query", .. }), "{error}");
}
