//! Transformer-XL over two consecutive segments: the second one sees what the first has left as constants. The loss is the sum of both.

use super::{File, GoldenRow, model::fill, narrow};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{Parameters, Program, ProgramOptions, Targets, Value},
    kernels::Step,
    model::{
        Architecture as _, Import, Layers,
        transformer_xl::{Config, TransformerXl},
        zeros,
    },
};

/// A model, and what its first segment remembers.
struct Case<'a> {
    file: &'a File,
    gpu: &'a Gpu,
    model: &'a TransformerXl,
    config: Config,
    parameters: Parameters,
}

/// A segment's forward pass and gradients, compiled.
struct Pass {
    program: Program,
    logits: Value,
    loss: Value,
    gradients: Vec<(String, Value)>,
    memory: Vec<Value>,
}

/// No token: there is nothing to predict.
const NONE: u32 = u32::MAX;

impl Pass {
    /// For `rows` of `steps` behind memories of `remembered`.
    fn new(case: &Case<'_>, [rows, steps]: [usize; 2], remembered: usize) -> Result<Self> {
        let (mut layers, hidden) = (Layers::new(), case.config.hidden);
        let [tokens, targets] = ["tokens", "targets"].map(|name| layers.graph.input(name, [rows, steps], Dtype::U32));
        let count = if remembered > 0 { case.config.layers } else { 0 };
        let memory = |layer| layers.graph.input(name_of(layer), [rows, remembered, hidden], Dtype::F32);
        let before: Vec<_> = (0..count).map(memory).collect();
        let words = case.model.embed(&mut layers, tokens)?;
        let segment = case.model.segment(&mut layers, words, &before)?;
        let logits = case.model.logits(&mut layers, segment.states)?;
        let (names, used): (Vec<_>, Vec<_>) = layers.used().iter().cloned().unzip();
        let loss = layers.graph.cross_entropy(logits, Targets { tokens: targets, padding: NONE }, 0.0)?;
        let gradients = layers.graph.gradients(loss, &used)?;
        let kept = [&[logits, loss], gradients.as_slice(), &segment.memory].concat();
        let options = ProgramOptions {
            label: case.file.stem.clone(),
            parameters: Some(&case.parameters),
            outputs: &kept,
            ..ProgramOptions::default()
        };
        let program = Program::compile(case.gpu, &layers.graph, &options)?;
        let gradients = names.into_iter().zip(gradients).collect();
        Ok(Self { program, logits, loss, gradients, memory: segment.memory })
    }

    /// Runs it, and returns what is remembered then.
    fn run(&mut self, tokens: &[u32], steps: usize, memory: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let targets: Vec<u32> =
            tokens.chunks(steps).flat_map(|row| row.iter().skip(1).copied().chain([NONE])).collect();
        let predicted = targets.iter().filter(|token| **token != NONE).count();
        self.program.write("tokens", tokens)?;
        self.program.write("targets", &targets)?;
        for (layer, values) in memory.iter().enumerate() {
            self.program.write(&name_of(layer), values)?;
        }
        self.program.run(Step { loss_scale: 1.0 / predicted.max(1) as f32, ..Step::default() })?;
        self.memory.iter().map(|value| self.program.read(*value)).collect()
    }
}

fn name_of(layer: usize) -> String {
    format!("memory.{layer}")
}

impl Case<'_> {
    /// What the first segment of `rows` remembers: zeros, or nothing.
    fn first(&self, rows: usize) -> Vec<Vec<f32>> {
        let Config { layers, memory, hidden, .. } = self.config;
        match self.file.metadata.get("first_memory") {
            Some(first) if first == "empty" => vec![],
            _ => vec![vec![0.0; rows * memory * hidden]; layers],
        }
    }

    fn pass(&self, shape: [usize; 2], memory: &[Vec<f32>]) -> Result<Pass> {
        let remembered = memory.first().map_or(0, |values| values.len() / (shape[0] * self.config.hidden));
        Pass::new(self, shape, remembered)
    }

    /// Logits' logarithms of probabilities, losses and memories of both segments, and the sum of their gradients.
    fn segments(&self) -> Result<Vec<GoldenRow>> {
        let [rows, steps] = self.file.shape("in.input_ids.0")?;
        let (mut memory, mut losses, mut found) = (self.first(rows), Vec::new(), Vec::new());
        let mut sums: Vec<(String, Vec<f32>)> = Vec::new();
        for segment in 0..2 {
            let mut pass = self.pass([rows, steps], &memory)?;
            memory = pass.run(&self.file.integer(&format!("in.input_ids.{segment}"))?.1, steps, &memory)?;
            let logits: Vec<f32> = pass.program.read(pass.logits)?;
            let name = format!("out.log_probs.{segment}");
            let probabilities = logarithms(&logits, self.config.vocabulary);
            found.push(self.file.row(&name, &probabilities, &self.file.float(&name)?.1));
            losses.extend(pass.program.read::<f32>(pass.loss)?);
            for (name, value) in &pass.gradients {
                let gradient: Vec<f32> = pass.program.read(*value)?;
                match sums.iter_mut().find(|(other, _)| other == name) {
                    Some((_, sum)) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
                    None => sums.push((name.clone(), gradient)),
                }
            }
            if segment == 0 {
                for (layer, values) in memory.iter().enumerate() {
                    let name = format!("out.mems.{layer}");
                    found.push(self.file.row(&name, values, &self.file.float(&name)?.1));
                }
            }
        }
        found.push(self.file.row("out.loss", &losses, &self.file.float("out.loss")?.1));
        for (name, gradient) in sums {
            let name = format!("grad.{name}");
            found.push(self.file.row(&name, &gradient, &self.file.float(&name)?.1));
        }
        Ok(found)
    }

    /// Each row's first segment continued by the best token of each step, memories carried along.
    fn generated(&self) -> Result<GoldenRow> {
        const NAME: &str = "out.generated";
        let ([_, steps], [_, continued]) = (self.file.shape("in.input_ids.0")?, self.file.shape(NAME)?);
        let mut tokens = Vec::new();
        let (mut first, mut further) = (self.pass([1, steps], &self.first(1))?, None);
        for row in self.file.integer("in.input_ids.0")?.1.chunks(steps) {
            let mut memory = first.run(row, steps, &self.first(1))?;
            let mut logits: Vec<f32> = first.program.read(first.logits)?;
            for number in 0..continued {
                let last = logits.chunks(self.config.vocabulary).last().unwrap_or_default();
                let best = last.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
                let best = best.map_or(0, |(token, _)| token as u32);
                tokens.push(best as f32);
                if number + 1 < continued {
                    let pass = match &mut further {
                        Some(pass) => pass,
                        none => none.insert(self.pass([1, 1], &memory)?),
                    };
                    memory = pass.run(&[best], 1, &memory)?;
                    logits = pass.program.read(pass.logits)?;
                }
            }
        }
        let reference: Vec<f64> = self.file.integer(NAME)?.1.iter().map(|token| f64::from(*token)).collect();
        Ok(self.file.row(NAME, &tokens, &reference))
    }
}

/// The logarithms of the probabilities of `classes` that logits give.
fn logarithms(logits: &[f32], classes: usize) -> Vec<f32> {
    let of_row = |row: &[f32]| -> Vec<f64> {
        let total: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
        row.iter().map(|logit| f64::from(*logit) - total.ln()).collect()
    };
    narrow(&logits.chunks(classes).flat_map(of_row).collect::<Vec<_>>())
}

pub(super) fn transformer_xl(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let config = file.metadata.get("config").ok_or_else(|| file.wrong("has no configuration in its metadata"))?;
    let network = Import::of(config, &file.path)?.network(config, &file.path)?;
    let config: Config = serde_json::from_str(&network.config()?).map_err(|error| file.wrong(&error.to_string()))?;
    let model = TransformerXl::new(config.clone())?;
    let parameters = zeros(gpu, &model.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let case = Case { file, gpu, model: &model, config, parameters };
    let mut found = case.segments()?;
    found.push(case.generated()?);
    Ok(found)
}
