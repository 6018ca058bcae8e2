//! W3: softmax over the last dimension.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes, typed,
};
use crate::{Gpu, Result, gpu::Dtype, kernels::Step, reference};

const SHAPES: [[usize; 2]; 2] = [[4096, 1024], [512, 30_000]];

/// Shapes that are measured in f16 too.
const HALF_SHAPES: [[usize; 2]; 1] = [[4096, 1024]];

pub(super) fn workloads() -> Vec<Workload> {
    let of_shape = |(dtype, [rows, columns]): (Dtype, [usize; 2])| {
        Passes::ALL.map(|passes| {
            // The figures of other systems are those of the forward alone, under the shape's own name.
            let suffix = if passes == Passes::Forward { String::new() } else { format!("/{}", passes.key()) };
            let key = format!("W3/{rows}x{columns}{suffix}");
            Workload::of(dtype, key, move |gpu| softmax(gpu, dtype, [rows, columns], passes))
        })
    };
    typed(&SHAPES, &HALF_SHAPES).flat_map(of_shape).collect()
}

fn softmax(gpu: &Gpu, dtype: Dtype, [rows, columns]: [usize; 2], passes: Passes) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let x = problem.random(&[rows, columns], 5.0);
    let y = problem.graph.softmax(x.value, None)?;
    let reference = reference::softmax::Softmax { rows, columns };
    match passes {
        Passes::Forward => problem.finish(&[y], Step::default(), move |outputs| {
            sample::whole(&outputs[0], &reference.forward(&x.host, None))
        }),
        Passes::Both => {
            let d_y = problem.random(&[rows, columns], 1.0);
            let d_x = problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?[0];
            problem.finish(&[y, d_x], Step::default(), move |outputs| {
                let y = reference.forward(&x.host, None);
                sample::worst([
                    sample::whole(&outputs[0], &y),
                    sample::whole(&outputs[1], &reference.backward(&y, &d_y.host)),
                ])
            })
        }
    }
}
