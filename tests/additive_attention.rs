//! Additive attention against its reference, and what random cases do not show.

mod common;

use softalign::{
    Gpu, Tensor,
    gpu::{Dtype, Recorder},
    kernels::{
        additive_attention::{AdditiveAttention, Inputs, Tile},
        matmul::Matrix,
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("additive_attention", 16);
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
    fn new(gpu: &Gpu, shape: &AdditiveAttention, lengths: &[u32]) -> Self {
        let AdditiveAttention { batch, queries, keys, size, value_size } = *shape;
        let tensor = |dims: [usize; 3], scale: f32| {
            let values: Vec<f32> =
                (0..dims.iter().product()).map(|i: usize| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * scale).collect();
            gpu.tensor("input", dims, Dtype::F32, &values).unwrap()
        };
        Self {
            query: tensor([batch, queries, size], 3.0),
            key: tensor([batch, keys, size], 21.0),
            energy: tensor([1, 1, size], 0.3),
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
fn outputs(gpu: &Gpu, shape: &AdditiveAttention, tensors: &Tensors) -> Vec<Vec<f32>> {
    let AdditiveAttention { batch, queries, keys, size, value_size } = *shape;
    let poisoned =
        |dims: [usize; 3]| gpu.tensor("poisoned", dims, Dtype::F32, &vec![f32::NAN; dims.iter().product()]).unwrap();
    let [context, weights] = [poisoned([batch, queries, value_size]), poisoned([batch, queries, keys])];
    let [d_energy, d_query] = [poisoned([batch, queries, keys]), poisoned([batch, queries, size])];
    let [d_key, d_energy_vector] = [poisoned([batch, keys, size]), poisoned([1, 1, size])];
    let [d_value, scratch] = [poisoned([batch, keys, value_size]), poisoned([1, 1, shape.scratch()])];
    let (inputs, tile) = (tensors.inputs(), Tile::choose(gpu, shape));
    let (w, d_c, d_e) = (Matrix::batch(&weights), Matrix::batch(&context), Matrix::batch(&d_energy));
    let mut recorder = Recorder::new(gpu, "test");
    let r = &mut recorder;
    shape.record(r, tile, &inputs, d_c, Some(w)).unwrap();
    // The context serves as its own gradient.
    shape.record_backward_query(r, tile, &inputs, w, d_c, None, d_e, Matrix::batch(&d_query)).unwrap();
    shape.record_backward_key(r, tile, &inputs, w, d_c, d_e, &scratch, &d_key, &d_energy_vector, &d_value).unwrap();
    let submission = recorder.finish().unwrap().submit(0).unwrap();
    gpu.wait(Some(submission)).unwrap();
    [context, weights, d_energy, d_query, d_key, d_energy_vector, d_value].map(|x| gpu.read(&x).unwrap()).to_vec()
}

#[test]
fn repeats_its_bits() {
    let shape = AdditiveAttention { batch: 2, queries: 17, keys: 140, size: 36, value_size: 20 };
    for gpu in [common::gpu(), common::portable()] {
        let tensors = Tensors::new(gpu, &shape, &[140, 77]);
        let bits = |outputs: Vec<Vec<f32>>| -> Vec<u32> { outputs.concat().iter().map(|x| x.to_bits()).collect() };
        let first = outputs(gpu, &shape, &tensors);
        assert!(first.iter().flatten().all(|x| x.is_finite()));
        assert_eq!(bits(first), bits(outputs(gpu, &shape, &tensors)));
    }
}

#[test]
fn rows_without_valid_keys_are_zero() {
    let shape = AdditiveAttention { batch: 2, queries: 3, keys: 9, size: 8, value_size: 4 };
    for gpu in [common::gpu(), common::portable()] {
        let tensors = Tensors::new(gpu, &shape, &[0, 0]);
        assert!(outputs(gpu, &shape, &tensors).iter().flatten().all(|x| *x == 0.0));
    }
}

#[test]
fn refuses_a_wrong_shape() {
    let gpu = common::gpu();
    let shape = AdditiveAttention { batch: 2, queries: 3, keys: 9, size: 8, value_size: 4 };
    let tensors = Tensors::new(gpu, &shape, &[9, 9]);
    let larger = AdditiveAttention { keys: 10, ..shape };
    let mut recorder = Recorder::new(gpu, "test");
    let context = Matrix::batch(&tensors.query);
    let error = larger.record(&mut recorder, Tile::choose(gpu, &larger), &tensors.inputs(), context, None).unwrap_err();
    assert!(error.to_string().contains("key"), "{error}");
}
