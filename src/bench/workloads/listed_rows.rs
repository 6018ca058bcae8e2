//! Rows of a few positions among 4,096, taken out and put back.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
};
use crate::{Gpu, Result, kernels::Step, reference::listed_rows as reference};

const STEPS: usize = 4096;
const LISTED: usize = 16;
const SIZE: usize = 512;

pub(super) fn workloads() -> Vec<Workload> {
    Passes::ALL
        .map(|passes| {
            let key = format!("listed_rows/B1_T{STEPS}_G{LISTED}_D{SIZE}/{}", passes.key());
            Workload::new(key, move |gpu| listed_rows(gpu, passes))
        })
        .into()
}

fn listed_rows(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let [base, upstream] = [(); 2].map(|()| problem.random(&[1, STEPS, SIZE], 1.0));
    let listed: Vec<u32> = (0..LISTED).map(|g| (g * 251) as u32).collect();
    let positions = problem.words(&[1, LISTED], &listed);
    let rows = problem.graph.listed_rows(base.value, positions)?;
    let put = problem.graph.put_listed_rows(base.value, rows, positions)?;
    let mut outputs = vec![rows, put];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(put, upstream.value)], &[base.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let rows = reference::ListedRows { batch: 1, steps: STEPS, listed: LISTED, size: SIZE };
        // What is put where it was taken changes nothing.
        let expected = [rows.forward(&base.host, &listed), base.host.clone(), upstream.host.clone()];
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
