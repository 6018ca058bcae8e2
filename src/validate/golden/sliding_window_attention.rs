//! Attention within a window, with global positions.

use super::{File, GoldenRow, among, narrow};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{Graph, MultiHeadAttention, Program, ProgramOptions, Window},
    kernels::Step,
};

/// The file has heads apart; attention reads them side by side.
const SIDE_BY_SIDE: [usize; 4] = [0, 2, 1, 3];

pub(super) fn sliding_window_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    const NAMES: [&str; 4] = ["in.query", "in.keys", "in.values", "up.context"];
    let [batch, heads, steps, size] = file.shape("in.query")?;
    let lengths = &file.integer("in.lengths")?.1;
    let marked = file.integer("in.global")?.1.chunks(steps);
    let lists = marked.map(|row| (0..steps as u32).zip(row).filter(|(_, mark)| **mark == 1).map(|(at, _)| at));
    let lists: Vec<Vec<u32>> = lists.map(Iterator::collect).collect();
    let most = lists.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let fill =
        |list: &Vec<u32>| list.iter().copied().chain(std::iter::repeat(steps as u32)).take(most).collect::<Vec<_>>();
    let positions: Vec<u32> = lists.iter().flat_map(fill).collect();

    let mut graph = Graph::new();
    let apart = NAMES.map(|name| graph.input(name, [batch, heads, steps, size], Dtype::F32));
    let lengths_value = graph.input("lengths", [batch], Dtype::U32);
    let globals = Some(graph.input("globals", [batch, most], Dtype::U32));
    let mut beside = Vec::new();
    for value in apart {
        let permuted = graph.permute(value, &SIDE_BY_SIDE)?;
        beside.push(graph.reshape(permuted, [batch, steps, heads * size])?);
    }
    let [query, key, value, upstream] = beside[..] else { unreachable!("four names make four values") };
    let attention = MultiHeadAttention {
        causal: file.setting("causal", false)?,
        window: Some(Window { globals, ..Window::of(file.setting("window", 1)?) }),
        ..MultiHeadAttention::new(query, key, value, lengths_value, heads)
    };
    let context = graph.multi_head_attention(&attention)?.context;
    let mut outputs = graph.gradients_from(&[(context, upstream)], &apart[..3])?;
    let split = graph.reshape(context, [batch, steps, heads, size])?;
    let context = graph.permute(split, &SIDE_BY_SIDE)?;
    outputs.push(context);
    let options = ProgramOptions { label: file.stem.clone(), outputs: &outputs, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options)?;
    for name in NAMES {
        program.write(name, &narrow(&file.float(name)?.1))?;
    }
    program.write("lengths", lengths)?;
    program.write("globals", &positions)?;
    program.run(Step::default())?;
    let mut rows = Vec::new();
    for (name, value) in ["grad.query", "grad.keys", "grad.values"].into_iter().zip(&outputs) {
        let found: Vec<f32> = program.read(*value)?;
        rows.push(file.row(name, &found, &file.float(name)?.1));
    }
    // What a query past its sequence's end sees is nobody's business.
    let of_batch = heads * steps * size;
    let real = |at: usize| lengths.get(at / of_batch).is_some_and(|length| at / size % steps < *length as usize);
    let found: Vec<f32> = program.read(context)?;
    let (found, expected) = among(found, &file.float("out.context")?.1, (0..batch * of_batch).map(real));
    rows.push(file.row("out.context", &found, &expected));
    Ok(rows)
}
