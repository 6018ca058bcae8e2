//! A training step of a whole model, whatever its architecture.

use super::{File, GoldenRow, among, narrow};
use crate::{
    Gpu, Result,
    batch::{Batch, BatchShape, Specials},
    gpu::{Recorder, Shape, Tensor},
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{Architecture, Forward, Layers, Network, Regularisation, zeros},
    train::{Optimizer, State, Trainer},
};

/// Below this clipped gradient the first step of Adam turns rounding into a full step.
const LEAST_GRADIENT: f64 = 1e-6;

/// Logits and the alignment weights if there are any, where the target is not padding; then [`step`].
pub(super) fn training_step(file: &File, gpu: &Gpu, network: Network) -> Result<Vec<GoldenRow>> {
    let parameters = zeros(gpu, &network.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let batch = pairs(file)?;
    let Outputs { logits, weights } = forward(file, gpu, network.as_ref(), &parameters, &batch)?;
    let mut found = Vec::new();
    for (name, values) in [("out.logits", Some(logits)), ("out.weights", weights)] {
        let Some(values) = values else { continue };
        let width = values.len() / batch.target_out.len();
        let kept = batch.target_out.iter().flat_map(|token| std::iter::repeat_n(*token != 0, width));
        let (values, reference) = among(values, &file.float(name)?.1, kept);
        found.push(file.row(name, &values, &reference));
    }
    found.extend(step(file, gpu, network, &parameters, &batch)?);
    Ok(found)
}

/// Loss and every gradient that the file has; then, where it has them, the gradients' norm and the parameters after Adam, and Adam
/// alone from the file's own gradients.
pub(super) fn step(
    file: &File,
    gpu: &Gpu,
    network: Network,
    parameters: &Parameters,
    batch: &Batch,
) -> Result<Vec<GoldenRow>> {
    let label_smoothing = file.setting("label_smoothing", 0.0)?;
    let regularisation = Regularisation { label_smoothing, ..Regularisation::default() };
    let clip_norm: f32 = file.setting("clip_norm", 1.0)?;
    let learning_rate = file.setting("adam_lr", 1e-3)?;
    let optimizer = Optimizer { clip_norm: Some(clip_norm), ..Optimizer::default() };
    let mut trainer = Trainer::new(gpu, network, parameters, optimizer.clone(), regularisation)?;
    trainer.step(batch, 1, 0, learning_rate)?;
    let mut found = vec![file.row("out.loss", &gpu.read(&trainer.loss)?, &file.float("out.loss")?.1)];
    for name in parameters.names() {
        let Some((_, wanted)) = file.floats.get(&format!("grad.{name}")) else { continue };
        let gradient = read(gpu, trainer.state.gradients.tensor(name))?;
        let terms = cancelled(file, name, wanted);
        found.push(file.row_beside(&format!("grad.{name}"), &gradient, wanted, terms));
    }
    if !file.floats.contains_key("out.grad_norm") {
        return Ok(found);
    }
    let wanted = &file.float("out.grad_norm")?.1;
    found.push(file.row("out.grad_norm", &[trainer.state.read_report(gpu)?.norm], wanted));
    let norm = wanted.first().copied().unwrap_or(1.0);
    let coefficient = (f64::from(clip_norm) / (norm + 1e-6)).min(1.0);
    for name in parameters.names() {
        let gradient = &file.float(&format!("grad.{name}"))?.1;
        let kept = gradient.iter().map(|gradient| (gradient * coefficient).abs() >= LEAST_GRADIENT);
        let after = &file.float(&format!("after.{name}"))?.1;
        let (values, after) = among(read(gpu, parameters.tensor(name))?, after, kept);
        found.push(file.row(&format!("after.{name}"), &values, &after));
    }
    found.extend(adam(file, gpu, parameters, &optimizer, learning_rate)?);
    Ok(found)
}

/// The size of the terms of a bias's gradient that cancel, if they do: those of its layer's weight. What a softmax sees of a bias of
/// its keys, for one, is the same for all of them.
fn cancelled(file: &File, name: &str, gradient: &[f64]) -> f64 {
    let weight = name.strip_suffix("bias").and_then(|layer| file.floats.get(&format!("grad.{layer}weight")));
    let largest = |values: &[f64]| values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let terms = weight.map_or(0.0, |(_, weight)| largest(weight));
    // In f64 what cancels leaves no more of them.
    if largest(gradient) < 1e-9 * terms { terms } else { 0.0 }
}

/// The results of a forward pass.
pub(super) struct Outputs {
    /// `[B, T, W]`
    pub logits: Vec<f32>,
    /// The alignment weights, `[B, T, S]`, if there are any.
    pub weights: Option<Vec<f32>>,
}

/// A model's forward pass, compiled.
pub(super) struct Pass {
    program: Program,
    forward: Forward,
}

impl Pass {
    pub fn new(
        file: &File,
        gpu: &Gpu,
        network: &dyn Architecture,
        parameters: &Parameters,
        shape: BatchShape,
    ) -> Result<Self> {
        let mut layers = Layers::new();
        let forward = network.forward(&mut layers, shape)?;
        let kept: Vec<_> = [forward.logits].into_iter().chain(forward.attention).collect();
        let options = ProgramOptions {
            label: file.stem.clone(),
            parameters: Some(parameters),
            outputs: &kept,
            ..ProgramOptions::default()
        };
        Ok(Self { program: Program::compile(gpu, &layers.graph, &options)?, forward })
    }

    pub fn run(&mut self, batch: &Batch) -> Result<Outputs> {
        let Self { program, forward: Forward { logits, attention, .. } } = self;
        program.stage(batch)?;
        program.run(Step::default())?;
        let weights = attention.map(|weights| program.read(weights)).transpose()?;
        Ok(Outputs { logits: program.read(*logits)?, weights })
    }
}

/// Runs the forward pass of a batch.
pub(super) fn forward(
    file: &File,
    gpu: &Gpu,
    network: &dyn Architecture,
    parameters: &Parameters,
    batch: &Batch,
) -> Result<Outputs> {
    Pass::new(file, gpu, network, parameters, batch.shape)?.run(batch)
}

/// Adam by itself, from the file's gradients: no element is left out.
fn adam(
    file: &File,
    gpu: &Gpu,
    parameters: &Parameters,
    optimizer: &Optimizer,
    learning_rate: f32,
) -> Result<Vec<GoldenRow>> {
    fill(file, gpu, parameters, "param")?;
    let state = State::new(gpu, parameters)?;
    fill(file, gpu, &state.gradients, "grad")?;
    let step = Step::buffer(gpu)?;
    gpu.write(&step, &Step { step: 1, learning_rate, ..Step::default() }.words())?;
    let mut recorder = Recorder::new(gpu, "adam");
    optimizer.record(&mut recorder, &state, &step, None)?;
    recorder.finish()?.submit(1)?;
    let rows = parameters.names().iter().map(|name| {
        let after = &file.float(&format!("after.{name}"))?.1;
        Ok(file.row(&format!("adam.{name}"), &read(gpu, parameters.tensor(name))?, after))
    });
    rows.collect()
}

/// The sources and targets of a case of pairs.
pub(super) fn pairs(file: &File) -> Result<Batch> {
    let ([rows, source], [_, target]) = (file.shape("in.source")?, file.shape("in.target_out")?);
    let target_out = file.integer("in.target_out")?.1.clone();
    Ok(Batch {
        source: file.integer("in.source")?.1.clone(),
        lengths: file.integer("in.lengths")?.1.clone(),
        target_in: file.integer("in.target_in")?.1.clone(),
        target_tokens: target_out.iter().filter(|token| **token != 0).count(),
        target_out,
        ..Batch::filler(BatchShape { rows, source, target }, Specials::FIRST)
    })
}

/// Writes the file's tensors of one kind.
pub(super) fn fill(file: &File, gpu: &Gpu, parameters: &Parameters, prefix: &str) -> Result<()> {
    for name in parameters.names() {
        let (shape, values) = file.float(&format!("{prefix}.{name}"))?;
        let tensor = parameters.tensor(name).filter(|tensor| tensor.shape() == &Shape::from(shape.as_slice()));
        let tensor = tensor.ok_or_else(|| file.wrong(&format!("`{prefix}.{name}` has shape {shape:?}")))?;
        gpu.write(&tensor, &narrow(values))?;
    }
    Ok(())
}

fn read(gpu: &Gpu, tensor: Option<Tensor>) -> Result<Vec<f32>> {
    tensor.map_or(Ok(Vec::new()), |tensor| gpu.read(&tensor))
}
