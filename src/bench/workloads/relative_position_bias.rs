//! The biases of T5's 32 buckets, for 512 queries and keys.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
};
use crate::{
    Gpu, Result,
    kernels::{Step, relative_position_bias::PositionBuckets},
    reference::relative_position_bias as reference,
};

const HEADS: usize = 8;
const STEPS: usize = 512;
const BUCKETS: PositionBuckets = PositionBuckets { count: 32, bidirectional: true, farthest: 128 };

pub(super) fn workloads() -> Vec<Workload> {
    let of_passes = |passes: Passes| {
        let key = format!("relative_position_bias/h{HEADS}_T{STEPS}_S{STEPS}/{}", passes.key());
        Workload::new(key, move |gpu| relative_position_bias(gpu, passes))
    };
    Passes::ALL.map(of_passes).into()
}

fn relative_position_bias(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let PositionBuckets { count, bidirectional, farthest } = BUCKETS;
    let table = problem.parameter(&[count, HEADS], 1.0);
    let bias = problem.graph.relative_position_bias(table.value, BUCKETS, [STEPS; 2])?;
    let upstream = problem.parameter(&[HEADS, 2 * STEPS - 1], 1.0);
    let mut outputs = vec![bias];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(bias, upstream.value)], &[table.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let (queries, keys, buckets) = (STEPS, STEPS, count);
        let reference =
            reference::RelativePositionBias { buckets, bidirectional, farthest, heads: HEADS, queries, keys };
        let wanted = [reference.forward(&table.host), reference.backward(&upstream.host)];
        sample::worst(outputs.iter().zip(wanted).map(|(found, expected)| sample::whole(found, &expected)))
    })
}
