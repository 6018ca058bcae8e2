//! Layer normalisation and its RMS form of the activations of the small model.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    small_model::{ROWS, SIZE},
    typed,
};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    kernels::Step,
    reference::layer_norm::{LayerNorm, Norm},
};

const EPSILON: f32 = 1e-5;
const NORMS: [(&str, Norm); 2] = [("layer_norm", Norm::Layer), ("rms_norm", Norm::Rms)];

pub(super) fn workloads() -> Vec<Workload> {
    let of_norm = |(dtype, (name, norm)): (Dtype, (&'static str, Norm))| {
        Passes::ALL.map(|passes| {
            let key = format!("{name}/R{ROWS}_D{SIZE}/{}", passes.key());
            Workload::of(dtype, key, move |gpu| layer_norm(gpu, dtype, norm, passes))
        })
    };
    typed(&NORMS, &NORMS).flat_map(of_norm).collect()
}

fn layer_norm(gpu: &Gpu, dtype: Dtype, norm: Norm, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let x = problem.random(&[ROWS, SIZE], 4.0);
    let (gain, bias) = (problem.parameter(&[SIZE], 1.0), problem.parameter(&[SIZE], 1.0));
    let y = match norm {
        Norm::Layer => problem.graph.layer_norm(x.value, gain.value, Some(bias.value), EPSILON)?,
        Norm::Rms => problem.graph.rms_norm(x.value, gain.value, EPSILON)?,
    };
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        let parameters = [x.value, gain.value, bias.value];
        let wanted = if norm == Norm::Layer { &parameters[..] } else { &parameters[..2] };
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], wanted)?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = LayerNorm { rows: ROWS, columns: SIZE, norm, epsilon: f64::from(EPSILON) };
        let of_bias = (norm == Norm::Layer).then_some(bias.host.as_slice());
        let y = reference.forward(&x.host, &gain.host, of_bias);
        let gradients = reference.backward(&x.host, &gain.host, &d_y.host);
        let expected = [y, gradients.x, gradients.gain, gradients.bias];
        sample::worst(outputs.iter().zip(&expected).map(|(found, expected)| sample::whole(found, expected)))
    })
}
