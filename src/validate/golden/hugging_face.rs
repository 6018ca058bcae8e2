//! Models that Hugging Face's own classes computed: their configuration is in the file's metadata, and their tensors have the names
//! of its checkpoints.

use super::{
    File, GoldenRow, among,
    generated::{Begun, by_passes, by_steps},
    model::{Outputs, fill, forward, step},
};
use crate::{
    Gpu, Result,
    batch::{Batch, BatchShape},
    model::{Import, Limits, Network, zeros},
};

/// The label of a position that nothing is to be predicted for, as the file's signed numbers are read here.
const UNLABELLED: u32 = -100_i32 as u32;

pub(super) fn hugging_face(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let config = file.metadata.get("config").ok_or_else(|| file.wrong("has no configuration in its metadata"))?;
    let network = Import::of(config, &file.path)?.network(config, &file.path)?;
    let limits = network.limits();
    let batch = batch(file, &limits)?;
    let parameters = zeros(gpu, &network.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let Outputs { logits, .. } = forward(file, gpu, network.as_ref(), &parameters, &batch)?;
    let mut found = outputs(file, logits, &batch)?;
    if file.integers.contains_key("out.generated") {
        let texts = begun(file, &network)?;
        found.push(by_passes(file, gpu, &network, &parameters, &texts)?);
        // A search begins texts itself.
        if texts.iter().all(|text| !text.source.is_empty()) {
            found.push(by_steps(file, gpu, &network, &parameters, &texts)?);
        }
    }
    // Last: a step changes the parameters.
    found.extend(step(file, gpu, network, &parameters, &batch)?);
    Ok(found)
}

/// A column of labels, or of tokens that have none.
fn labels(file: &File, name: &str, limits: &Limits) -> Result<Vec<u32>> {
    let labels = &file.integer(name)?.1;
    if labels.is_empty() {
        return Err(file.wrong(&format!("tensor `{name}` is empty")));
    }
    Ok(labels.iter().map(|label| if *label == UNLABELLED { limits.padding } else { *label }).collect())
}

/// The rows' lengths.
pub(super) fn lengths(file: &File, steps: usize) -> Result<Vec<u32>> {
    Ok(file
        .integer("in.attention_mask")?
        .1
        .chunks(steps)
        .map(|row| row.iter().filter(|real| **real == 1).count() as u32)
        .collect())
}

/// Each row one place to the left, with padding behind it.
fn shifted(labels: &[u32], steps: usize, padding: u32) -> Vec<u32> {
    labels.chunks(steps).flat_map(|row| row.iter().skip(1).copied().chain([padding])).collect()
}

/// The file's tokens and labels.
pub(super) fn batch(file: &File, limits: &Limits) -> Result<Batch> {
    let ([rows, steps], padding) = (file.shape("in.input_ids")?, limits.padding);
    let tokens = file.integer("in.input_ids")?.1.clone();
    let filler = |target| Batch::filler(BatchShape { rows, source: steps, target }, limits.specials);
    let mut batch;
    if file.integers.contains_key("in.decoder_input_ids") {
        let [_, target] = file.shape("in.decoder_input_ids")?;
        batch = filler(target);
        batch.target_in = file.integer("in.decoder_input_ids")?.1.clone();
        batch.target_out = labels(file, "in.labels", limits)?;
    } else if file.metadata.get("model").is_some_and(|model| model.contains("LMHead")) {
        batch = Batch::filler(BatchShape { rows, source: 0, target: steps }, limits.specials);
        batch.target_in = tokens;
        batch.target_out = shifted(&labels(file, "in.labels", limits)?, steps, padding);
        batch.target_tokens = batch.target_out.iter().filter(|token| **token != padding).count();
        batch.target_lengths = lengths(file, steps)?;
        return Ok(batch);
    } else if file.integers.contains_key("in.start_positions") {
        batch = filler(2);
        let ends = ["in.start_positions", "in.end_positions"].map(|name| file.integer(name));
        let [start, end] = ends;
        batch.target_out = start?.1.iter().zip(&end?.1).flat_map(|(start, end)| [*start, *end]).collect();
    } else {
        let labelled = labels(file, "in.labels", limits)?;
        batch = filler(labelled.len() / rows);
        batch.target_out = labelled;
    }
    batch.source = tokens;
    batch.lengths = lengths(file, steps)?;
    if let Some((_, marks)) = file.integers.get("in.global_attention_mask") {
        for (row, marks) in marks.chunks(steps).enumerate() {
            let marked = (0..).zip(marks).filter(|(_, mark)| **mark == 1);
            batch.put_globals(row, &marked.map(|(position, _)| position).collect::<Vec<_>>())?;
        }
    }
    if let Some((_, segments)) = file.integers.get("in.token_type_ids") {
        batch.segments.clone_from(segments);
    }
    batch.target_tokens = batch.target_out.iter().filter(|token| **token != padding).count();
    Ok(batch)
}

/// The logits where they mean something: where what is read is not padding.
pub(super) fn outputs(file: &File, logits: Vec<f32>, batch: &Batch) -> Result<Vec<GoldenRow>> {
    let read = match file.integers.get("in.attention_mask") {
        Some((_, mask)) if !file.integers.contains_key("in.decoder_input_ids") => mask.clone(),
        _ => vec![1; batch.target_out.len()],
    };
    let row = |name: &str, values: Vec<f32>, kept: Vec<bool>| {
        let (values, reference) = among(values, &file.float(name)?.1, kept.into_iter());
        Ok(file.row(name, &values, &reference))
    };
    let steps = batch.shape.source;
    if file.floats.contains_key("out.start_logits") {
        // [B, 2, S]: starts and ends of each row.
        let each = ["out.start_logits", "out.end_logits"].into_iter().enumerate();
        let kept: Vec<_> = read.iter().map(|real| *real == 1).collect();
        return each
            .map(|(place, name)| {
                let rows = logits.chunks(steps).skip(place).step_by(2);
                row(name, rows.flatten().copied().collect(), kept.clone())
            })
            .collect();
    }
    let places = batch.target_out.len();
    let width = logits.len() / places;
    // A class is that of a whole text.
    let real = |place: usize| read.len() != places || read.get(place) == Some(&1);
    let kept = (0..places).flat_map(|place| std::iter::repeat_n(real(place), width)).collect();
    Ok(vec![row("out.logits", logits, kept)?])
}

/// Each row's own tokens, or its own source with nothing yet.
fn begun(file: &File, network: &Network) -> Result<Vec<Begun>> {
    let [_, steps] = file.shape("in.input_ids")?;
    let lengths = lengths(file, steps)?;
    if file.integers.contains_key("in.decoder_input_ids") {
        return Begun::translations(file, "in.input_ids", &lengths, network);
    }
    let rows = file.integer("in.input_ids")?.1.chunks(steps).zip(lengths);
    let text = |(row, length): (&[u32], u32)| row.iter().copied().take(length as usize).collect();
    Ok(rows.map(|row| Begun { source: vec![], text: text(row) }).collect())
}
