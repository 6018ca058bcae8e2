//! W5: training steps of the default model, forward, loss, backward, clipping and Adam; and the first step of a process.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    rc::Rc,
};

use super::{
    super::{ModelSize, Subject, Work, Workload, sample},
    tolerance, typed,
};
use crate::{
    Error, Gpu, Result,
    gpu::{Cost, Dtype},
    reference,
    text::Batch,
    train::{Optimizer, Trainer},
    validate::{largest, relative_error, widen},
};

const LEARNING_RATE: f32 = 1e-3;

pub(super) fn workloads() -> Vec<Workload> {
    let sizes = [ModelSize::S, ModelSize::M];
    let of_size = |(dtype, size): (Dtype, ModelSize)| {
        Workload::of(dtype, format!("W5/{}", size.name), move |gpu| training(gpu, dtype, size))
    };
    typed(&sizes, &sizes).map(of_size).collect()
}

/// The rows of a batch that the reference has time for: its backward takes several times what its forward does.
fn sampled_rows(size: &ModelSize) -> Vec<usize> {
    let count = sample::affordable(size.batch, 4 * size.multiplications());
    if count <= 2 { vec![size.batch / 2] } else { sample::spread(size.batch, count) }
}

/// Loss and gradients of some rows of a batch.
fn expected(size: &ModelSize, batch: &Batch, rows: &[usize]) -> Result<(f64, reference::seq2seq::Named)> {
    let pick = |values: &[u32]| sample::rows(values, size.steps, rows);
    Ok(size.reference(rows.len()).loss_and_gradients(
        &size.host_parameters()?,
        &pick(&batch.source),
        &pick(&batch.target_in),
        &pick(&batch.target_out),
    ))
}

/// The training step. The check compares a first step of the very Program that is timed, on the same batch but with the targets
/// of some rows alone: all gradients come from these rows then, and so does the loss.
fn training(gpu: &Gpu, dtype: Dtype, size: ModelSize) -> Result<Subject> {
    let mut trainer = size.trainer(gpu, dtype)?;
    let program = trainer.prepare(size.shape())?;
    let (cost, scratch) = (program.recording().cost(), program.memory().slots);
    let (trainer, number) = (Rc::new(RefCell::new(trainer)), Rc::new(RefCell::new(1)));
    let batch = size.batch();
    let (running, counting, gpu_of_steps) = (trainer.clone(), number.clone(), gpu.clone());
    let step = move || {
        *counting.borrow_mut() += 1;
        running.borrow_mut().step(&batch, *counting.borrow(), 1, LEARNING_RATE)?;
        gpu_of_steps.wait(None)
    };
    let gpu = gpu.clone();
    let check = move |_: &mut Work| {
        let rows = sampled_rows(&size);
        let batch = size.sparse_batch(&rows);
        let mut trainer = trainer.borrow_mut();
        let scale = first_update(&gpu, &mut trainer, &batch)?;
        let (loss, gradients) = expected(&size, &batch, &rows)?;
        sample_errors(&gpu, &size, &trainer, scale, loss, &gradients)
    };
    Ok(Subject {
        work: Work::Steps(Box::new(step), cost),
        check: Box::new(check),
        tolerance: 5.0 * tolerance(dtype),
        operations: None,
        tokens: Some((size.batch * size.steps) as f64),
        scratch,
        label: None,
    })
}

/// Makes the first step, and returns the scale of the loss in it: in f16 a step that overflows changes nothing but the scale.
fn first_update(gpu: &Gpu, trainer: &mut Trainer, batch: &Batch) -> Result<f32> {
    for _ in 0..16 {
        trainer.step(batch, 1, 1, LEARNING_RATE)?;
        let report = trainer.state.read_report(gpu)?;
        if report.updated == 1.0 {
            return Ok(if trainer.state.scaling.is_some() { report.loss_scale } else { 1.0 });
        }
    }
    Ok(f32::NAN)
}

/// The worst error of loss, gradients and parameters after a first step.
fn sample_errors(
    gpu: &Gpu,
    size: &ModelSize,
    trainer: &Trainer,
    scale: f32,
    loss: f64,
    gradients: &reference::seq2seq::Named,
) -> Result<f64> {
    let mut errors = vec![sample::whole(&gpu.read(&trainer.loss)?, &[loss])];
    // Some gradients cancel to nothing; what rounding leaves of them is small against the others.
    let least = 1e-2 * gradients.values().map(|values| largest(values)).fold(0.0, f64::max);
    let before = size.host_parameters()?;
    let Optimizer { beta1, beta2, epsilon, .. } = Optimizer::default();
    let adam = reference::adam::Adam {
        learning_rate: f64::from(LEARNING_RATE),
        beta1,
        beta2,
        epsilon: f64::from(epsilon),
        weight_decay: 0.0,
        clip_norm: Some(1.0),
    };
    // The reference's step from the gradients that the device has: its own would turn a rounding error of one that is nearly
    // 0 into a step the other way.
    let (mut parameters, mut found_parameters, mut found_gradients) = (Vec::new(), Vec::<f32>::new(), Vec::new());
    for (name, expected) in gradients {
        let (Some(gradient), Some(parameter)) =
            (trainer.state.gradients.tensor(name), trainer.state.parameters.tensor(name))
        else {
            return Ok(f64::INFINITY);
        };
        let found: Vec<f32> = gpu.read::<f32>(&gradient)?.iter().map(|gradient| gradient / scale).collect();
        errors.push(if found.len() == expected.len() {
            relative_error(&found, expected, least)
        } else {
            f64::INFINITY
        });
        parameters.extend_from_slice(&before[name]);
        found_parameters.extend(gpu.read::<f32>(&parameter)?);
        found_gradients.extend(widen(&found));
    }
    let (mut first, mut second) = (vec![0.0; parameters.len()], vec![0.0; parameters.len()]);
    adam.update(1, &mut parameters, &found_gradients, &mut first, &mut second);
    errors.push(sample::whole(&found_parameters, &parameters));
    let complete = gradients.len() == before.len();
    Ok(if complete { sample::worst(errors) } else { f64::INFINITY })
}

/// From the start of a process to the end of its first training step, with nothing and with everything in the driver's cache
/// of compiled shaders. `child` makes a command that calls [`first_step`] and prints what it returns as a line.
pub fn first_steps(child: impl Fn() -> Command + 'static) -> Vec<Workload> {
    let child = Rc::new(child);
    [("cold", false), ("warm", true)]
        .map(|(name, warm)| {
            let child = child.clone();
            Workload::new(format!("W5/S/first_step/{name}"), move |gpu| starting(gpu, child.clone(), warm))
        })
        .into()
}

/// Makes the first training step of W5 S, and returns its loss.
///
/// # Errors
/// The errors of kernels and of the device.
pub fn first_step(gpu: &Gpu) -> Result<f32> {
    let size = ModelSize::S;
    let mut trainer = size.trainer(gpu, Dtype::F32)?;
    trainer.step(&size.sparse_batch(&sampled_rows(&size)), 1, 1, LEARNING_RATE)?;
    let loss: Vec<f32> = gpu.read(&trainer.loss)?;
    Ok(loss.first().copied().unwrap_or(f32::NAN))
}

fn starting(gpu: &Gpu, child: Rc<dyn Fn() -> Command>, warm: bool) -> Result<Subject> {
    let folder = || tempfile::tempdir().map_err(Error::io("the folder for a shader cache"));
    let kept = folder()?;
    let last = Rc::new(RefCell::new(f32::NAN));
    let found = last.clone();
    let run = move || {
        let fresh = folder()?;
        let cache = if warm { kept.path() } else { fresh.path() };
        *found.borrow_mut() =
            loss_of(child().env("MESA_SHADER_CACHE_DIR", cache).env("__GL_SHADER_DISK_CACHE_PATH", cache))?;
        Ok(())
    };
    let check = move |work: &mut Work| {
        if let Work::Steps(run, _) = work {
            run()?;
        }
        let rows = sampled_rows(&ModelSize::S);
        let (loss, _) = expected(&ModelSize::S, &ModelSize::S.batch(), &rows)?;
        Ok(sample::whole(&[*last.borrow()], &[loss]))
    };
    let driver = format!("{} {}", gpu.info().driver, gpu.info().driver_info).to_lowercase();
    let controlled = cfg!(target_os = "linux") && ["mesa", "nvidia"].iter().any(|name| driver.contains(name));
    let label = if controlled { None } else { Some("how to empty this driver's shader cache is not known".to_owned()) };
    Ok(Subject {
        work: Work::Steps(Box::new(run), Cost::default()),
        check: Box::new(check),
        tolerance: tolerance(Dtype::F32),
        operations: None,
        tokens: None,
        scratch: 0,
        label,
    })
}

/// The first line of a command's output, as soon as it is there.
fn loss_of(command: &mut Command) -> Result<f32> {
    let failed = |message: String| Error::data("the process of a first training step", message);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| failed(error.to_string()))?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line).map_err(|error| failed(error.to_string()))?;
    }
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    line.trim().parse().map_err(|_| failed(format!("it ended with {status} and printed `{}`", line.trim())))
}
