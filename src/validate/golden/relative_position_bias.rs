//! Buckets of relative positions, and the bias of each query and key that they give.

use super::{File, GoldenRow};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{Graph, Program, ProgramOptions},
    kernels::{Step, relative_position_bias::PositionBuckets},
};

pub(super) fn relative_position_bias(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let bidirectional = file.setting("bidirectional", true)?;
    let mut rows = buckets(file, bidirectional)?;
    let [count, heads] = file.shape("param.table")?;
    let [_, queries, keys] = file.shape("out.bias")?;
    let buckets = PositionBuckets { count, bidirectional, farthest: file.setting("max_distance", 128)? };
    let mut graph = Graph::new();
    let table = file.value(&mut graph, "param.table")?;
    let bias = graph.relative_position_bias(table, buckets, [queries, keys])?;
    let upstream = graph.input("upstream", [heads, queries + keys - 1], Dtype::F32);
    let [d_table] = graph.gradients_from(&[(bias, upstream)], &[table])?[..] else {
        unreachable!("one value makes one gradient")
    };
    let outputs = [bias, d_table];
    let options = ProgramOptions { label: file.stem.clone(), outputs: &outputs, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options)?;
    let narrow = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<_>>();
    program.write("param.table", &narrow(&file.float("param.table")?.1))?;
    // The file has a bias for each query and key; those of one distance are one here, and their gradients add up.
    let diagonal = |at: usize| {
        let (head, t, s) = (at / (queries * keys), at / keys % queries, at % keys);
        head * (queries + keys - 1) + s + queries - 1 - t
    };
    let mut sums = vec![0.0; heads * (queries + keys - 1)];
    for (at, d) in file.float("up.bias")?.1.iter().enumerate() {
        if let Some(sum) = sums.get_mut(diagonal(at)) {
            *sum += d;
        }
    }
    program.write("upstream", &narrow(&sums))?;
    program.run(Step::default())?;
    let by_distance: Vec<f32> = program.read(bias)?;
    let expected = &file.float("out.bias")?.1;
    let found: Vec<f32> = (0..expected.len()).filter_map(|at| by_distance.get(diagonal(at)).copied()).collect();
    rows.push(file.row("out.bias", &found, expected));
    let d_table: Vec<f32> = program.read(d_table)?;
    rows.push(file.row("grad.table", &d_table, &file.float("grad.table")?.1));
    Ok(rows)
}

/// The tensors `out.buckets_COUNT_FARTHEST`, which must be equal.
fn buckets(file: &File, bidirectional: bool) -> Result<Vec<GoldenRow>> {
    let distances = &file.integer("in.distances")?.1;
    let mut rows = Vec::new();
    for (name, (_, wanted)) in &file.integers {
        let Some((count, farthest)) = name.strip_prefix("out.buckets_").and_then(|sizes| sizes.split_once('_')) else {
            continue;
        };
        let number = |text: &str| text.parse().map_err(|_| file.wrong(&format!("tensor `{name}` has no such sizes")));
        let buckets = PositionBuckets { count: number(count)?, bidirectional, farthest: number(farthest)? };
        // Words of I32.
        let found: Vec<f32> =
            distances.iter().map(|distance| buckets.bucket(i64::from(*distance as i32)) as f32).collect();
        let wanted: Vec<f64> = wanted.iter().map(|bucket| f64::from(*bucket)).collect();
        rows.push(file.row(name, &found, &wanted));
    }
    rows.sort_by(|one, other| one.tensor.cmp(&other.tensor));
    Ok(rows)
}
