//! The kernels that no workload of other systems times alone, at the shapes of W5 S: 128 rows of 12 steps, vocabularies of 32
//! and 75, sizes of 256.

use super::{
    super::{
        ModelSize, Subject, Work, Workload,
        problem::{Operand, Problem},
        sample,
    },
    Passes, tolerance,
};
use crate::{
    Gpu, Result,
    gpu::{Dtype, Recorder},
    kernels::{
        Step,
        adam::{Adam, Buffers},
        copy::Copy,
        matmul::Matrix,
    },
    reference,
};

const BATCH: usize = 128;
const STEPS: usize = 12;
const ROWS: usize = BATCH * STEPS;
const CLASSES: usize = 75;
const SIZE: usize = 256;

pub(super) fn workloads() -> Vec<Workload> {
    let mut all = Vec::new();
    for passes in Passes::ALL {
        let mut add = |key: String, prepare: fn(&Gpu, Passes) -> Result<Subject>| {
            all.push(Workload::new(format!("{key}/{}", passes.key()), move |gpu| prepare(gpu, passes)));
        };
        add(format!("cross_entropy/R{ROWS}_C{CLASSES}"), cross_entropy);
        add(format!("embedding/V{CLASSES}_N{ROWS}_E{SIZE}"), embedding);
        add(format!("dropout/N{}", ROWS * SIZE), dropout);
        add(format!("alignment_loss/B{BATCH}_T{STEPS}_S{STEPS}"), alignment_loss);
        add(format!("coverage_loss/B{BATCH}_T{STEPS}_S{STEPS}"), coverage_loss);
        add(format!("pointwise/tanh_N{}", ROWS * SIZE), pointwise);
        add(format!("reduction/columns_R{ROWS}_C{}", 3 * SIZE), reduction);
    }
    let network = ModelSize::S.network();
    let parameters = network.map_or(0, |network| network.parameters().iter().map(|one| one.shape.elements()).sum());
    all.push(Workload::new(format!("adam/N{parameters}"), move |gpu| adam(gpu, parameters)));
    all.push(Workload::new(format!("copy/R{ROWS}_C{SIZE}_of{}", 4 * SIZE), copy));
    all
}

fn cross_entropy(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let logits = problem.random(&[ROWS, CLASSES], 3.0);
    let (targets, tokens) = problem.tokens(&[ROWS], 1, CLASSES as u32);
    let loss = problem.graph.cross_entropy(logits.value, targets, 0.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[logits.value])?);
    }
    let loss_scale = 1.0 / ROWS as f32;
    problem.finish(&outputs, Step { loss_scale, ..Step::default() }, move |outputs| {
        let reference = reference::cross_entropy::CrossEntropy {
            rows: ROWS,
            classes: CLASSES,
            smoothing: 0.0,
            scale: f64::from(loss_scale),
            padding: 0,
        };
        let loss = sample::whole(&outputs[0], &[reference.forward(&logits.host, &tokens)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&logits.host, &tokens, 1.0))])
    })
}

fn embedding(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let table = problem.random(&[CLASSES, SIZE], 1.0);
    let (tokens, host) = problem.tokens(&[ROWS], 0, CLASSES as u32);
    let y = problem.graph.embedding(table.value, tokens)?;
    let upstream = problem.values(ROWS * SIZE, 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        let d_y = problem.floats(&[ROWS, SIZE], &upstream);
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[table.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::embedding::Embedding { vocabulary: CLASSES, size: SIZE };
        let y = sample::whole(&outputs[0], &reference.forward(&table.host, &host));
        let [_, gradient] = outputs else { return y };
        let upstream: Vec<f64> = upstream.into_iter().map(f64::from).collect();
        sample::worst([y, sample::whole(gradient, &reference.backward(&host, &upstream))])
    })
}

fn dropout(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    const RATE: f32 = 0.2;
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[ROWS, SIZE], 1.0);
    let y = problem.graph.dropout(x.value, RATE)?;
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    let (seed, step, draw) = (7, 3, reference::dropout::Draw::Element);
    problem.finish(&outputs, Step { seed, step, ..Step::default() }, move |outputs| {
        // The graph's first node is number 0.
        let reference = reference::dropout::Dropout { rate: RATE, seed, step, operation: 0, draw };
        let y = sample::whole(&outputs[0], &reference.forward(&x.host));
        let [_, gradient] = outputs else { return y };
        sample::worst([y, sample::whole(gradient, &reference.backward(&d_y.host))])
    })
}

/// Values from 0 to 1 in the shape of the attention's weights.
fn shares(problem: &mut Problem) -> Operand {
    let values: Vec<f32> = problem.values(ROWS * STEPS, 1.0).into_iter().map(f32::abs).collect();
    problem.floats(&[BATCH, STEPS, STEPS], &values)
}

fn alignment_loss(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    const SCALE: f32 = 1.0 / ROWS as f32;
    let mut problem = Problem::new(gpu);
    let (weights, expected) = (shares(&mut problem), shares(&mut problem));
    let loss = problem.graph.alignment_loss(weights.value, expected.value, 1.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[weights.value])?);
    }
    problem.finish(&outputs, Step { alignment_scale: SCALE, ..Step::default() }, move |outputs| {
        let (weights, expected) = (weights.host, expected.host);
        let reference = reference::alignment_loss::AlignmentLoss { elements: weights.len(), scale: f64::from(SCALE) };
        let loss = sample::whole(&outputs[0], &[reference.forward(&weights, &expected)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&weights, &expected, 1.0))])
    })
}

fn coverage_loss(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    const SCALE: f32 = 1.0 / ROWS as f32;
    let mut problem = Problem::new(gpu);
    let (weights, (targets, tokens)) = (shares(&mut problem), problem.tokens(&[BATCH, STEPS], 0, 8));
    let loss = problem.graph.coverage_loss(weights.value, targets, 1.0)?;
    let mut outputs = vec![loss];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients(loss, &[weights.value])?);
    }
    problem.finish(&outputs, Step { loss_scale: SCALE, ..Step::default() }, move |outputs| {
        let (batch, steps, keys, scale) = (BATCH, STEPS, STEPS, f64::from(SCALE));
        let reference = reference::coverage_loss::CoverageLoss { batch, steps, keys, scale, padding: 0 };
        let loss = sample::whole(&outputs[0], &[reference.forward(&weights.host, &tokens)]);
        let [_, gradient] = outputs else { return loss };
        sample::worst([loss, sample::whole(gradient, &reference.backward(&weights.host, &tokens, 1.0))])
    })
}

fn pointwise(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[ROWS, SIZE], 4.0);
    let y = problem.graph.tanh(x.value)?;
    let d_y = problem.random(&[ROWS, SIZE], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let reference = reference::pointwise::Pointwise::Tanh;
        let y = sample::whole(&outputs[0], &reference.forward(&x.host, None));
        let [_, gradient] = outputs else { return y };
        sample::worst([y, sample::whole(gradient, &reference.backward(&x.host, None, &d_y.host).0)])
    })
}

fn reduction(gpu: &Gpu, passes: Passes) -> Result<Subject> {
    let (rows, columns) = (ROWS, 3 * SIZE);
    let mut problem = Problem::new(gpu);
    let x = problem.random(&[rows, columns], 1.0);
    let y = problem.graph.column_sum(x.value)?;
    let d_y = problem.random(&[columns], 1.0);
    let mut outputs = vec![y];
    if passes == Passes::Both {
        outputs.extend(problem.graph.gradients_from(&[(y, d_y.value)], &[x.value])?);
    }
    problem.finish(&outputs, Step::default(), move |outputs| {
        let y = sample::whole(&outputs[0], &reference::reduction::column_sum(&x.host, rows, columns));
        let [_, gradient] = outputs else { return y };
        let expected = reference::reduction::column_sum_backward(rows, columns, &d_y.host);
        sample::worst([y, sample::whole(gradient, &expected)])
    })
}

/// A recording, with a check of the tensors that it has left.
pub(super) fn recorded(
    gpu: &Gpu,
    record: impl FnOnce(&mut Recorder) -> Result<()>,
    scratch: u64,
    check: impl FnOnce(&Gpu) -> Result<f64> + 'static,
) -> Result<Subject> {
    let mut recorder = Recorder::new(gpu, "bench");
    record(&mut recorder)?;
    let gpu = gpu.clone();
    Ok(Subject {
        work: Work::Recording(recorder.finish()?),
        check: Box::new(move |work| {
            work.run(&gpu)?;
            check(&gpu)
        }),
        tolerance: tolerance(Dtype::F32),
        operations: None,
        tokens: None,
        scratch,
        label: None,
    })
}

/// Every repetition goes on from the parameters of the one before; the first one is compared.
fn adam(gpu: &Gpu, elements: usize) -> Result<Subject> {
    let adam = Adam {
        elements,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        clip_norm: Some(1.0),
        average_decay: None,
    };
    let learning_rate = 1e-3_f32;
    let mut draw = Problem::new(gpu);
    let upload = |values: &[f32]| gpu.tensor("bench", [elements], Dtype::F32, values);
    let (host_parameters, host_gradients) = (draw.values(elements, 0.1), draw.values(elements, 0.01));
    let (parameters, gradients) = (upload(&host_parameters)?, upload(&host_gradients)?);
    let [first, second] = [gpu.zeros("bench", [elements], Dtype::F32)?, gpu.zeros("bench", [elements], Dtype::F32)?];
    let (scratch, report) =
        (gpu.zeros("bench", [adam.scratch()], Dtype::F32)?, gpu.zeros("bench", [Adam::REPORT], Dtype::F32)?);
    let step = Step::buffer(gpu)?;
    gpu.write(&step, &Step { step: 1, learning_rate, ..Step::default() }.words())?;
    let record = |recorder: &mut Recorder| {
        let buffers = Buffers {
            parameters: &parameters,
            gradients: &gradients,
            total: None,
            first: &first,
            second: &second,
            average: None,
        };
        adam.record(recorder, &buffers, &step, None, None, &scratch, &report)
    };
    let found = parameters.clone();
    recorded(gpu, record, scratch.bytes(), move |gpu| {
        let reference = reference::adam::Adam {
            learning_rate: f64::from(learning_rate),
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: f64::from(adam.epsilon),
            weight_decay: 0.0,
            clip_norm: adam.clip_norm.map(f64::from),
        };
        let widen = crate::validate::widen;
        let (mut parameters, mut first, mut second) =
            (widen(&host_parameters), vec![0.0; elements], vec![0.0; elements]);
        reference.update(1, &mut parameters, &widen(&host_gradients), &mut first, &mut second);
        Ok(sample::whole(&gpu.read(&found)?, &parameters))
    })
}

/// Embedded words into their columns of the decoder's features.
fn copy(gpu: &Gpu) -> Result<Subject> {
    let width = 4 * SIZE;
    let host = Problem::new(gpu).values(ROWS * SIZE, 1.0);
    let source = gpu.tensor("bench", [ROWS, SIZE], Dtype::F32, &host)?;
    let target = gpu.zeros("bench", [ROWS, width], Dtype::F32)?;
    let record = |recorder: &mut Recorder| {
        let into = Matrix::rows(&target).offset(width - SIZE);
        Copy { rows: ROWS, columns: SIZE, batch: 1 }.record(recorder, Matrix::rows(&source), None, into)
    };
    let found = target.clone();
    recorded(gpu, record, 0, move |gpu| {
        let mut expected = vec![0.0; ROWS * width];
        for (row, values) in host.chunks(SIZE).enumerate() {
            let into = &mut expected[(row + 1) * width - SIZE..(row + 1) * width];
            into.iter_mut().zip(values).for_each(|(into, value)| *into = f64::from(*value));
        }
        Ok(sample::whole(&gpu.read(&found)?, &expected))
    })
}
