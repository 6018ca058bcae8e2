//! A training step of a whole model, whatever its architecture.

use super::{File, GoldenRow, among, narrow};
use crate::{
    Gpu, Result,
    batch::{Batch, BatchShape, Specials},
    gpu::{Dtype, Recorder, Shape, Tensor},
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{Architecture, Network, Regularisation, zeros},
    train::{Optimizer, State, Trainer, TrainingGraph},
};

/// Below this clipped gradient the first step of Adam turns rounding into a full step.
const LEAST_GRADIENT: f64 = 1e-6;

/// Loss, logits, the alignment weights if there are any, and every gradient; then, where the file has them, the gradients' norm and
/// the parameters after Adam, and Adam alone from the file's own gradients.
pub(super) fn training_step(file: &File, gpu: &Gpu, network: Network) -> Result<Vec<GoldenRow>> {
    let parameters = zeros(gpu, &network.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let label_smoothing = file.setting("label_smoothing", 0.0)?;
    let regularisation = Regularisation { label_smoothing, ..Regularisation::default() };
    let batch = batch(file)?;
    let mut found = forward(file, gpu, network.as_ref(), &parameters, &batch)?;
    let clip_norm: f32 = file.setting("clip_norm", 1.0)?;
    let learning_rate = file.setting("adam_lr", 1e-3)?;
    let optimizer = Optimizer { clip_norm: Some(clip_norm), ..Optimizer::default() };
    let mut trainer = Trainer::new(gpu, network, &parameters, optimizer, regularisation)?;
    trainer.step(&batch, 1, 0, learning_rate)?;
    found.push(file.row("out.loss", &gpu.read(&trainer.loss)?, &file.float("out.loss")?.1));
    for name in parameters.names() {
        let gradient = read(gpu, trainer.state.gradients.tensor(name))?;
        found.push(file.row(&format!("grad.{name}"), &gradient, &file.float(&format!("grad.{name}"))?.1));
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
    found.extend(adam(file, gpu, &parameters, &optimizer, learning_rate)?);
    Ok(found)
}

/// Logits and alignment weights.
fn forward(
    file: &File,
    gpu: &Gpu,
    network: &dyn Architecture,
    parameters: &Parameters,
    batch: &Batch,
) -> Result<Vec<GoldenRow>> {
    let training = TrainingGraph::new(network, batch.shape, &Regularisation::default(), Dtype::F32)?;
    let mut outputs = vec![("out.logits", training.logits)];
    outputs.extend(training.attention.map(|weights| ("out.weights", weights)));
    let values: Vec<_> = outputs.iter().map(|(_, value)| *value).collect();
    let options = ProgramOptions {
        label: file.stem.clone(),
        parameters: Some(parameters),
        outputs: &values,
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &training.graph, &options)?;
    program.stage(batch)?;
    program.run(Step::default())?;
    let mut found = Vec::new();
    for (name, value) in outputs {
        // The outputs mean something only where the target is not padding.
        let values: Vec<f32> = program.read(value)?;
        let width = values.len() / batch.target_out.len();
        let kept = batch.target_out.iter().flat_map(|token| std::iter::repeat_n(*token != 0, width));
        let (values, reference) = among(values, &file.float(name)?.1, kept);
        found.push(file.row(name, &values, &reference));
    }
    Ok(found)
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

fn batch(file: &File) -> Result<Batch> {
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
