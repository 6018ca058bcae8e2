//! The model with adaptive spans over two consecutive segments.

use super::{
    File, GoldenRow,
    model::fill,
    segments::{Case, Nodes, Text},
};
use crate::{
    Gpu, Result,
    graph::{SpanQueries, Value},
    model::{
        Architecture as _, Layers,
        adaptive_span::{AdaptiveSpan, Config, Weighed},
        zeros,
    },
};

fn config(file: &File) -> Result<Config> {
    let [vocabulary, hidden] = file.shape("param.embedding.weight")?;
    let [feed_forward, _] = file.shape("param.layers.0.fc1.weight")?;
    let layers = (0..).take_while(|layer| file.floats.contains_key(&format!("param.layers.{layer}.span"))).count();
    let default = Config::new(vocabulary);
    Ok(Config {
        hidden,
        heads: file.setting("heads", default.heads)?,
        feed_forward,
        layers,
        span_limit: file.setting("span_limit", default.span_limit)?,
        ramp: file.setting("ramp", default.ramp)?,
        span_penalty: file.setting("lambda", default.span_penalty)?,
        ..default
    })
}

/// The tokens of a segment of `in.tokens` `[B, 2 T + 1]`, each of which predicts the next.
fn text(tokens: &[u32], segment: usize, steps: usize) -> Text {
    let from = |start: usize| -> Vec<u32> {
        tokens.chunks(2 * steps + 1).flat_map(|row| row.iter().skip(start).take(steps).copied()).collect()
    };
    Text { tokens: from(segment * steps), targets: from(segment * steps + 1) }
}

/// The weight of each key, `[B, T, N·W]` with W at least S: the contexts of values that tell keys apart. Queries and keys get as many
/// features more, of zeros.
fn weights(layers: &mut Layers, weighed: &Weighed) -> Result<Value> {
    let Weighed { queries, key, position } = *weighed;
    let graph = &mut layers.graph;
    let extent = |dims: &[usize], at: usize| dims.get(at).copied().unwrap_or(0);
    let (rows, keys) = (extent(graph.dims(key), 0), extent(graph.dims(key), 1));
    let (heads, size) = (extent(graph.dims(queries.spans), 0), extent(graph.dims(position), 1));
    let wide = size.max(keys);
    let mut widened = |x: Value, heads: usize| {
        let (steps, dims) = (graph.shape(x).elements() / size, graph.dims(x).to_vec());
        let mut x = graph.reshape(x, [steps, size])?;
        if wide > size {
            let zeros = graph.filled([steps, wide - size], 0.0);
            x = graph.concatenate(&[x, zeros])?;
        }
        let leading = dims.split_last().map_or(&[][..], |(_, leading)| leading);
        graph.reshape(x, [leading, &[heads * wide]].concat().as_slice())
    };
    let (query, key, position) = (widened(queries.query, heads)?, widened(key, heads)?, widened(position, 1)?);
    let which = (0..rows * keys * heads * wide).map(|at| {
        let of = at / (heads * wide) % keys;
        if at % wide == of { 1.0 } else { 0.0 }
    });
    let values = graph.constant([rows, keys, heads * wide], which.collect())?;
    graph.span_attention(SpanQueries { query, ..queries }, [key, values], position)
}

/// The weights `[B, N, T, L]` by distance, from those of keys `[B, T, N·W]`, the last T of which are at the queries' own places.
fn by_distance(weights: &[f32], [rows, steps, heads, limit]: [usize; 4]) -> Vec<f32> {
    let wide = weights.len() / (rows * steps * heads);
    let mut found = Vec::new();
    for (b, n) in (0..rows).flat_map(|b| (0..heads).map(move |n| (b, n))) {
        for t in 0..steps {
            let of_query = weights.iter().skip(((b * steps + t) * heads + n) * wide);
            // The key at distance L, then those up to distance 1.
            let mut seen: Vec<f32> = of_query.skip(t).take(limit).copied().collect();
            seen.reverse();
            found.extend(seen);
        }
    }
    found
}

pub(super) fn adaptive_span(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let config = config(file)?;
    let Config { layers, span_limit, hidden, heads, .. } = config;
    let model = AdaptiveSpan::new(config)?;
    let parameters = zeros(gpu, &model.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let segment = |layers: &mut Layers, tokens, memory: &[Value]| {
        let words = model.embed(layers, tokens)?;
        let (made, weighed) = model.weighed(layers, words, memory)?;
        let logits = model.logits(layers, made.states)?;
        let others = weighed.iter().map(|layer| weights(layers, layer)).collect::<Result<_>>()?;
        Ok(Nodes { logits, memory: made.memory, others })
    };
    let case = Case { file, gpu, network: model.as_ref(), segment: &segment, parameters: &parameters, hidden };
    let first = |rows: usize| vec![vec![0.0; rows * span_limit * hidden]; layers];
    let [rows, both] = file.shape("in.tokens")?;
    let (tokens, steps) = (&file.integer("in.tokens")?.1, both / 2);
    let texts = [0, 1].map(|segment| text(tokens, segment, steps));
    let (both, gradients) = case.segments([rows, steps], texts, first(rows))?;
    let mut found = gradients;
    for (segment, one) in both.iter().enumerate() {
        let name = format!("out.logits.{segment}");
        found.push(file.row(&name, &one.logits, &file.float(&name)?.1));
        for (layer, weights) in one.others.iter().enumerate() {
            let name = format!("out.weights.{segment}.{layer}");
            let weights = by_distance(weights, [rows, steps, heads, span_limit]);
            found.push(file.row(&name, &weights, &file.float(&name)?.1));
        }
    }
    for (layer, values) in both.iter().take(1).flat_map(|one| one.memory.iter().enumerate()) {
        let name = format!("out.memory.{layer}");
        found.push(file.row(&name, values, &file.float(&name)?.1));
    }
    found.push(case.losses("out.loss", both.iter().flat_map(|one| one.loss.iter().copied()))?);
    found.push(case.losses("out.nll", both.iter().flat_map(|one| one.nll.iter().copied()))?);
    found.push(case.generated(&text(tokens, 0, steps).tokens, steps, &first(1))?);
    Ok(found)
}
