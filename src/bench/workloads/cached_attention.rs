//! One token's attention over 512 earlier ones, with the heads of GPT-2.

use super::super::{Subject, Work, Workload, sample};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
    kernels::{
        cached_attention::{Cache, CachedAttention},
        matmul::Matrix,
    },
    reference::cached_attention as reference,
    validate::widen,
};

/// Rows, heads, size of a head and positions.
const SHAPES: [[usize; 4]; 2] = [[1, 12, 64, 512], [8, 12, 64, 512]];

pub(super) fn workloads() -> Vec<Workload> {
    let of_shape = |shape: [usize; 4]| {
        let [rows, heads, size, capacity] = shape;
        let key = format!("cached_attention/R{rows}_h{heads}_D{size}_S{capacity}");
        Workload::new(key, move |gpu| cached_attention(gpu, shape))
    };
    SHAPES.map(of_shape).into()
}

fn cached_attention(gpu: &Gpu, [rows, heads, size, capacity]: [usize; 4]) -> Result<Subject> {
    let width = heads * size;
    let scale = 1.0 / (size as f32).sqrt();
    let attention = CachedAttention { rows, heads, size, capacity, scale, segments: None };
    let wave = |count: usize, step: f32| (0..count).map(|at| (at as f32 * step).sin()).collect::<Vec<_>>();
    let query = wave(rows * width, 0.7);
    let [key, value] = [0.9, 1.1].map(|step| wave(rows * capacity * width, step));
    let origins: Vec<u32> = (0..rows * capacity).map(|at| (at / capacity) as u32).collect();
    let floats = |shape: &[usize], values: &[f32]| gpu.tensor("bench", shape, Dtype::F32, values);
    let words = |shape: &[usize], values: &[u32]| gpu.tensor("bench", shape, Dtype::U32, values);
    let query_gpu = floats(&[rows, width], &query)?;
    let (key_gpu, value_gpu) = (floats(&[rows, capacity, width], &key)?, floats(&[rows, capacity, width], &value)?);
    let scratch = floats(&[attention.scratch()], &vec![f32::NAN; attention.scratch()])?;
    let context = floats(&[rows, width], &vec![f32::NAN; rows * width])?;
    let cache = Cache {
        key: &key_gpu,
        value: &value_gpu,
        origins: &words(&[rows, capacity], &origins)?,
        starts: &words(&[rows], &vec![capacity as u32 - 1; rows])?,
        counter: &words(&[1], &[0])?,
        step: 0,
    };
    let mut recorder = Recorder::new(gpu, "bench");
    attention.record(&mut recorder, Matrix::rows(&query_gpu), None, &cache, [&scratch, &context])?;
    let (work, gpu) = (Work::Recording(recorder.finish()?), gpu.clone());
    let bytes = scratch.bytes();
    let check = move |work: &mut Work| {
        work.run(&gpu)?;
        let reference =
            reference::CachedAttention { rows, heads, size, capacity, scale: f64::from(scale), segments: None };
        let wanted = reference.forward(&reference::CachedInputs {
            query: &widen(&query),
            key: &widen(&key),
            value: &widen(&value),
            origins: &origins,
            positions: &vec![capacity - 1; rows],
            bias: None,
        });
        Ok(sample::whole(&gpu.read_floats(&context)?, &wanted))
    };
    let tolerance = super::tolerance(Dtype::F32);
    Ok(Subject { work, check: Box::new(check), tolerance, operations: None, tokens: None, scratch: bytes, label: None })
}
