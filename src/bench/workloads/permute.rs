//! Heads before steps, and columns before rows, of the activations of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    small_model::{BATCH, SIZE, STEPS},
    typed,
};
use crate::{Gpu, Result, gpu::Dtype, kernels::Step, reference::permute::Permute};

const HEADS: usize = 8;
const ORDERS: [(&str, [usize; 4]); 2] = [("heads", [0, 2, 1, 3]), ("columns", [0, 2, 3, 1])];

pub(super) fn workloads() -> Vec<Workload> {
    let of_order = |(dtype, (name, order)): (Dtype, (&'static str, [usize; 4]))| {
        let key = format!("permute/{name}_B{BATCH}_T{STEPS}_N{HEADS}_D{}", SIZE / HEADS);
        Workload::of(dtype, key, move |gpu| permute(gpu, dtype, order))
    };
    typed(&ORDERS, &ORDERS).map(of_order).collect()
}

fn permute(gpu: &Gpu, dtype: Dtype, order: [usize; 4]) -> Result<Subject> {
    let extents = [BATCH, STEPS, HEADS, SIZE / HEADS];
    let mut problem = Problem::of(gpu, dtype);
    let x = problem.random(&extents, 1.0);
    let y = problem.graph.permute(x.value, &order)?;
    problem.finish(&[y], Step::default(), move |outputs| {
        sample::whole(&outputs[0], &Permute { extents, order }.forward(&x.host))
    })
}
