//! Reformer: as other models of Hugging Face's, but by the file's own directions of hashes; and each token that it goes on with is that of
//! a pass of its own, since positions are sorted anew with every token.

use std::sync::Arc;

use super::{
    File, GoldenRow, among,
    hugging_face::{batch, lengths, outputs},
    model::{Outputs, fill, forward, step},
    narrow,
};
use crate::{
    Gpu, Result,
    batch::{Batch, BatchShape},
    gpu::Dtype,
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{
        Architecture as _, Import, Layers,
        reformer::{AttentionKind, Config, Encoded, Reformer},
        zeros,
    },
};

/// A model, and the layers that hash.
struct Case<'a> {
    file: &'a File,
    gpu: &'a Gpu,
    model: Arc<Reformer>,
    config: Config,
    hashing: Vec<usize>,
    parameters: Parameters,
}

impl<'a> Case<'a> {
    fn new(file: &'a File, gpu: &'a Gpu) -> Result<Self> {
        let config = file.metadata.get("config").ok_or_else(|| file.wrong("has no configuration in its metadata"))?;
        let network = Import::of(config, &file.path)?.network(config, &file.path)?;
        let config: Config =
            serde_json::from_str(&network.config()?).map_err(|error| file.wrong(&error.to_string()))?;
        let layers = config.attention.iter().enumerate();
        let hashing: Vec<_> = layers.filter(|(_, kind)| **kind == AttentionKind::Lsh).map(|(layer, _)| layer).collect();
        let directions = hashing.iter().map(|layer| Ok(narrow(&file.float(&format!("in.rotations.{layer}"))?.1)));
        let model = Reformer::new(config.clone())?.hashing_by(directions.collect::<Result<_>>()?);
        let parameters = zeros(gpu, &model.parameters())?;
        fill(file, gpu, &parameters, "param")?;
        Ok(Self { file, gpu, model, config, hashing, parameters })
    }

    /// The second stream's states where they are no padding's, and the buckets.
    fn encoded(&self, batch: &Batch) -> Result<Vec<GoldenRow>> {
        let Self { file, ref config, .. } = *self;
        let BatchShape { rows, target: steps, .. } = batch.shape;
        let mut layers = Layers::new();
        let tokens = layers.graph.input("target_in", [rows, steps], Dtype::U32);
        let lengths = layers.graph.input("target_lengths", [rows], Dtype::U32);
        let Encoded { hidden, buckets, .. } = self.model.encode(&mut layers, tokens, lengths)?;
        let kept = [hidden.as_slice(), &buckets].concat();
        let options = ProgramOptions {
            label: file.stem.clone(),
            parameters: Some(&self.parameters),
            outputs: &kept,
            ..ProgramOptions::default()
        };
        let mut program = Program::compile(self.gpu, &layers.graph, &options)?;
        program.stage(batch)?;
        program.run(Step::default())?;
        let mut found = Vec::new();
        for (layer, value) in hidden.into_iter().enumerate() {
            let (name, width) = (format!("out.hidden_states.{layer}"), steps * config.hidden);
            let real = |at: usize| {
                batch.target_lengths.get(at / width).is_some_and(|length| at % width < *length as usize * config.hidden)
            };
            let states: Vec<f32> = program.read(value)?;
            let places = (0..states.len()).map(real);
            let (states, expected) = among(states, &file.float(&name)?.1, places);
            found.push(file.row(&name, &states, &expected));
        }
        // Hugging Face counts the buckets of all hashes on, and that of padding only where there is any.
        let is_padded = batch.target_lengths.iter().any(|length| (*length as usize) < steps);
        let each = config.buckets.iter().product::<usize>() + usize::from(is_padded);
        for (layer, value) in self.hashing.iter().zip(buckets) {
            let name = format!("out.buckets.{layer}");
            let numbers: Vec<u32> = program.read(value)?;
            let numbers = numbers.iter().enumerate();
            let numbered: Vec<_> =
                numbers.map(|(at, number)| (at / steps % config.hashes * each) as f32 + *number as f32).collect();
            let expected: Vec<_> = file.integer(&name)?.1.iter().map(|bucket| f64::from(*bucket)).collect();
            found.push(file.row(&name, &numbered, &expected));
        }
        Ok(found)
    }

    /// Each row continued by the best token of each pass.
    fn generated(&self) -> Result<GoldenRow> {
        const NAME: &str = "out.generated";
        let Self { file, gpu, ref model, ref parameters, .. } = *self;
        let ([_, continued], [_, steps]) = (file.shape(NAME)?, file.shape("in.input_ids")?);
        let limits = model.limits();
        let mut found = Vec::new();
        for (row, length) in file.integer("in.input_ids")?.1.chunks(steps).zip(lengths(file, steps)?) {
            let mut text: Vec<_> = row.iter().copied().take(length as usize).collect();
            for _ in 0..continued {
                let shape = BatchShape { rows: 1, source: 0, target: text.len() };
                let mut batch = Batch::filler(shape, limits.specials);
                batch.target_lengths = vec![text.len() as u32];
                batch.target_in.clone_from(&text);
                let Outputs { logits, .. } = forward(file, gpu, model.as_ref(), parameters, &batch)?;
                let last = logits.chunks(limits.target_vocabulary).last().unwrap_or_default();
                let best = last.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
                let best = best.map_or(0, |(token, _)| token as u32);
                found.push(best as f32);
                text.push(best);
            }
        }
        let expected: Vec<_> = file.integer(NAME)?.1.iter().map(|token| f64::from(*token)).collect();
        Ok(file.row(NAME, &found, &expected))
    }
}

pub(super) fn reformer(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let case = Case::new(file, gpu)?;
    let Case { model, parameters, .. } = &case;
    let batch = batch(file, &model.limits())?;
    let Outputs { logits, .. } = forward(file, gpu, model.as_ref(), parameters, &batch)?;
    let mut found = outputs(file, logits, &batch)?;
    found.extend(case.encoded(&batch)?);
    if file.integers.contains_key("out.generated") {
        found.push(case.generated()?);
    }
    // Last: a step changes the parameters.
    found.extend(step(file, gpu, model.clone(), parameters, &batch)?);
    Ok(found)
}
