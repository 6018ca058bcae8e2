//! W4: a GRU layer over a sequence, the products of its input included.

use super::{
    super::{
        Subject, Workload,
        problem::{Operand, Problem},
        sample,
    },
    Passes, typed,
};
use crate::{Gpu, Result, gpu::Dtype, graph::GruWeights, kernels::Step, reference::gru as reference};

/// B, T, I, H.
const SHAPES: [[usize; 4]; 3] = [[64, 24, 256, 256], [64, 50, 512, 512], [128, 30, 256, 512]];

/// Shapes that are measured in f16 too.
const HALF_SHAPES: [[usize; 4]; 1] = [[64, 50, 512, 512]];

pub(super) fn workloads() -> Vec<Workload> {
    let of_shape = |(dtype, shape): (Dtype, [usize; 4])| {
        let [batch, steps, input, hidden] = shape;
        Passes::ALL.map(|passes| {
            let key = format!("W4/B{batch}_T{steps}_I{input}_H{hidden}/{}", passes.key());
            Workload::of(dtype, key, move |gpu| layer(gpu, dtype, shape, passes))
        })
    };
    typed(&SHAPES, &HALF_SHAPES).flat_map(of_shape).collect()
}

/// The parameters of a cell, in the order in which they have names.
pub(super) fn cell(problem: &mut Problem, input: usize, hidden: usize) -> [Operand; 4] {
    let (from_x, from_h) = (1.0 / (input as f32).sqrt(), 1.0 / (hidden as f32).sqrt());
    [
        problem.parameter(&[3 * hidden, input], from_x),
        problem.parameter(&[3 * hidden, hidden], from_h),
        problem.parameter(&[3 * hidden], 0.5),
        problem.parameter(&[3 * hidden], 0.5),
    ]
}

pub(super) fn graph_weights(cell: &[Operand; 4]) -> GruWeights {
    let [weight_ih, weight_hh, bias_ih, bias_hh] = cell.each_ref().map(|operand| operand.value);
    GruWeights { weight_ih, weight_hh, bias_ih, bias_hh }
}

pub(super) fn reference_weights(cell: [Operand; 4]) -> reference::GruWeights {
    let [weight_ih, weight_hh, bias_ih, bias_hh] = cell.map(|operand| operand.host);
    reference::GruWeights { weight_ih, weight_hh, bias_ih, bias_hh }
}

fn layer(gpu: &Gpu, dtype: Dtype, [batch, steps, input, hidden]: [usize; 4], passes: Passes) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let x = problem.random(&[batch, steps, input], 1.0);
    let h0 = problem.random(&[1, batch, hidden], 0.5);
    let lengths = problem.words(&[batch], &vec![steps as u32; batch]);
    let weights = cell(&mut problem, input, hidden);
    let of_graph = graph_weights(&weights);
    let (y, last) = problem.graph.gru(x.value, h0.value, lengths, &[of_graph], None)?;
    let hn = problem.graph.stacked(&last)?;
    // Rows of a batch do not depend on each other, and what is upstream of the others is 0: so all gradients can be compared.
    let rows = sample::spread(batch, sample::affordable(batch, steps * 3 * hidden * (input + hidden)));
    let mut upstream = problem.values(batch * steps * hidden, 0.1);
    sample::only_rows(&mut upstream, steps * hidden, &rows);
    let mut outputs = vec![y, hn];
    if passes == Passes::Both {
        let d_y = problem.floats(&[batch, steps, hidden], &upstream);
        let GruWeights { weight_ih, weight_hh, bias_ih, bias_hh } = of_graph;
        let wanted = [x.value, h0.value, weight_ih, weight_hh, bias_ih, bias_hh];
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let layer = reference::Gru { batch: rows.len(), steps, input, hidden, directions: 1 };
        let (row_x, row_y) = (steps * input, steps * hidden);
        let (x, h0) = (sample::rows(&x.host, row_x, &rows), sample::rows(&h0.host, hidden, &rows));
        let (weights, lengths) = ([reference_weights(weights)], vec![steps as u32; rows.len()]);
        let inputs = reference::GruInputs { x: &x, h0: &h0, lengths: &lengths, weights: &weights, mask: None };
        let expected = layer.forward(&inputs);
        let y = sample::some(&outputs[0], row_y, &rows, &expected.y);
        let hn = sample::some(&outputs[1], hidden, &rows, &expected.hn);
        let [_, _, d_x, d_h0, d_weights @ ..] = outputs else { return sample::worst([y, hn]) };
        let d_y: Vec<f64> = sample::rows(&upstream, row_y, &rows).into_iter().map(f64::from).collect();
        let expected = layer.backward(&inputs, &d_y, &vec![0.0; rows.len() * hidden]);
        let reference::GruWeights { weight_ih, weight_hh, bias_ih, bias_hh } = &expected.weights[0];
        let of_weights = d_weights.iter().zip([weight_ih, weight_hh, bias_ih, bias_hh]);
        sample::worst(of_weights.map(|(found, expected)| sample::whole(found, expected)).chain([
            y,
            hn,
            sample::sparse(d_x, row_x, &rows, &expected.x),
            sample::sparse(d_h0, hidden, &rows, &expected.h0),
        ]))
    })
}
