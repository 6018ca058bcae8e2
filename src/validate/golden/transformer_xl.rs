//! Transformer-XL over two consecutive segments.

use super::{
    File, GoldenRow,
    model::fill,
    narrow,
    segments::{Case, NONE, Nodes, Text},
};
use crate::{
    Gpu, Result,
    graph::Value,
    model::{
        Architecture as _, Import, Layers,
        transformer_xl::{Config, TransformerXl},
        zeros,
    },
};

/// The logarithms of the probabilities of `classes` that logits give.
fn logarithms(logits: &[f32], classes: usize) -> Vec<f32> {
    let of_row = |row: &[f32]| -> Vec<f64> {
        let total: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        row.iter().map(|logit| f64::from(*logit) - total.ln()).collect()
    };
    narrow(&logits.chunks(classes).flat_map(of_row).collect::<Vec<_>>())
}

/// Each token predicts the next of its segment.
fn text(file: &File, segment: usize, steps: usize) -> Result<Text> {
    let tokens = file.integer(&format!("in.input_ids.{segment}"))?.1.clone();
    let targets = tokens.chunks(steps).flat_map(|row| row.iter().skip(1).copied().chain([NONE])).collect();
    Ok(Text { tokens, targets })
}

pub(super) fn transformer_xl(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let config = file.metadata.get("config").ok_or_else(|| file.wrong("has no configuration in its metadata"))?;
    let network = Import::of(config, &file.path)?.network(config, &file.path)?;
    let config: Config = serde_json::from_str(&network.config()?).map_err(|error| file.wrong(&error.to_string()))?;
    let Config { layers, memory, hidden, vocabulary, .. } = config;
    let model = TransformerXl::new(config)?;
    let parameters = zeros(gpu, &model.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let segment = |layers: &mut Layers, tokens, memory: &[Value]| {
        let words = model.embed(layers, tokens)?;
        let made = model.segment(layers, words, memory)?;
        let logits = model.logits(layers, made.states)?;
        Ok(Nodes { logits, memory: made.memory, others: vec![] })
    };
    let case = Case { file, gpu, network: model.as_ref(), segment: &segment, parameters: &parameters, hidden };
    // What the first segment of some rows remembers: zeros, or nothing.
    let first = |rows: usize| match file.metadata.get("first_memory") {
        Some(first) if first == "empty" => vec![],
        _ => vec![vec![0.0; rows * memory * hidden]; layers],
    };
    let [rows, steps] = file.shape("in.input_ids.0")?;
    let texts = [text(file, 0, steps)?, text(file, 1, steps)?];
    let (both, gradients) = case.segments([rows, steps], texts, first(rows))?;
    let mut found = gradients;
    for (segment, one) in both.iter().enumerate() {
        let name = format!("out.log_probs.{segment}");
        found.push(file.row(&name, &logarithms(&one.logits, vocabulary), &file.float(&name)?.1));
    }
    for (layer, values) in both.iter().take(1).flat_map(|one| one.memory.iter().enumerate()) {
        let name = format!("out.mems.{layer}");
        found.push(file.row(&name, values, &file.float(&name)?.1));
    }
    found.push(case.losses("out.loss", both.iter().flat_map(|one| one.loss.iter().copied()))?);
    found.push(case.generated(&file.integer("in.input_ids.0")?.1, steps, &first(1))?);
    Ok(found)
}
