//! W2: additive attention with projected queries `[B, T, H]` and keys `[B, S, H]`, and values `[B, S, H]`; the backward gives
//! the gradients of all four inputs.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes, typed,
};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
    graph::{Context, Operation},
    kernels::{
        Step,
        additive_attention::{AdditiveAttention, Inputs, Tile},
        matmul::Matrix,
    },
    reference::additive_attention as reference,
};

/// B, T, S, H.
const SHAPES: [[usize; 4]; 5] =
    [[16, 32, 32, 256], [64, 24, 24, 256], [8, 128, 128, 512], [1, 512, 512, 256], [1, 2048, 2048, 256]];

/// Shapes that are measured in f16 too.
const HALF_SHAPES: [[usize; 4]; 2] = [[64, 24, 24, 256], [8, 128, 128, 512]];

/// The time of a tanh of the reference, in multiplications.
const TANH: usize = 12;

pub(super) fn workloads() -> Vec<Workload> {
    let of_shape = |(dtype, shape): (Dtype, [usize; 4])| {
        let [batch, queries, keys, size] = shape;
        Passes::ALL.map(|passes| {
            let key = format!("W2/B{batch}_T{queries}_S{keys}_H{size}/{}", passes.key());
            Workload::of(dtype, key, move |gpu| attention(gpu, dtype, shape, passes))
        })
    };
    typed(&SHAPES, &HALF_SHAPES).flat_map(of_shape).collect()
}

/// The forward for whom the weights themselves are of no use. Inputs: query, key, energy, value, lengths.
#[derive(Debug)]
struct ContextAlone(AdditiveAttention);

impl Operation for ContextAlone {
    fn name(&self) -> &'static str {
        "additive_attention"
    }

    fn record(&self, recorder: &mut Recorder, context: &Context<'_>) -> Result<()> {
        let [query, key, energy, value, lengths] = context.inputs else { unreachable!("five inputs are pushed") };
        let inputs = Inputs { query: Matrix::batch(query), key, energy, value, lengths };
        let tile = Tile::choose(recorder.gpu(), &self.0);
        self.0.record(recorder, tile, &inputs, Matrix::batch(&context.outputs[0]), None)
    }
}

fn attention(gpu: &Gpu, dtype: Dtype, [batch, queries, keys, size]: [usize; 4], passes: Passes) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let query = problem.random(&[batch, queries, size], 2.0);
    let key = problem.random(&[batch, keys, size], 2.0);
    let energy = problem.parameter(&[size], 4.0 / (size as f32).sqrt());
    let value = problem.random(&[batch, keys, size], 1.0);
    let full = vec![keys as u32; batch];
    let lengths = problem.words(&[batch], &full);
    let inputs = [query.value, key.value, energy.value, value.value];
    // Queries do not depend on each other, and what is upstream of the others is 0: so all gradients can be compared.
    let sampled = sample::spread(queries, sample::affordable(queries, batch * keys * size * TANH));
    let rows: Vec<usize> = (0..batch).flat_map(|b| sampled.iter().map(move |t| b * queries + t)).collect();
    let mut upstream = problem.values(batch * queries * size, 1.0);
    sample::only_rows(&mut upstream, size, &rows);
    let outputs = match passes {
        Passes::Forward => {
            let shape = AdditiveAttention { batch, queries, keys, size, value_size: size };
            let from = [inputs.as_slice(), &[lengths]].concat();
            problem.graph.push_as(ContextAlone(shape), &from, [([batch, queries, size].into(), dtype)])
        }
        Passes::Both => {
            let [query, key, energy, value] = inputs;
            let (context, _) = problem.graph.additive_attention(query, key, energy, value, lengths)?;
            let d_context = problem.floats(&[batch, queries, size], &upstream);
            let gradients = problem.graph.gradients_from(&[(context, d_context.value)], &inputs)?;
            [vec![context], gradients].concat()
        }
    };
    let each = if passes == Passes::Forward { 6.0 } else { 15.0 };
    let operations = each * (batch * queries * keys * size) as f64;
    let subject = problem.finish(&outputs, Step::default(), move |outputs| {
        let attention = reference::AdditiveAttention { batch, queries: sampled.len(), keys, size, value_size: size };
        let queries = sample::rows(&query.host, size, &rows);
        let (query, key, energy, value) = (&*queries, &*key.host, &*energy.host, &*value.host);
        let inputs = reference::AdditiveInputs { query, key, energy, value, lengths: &full };
        let context = sample::some(&outputs[0], size, &rows, &attention.forward(&inputs).0);
        let [_, d_query, d_key, d_energy, d_value] = outputs else { return context };
        let upstream: Vec<f64> = sample::rows(&upstream, size, &rows).into_iter().map(f64::from).collect();
        let expected = attention.backward(&inputs, &upstream, None);
        sample::worst([
            context,
            sample::sparse(d_query, size, &rows, &expected.query),
            sample::whole(d_key, &expected.key),
            sample::whole(d_energy, &expected.energy),
            sample::whole(d_value, &expected.value),
        ])
    })?;
    Ok(Subject { operations: Some(operations), ..subject })
}
