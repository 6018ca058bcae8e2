//! Attention that models of the family have, by itself: with relative positions, over spans, within chunks, and to a cache.

use super::{File, GoldenRow, narrow};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
    graph::{Buckets, ChunkedAttention, Graph, RelativeQueries, SpanQueries, Value},
    kernels::{
        cached_attention::{Bias, Cache, CachedAttention},
        dot_product_attention::standard_scale,
        matmul::Matrix,
    },
};

/// The inputs of a case by name.
type Inputs<const N: usize> = [(String, Value); N];

fn inputs<const N: usize>(file: &File, graph: &mut Graph, names: [&str; N]) -> Result<Inputs<N>> {
    let mut inputs = Vec::new();
    for name in names {
        inputs.push((name.to_owned(), file.value(graph, name)?));
    }
    Ok(inputs.try_into().unwrap_or_else(|_| unreachable!("an input for each name")))
}

fn compare<const N: usize>(
    file: &File,
    gpu: &Gpu,
    mut graph: Graph,
    context: Value,
    inputs: &Inputs<N>,
) -> Result<Vec<GoldenRow>> {
    let upstream = [(context, file.value(&mut graph, "up.context")?)];
    file.compare(gpu, graph, &[("out.context", context)], &upstream, inputs)
}

pub(super) fn relative_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let inputs = inputs(file, &mut graph, ["in.queries", "in.key", "in.value", "in.relative"])?;
    let [queries, key, value, relative] = inputs.each_ref().map(|(_, value)| *value);
    let lengths = file.value(&mut graph, "in.lengths")?;
    let ([_, width], heads) = (file.shape("in.relative")?, file.setting("heads", 1_usize)?);
    let asked = RelativeQueries { queries, heads, scale: standard_scale(width / heads.max(1)) };
    let context = graph.relative_attention(asked, [key, value], relative, lengths)?;
    compare(file, gpu, graph, context, &inputs)
}

pub(super) fn span_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let inputs = inputs(file, &mut graph, ["in.query", "in.key", "in.value", "in.position", "in.spans"])?;
    let [query, key, value, position, spans] = inputs.each_ref().map(|(_, value)| *value);
    let [_, size] = file.shape("in.position")?;
    let asked = SpanQueries { query, spans, ramp: file.setting("ramp", 1.0)?, scale: standard_scale(size) };
    let context = graph.span_attention(asked, [key, value], position)?;
    compare(file, gpu, graph, context, &inputs)
}

pub(super) fn lsh_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let inputs = inputs(file, &mut graph, ["in.query", "in.value"])?;
    let [query, value] = inputs.each_ref().map(|(_, value)| *value);
    let count = file.setting("buckets", 1)?;
    if file.integer("in.buckets")?.1.iter().any(|bucket| *bucket as usize > count) {
        return Err(file.wrong(&format!("`in.buckets` has numbers past {count}, the one of padding")));
    }
    let [lengths, numbers] = ["in.lengths", "in.buckets"].map(|name| file.value(&mut graph, name));
    let attention = ChunkedAttention {
        query,
        key: None,
        value,
        lengths: lengths?,
        buckets: Some(Buckets { numbers: numbers?, count }),
        heads: file.setting("heads", 1)?,
        chunk: file.setting("chunk", 1)?,
        before: file.setting("before", 1)?,
        after: file.setting("after", 0)?,
        causal: file.setting("causal", false)?,
        padding: None,
        dropout: 0.0,
    };
    let context = graph.lsh_attention(&attention)?;
    compare(file, gpu, graph, context, &inputs)
}

pub(super) fn cached_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let ([rows, capacity, width], heads) = (file.shape("in.key")?, file.setting("heads", 1_usize)?);
    let size = width / heads.max(1);
    let attention = CachedAttention { rows, heads, size, capacity, scale: standard_scale(size), segments: None };
    let floats = |name: &str| {
        let (shape, values) = file.float(name)?;
        gpu.tensor(name, shape.as_slice(), Dtype::F32, &narrow(values))
    };
    // What a search counts is within the caches.
    let integers = |name: &str, end: usize| {
        let (shape, values) = file.integer(name)?;
        match values.iter().all(|value| (*value as usize) < end) {
            true => gpu.tensor(name, shape.as_slice(), Dtype::U32, values),
            false => Err(file.wrong(&format!("`{name}` has numbers past {}", end - 1))),
        }
    };
    let (query, key, value, bias) = (floats("in.query")?, floats("in.key")?, floats("in.value")?, floats("in.bias")?);
    let (origins, starts) = (integers("in.origins", rows)?, integers("in.positions", capacity)?);
    let counter = gpu.tensor("counter", [1], Dtype::U32, &[0_u32])?;
    let cache = Cache { key: &key, value: &value, origins: &origins, starts: &starts, counter: &counter, step: 0 };
    let scratch = gpu.zeros("scratch", [attention.scratch()], Dtype::F32)?;
    let context = gpu.zeros("context", [rows, width], Dtype::F32)?;
    let mut recorder = Recorder::new(gpu, file.stem.clone());
    let bias = Some(Bias::OfHeads(&bias));
    attention.record(&mut recorder, Matrix::rows(&query), bias, &cache, [&scratch, &context])?;
    gpu.wait(Some(recorder.finish()?.submit(0)?))?;
    Ok(vec![file.row("out.context", &gpu.read_floats(&context)?, &file.float("out.context")?.1)])
}
