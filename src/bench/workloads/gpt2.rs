//! W9: GPT-2 of twelve layers of 768 on one text: a training step and a pass over 128 tokens, and one token behind 511 others through
//! the caches. Its vocabulary is such that the table of words fits into a binding of 128 MiB, the least that many drivers have.

use std::{cell::RefCell, rc::Rc};

use super::{
    super::{Subject, Work, Workload, sample},
    tolerance, typed,
};
use crate::{
    Gpu, Result, Tensor,
    batch::{Batch, BatchShape, Specials},
    gpu::{Dtype, Recorder},
    graph::{Parameters, Program, ProgramOptions},
    kernels::{Step, beam_search::BeamSearch, matmul::Matrix},
    model::{
        Layers, Network, Regularisation, SearchRoom, StepOutputs, first_values,
        gpt2::{Config, Gpt2},
    },
    reference::{self, cross_entropy::CrossEntropy, seq2seq::Named},
    train::{Optimizer, Trainer},
    validate::widen,
};

const VOCABULARY: usize = 32_768;
const HIDDEN: usize = 768;
const LAYERS: usize = 12;
const HEADS: usize = 12;
/// T.
const STEPS: usize = 128;
/// Tokens that the last one sees through the caches, itself among them.
const CONTEXT: usize = 512;
/// The first tokens of the text, which the reference reads too: what follows does not change what they give.
const CHECKED: usize = 3;
const LEARNING_RATE: f32 = 1e-4;
/// The seed of first values.
const SEED: u64 = 1;

pub(super) fn workloads() -> Vec<Workload> {
    let mut all = Vec::new();
    for (dtype, ()) in typed(&[()], &[()]) {
        all.push(Workload::of(dtype, format!("W9/T{STEPS}/training"), move |gpu| training(gpu, dtype)));
        all.push(Workload::of(dtype, format!("W9/T{STEPS}/prefill"), move |gpu| prefill(gpu, dtype)));
    }
    all.push(Workload::new(format!("W9/S{CONTEXT}/token"), token));
    all
}

fn network() -> Result<Network> {
    Ok(Gpt2::new(Config {
        hidden: HIDDEN,
        heads: HEADS,
        feed_forward: 4 * HIDDEN,
        layers: LAYERS,
        max_length: 2 * CONTEXT,
        ..Config::new(VOCABULARY)
    })?)
}

/// The text.
fn batch() -> Batch {
    let mut batch = Batch::filler(BatchShape { rows: 1, source: 0, target: STEPS }, Specials::FIRST);
    let words: Vec<u32> = (1..STEPS as u32).map(|place| 4 + place * 7_919 % (VOCABULARY as u32 - 4)).collect();
    batch.put_target(0, &words);
    batch
}

/// The reference's logits `[CHECKED, W]`.
fn expected(network: &Network) -> Vec<f64> {
    let values = network.parameters().into_iter().map(|one| (one.name.clone(), widen(&one.values(SEED))));
    let parameters: Named = values.collect();
    let model = reference::gpt2::Gpt2 { parameters: &parameters, hidden: HIDDEN, heads: HEADS, layers: LAYERS };
    model.logits(&batch().target_in[..CHECKED])
}

/// The check compares the loss of the very Program that is timed with the first parameters, of the first tokens alone: validations of
/// kernels and golden cases look after the gradients.
fn training(gpu: &Gpu, dtype: Dtype) -> Result<Subject> {
    let network = network()?;
    let parameters = first_values(gpu, &network.parameters(), SEED)?;
    let optimizer = Optimizer { clip_norm: Some(1.0), precision: dtype, ..Optimizer::default() };
    let mut trainer = Trainer::new(gpu, network.clone(), &parameters, optimizer, Regularisation::default())?;
    let batch = batch();
    let program = trainer.prepare(batch.shape)?;
    let (cost, scratch) = (program.recording().cost(), program.memory().slots);
    let trainer = Rc::new(RefCell::new(trainer));
    let (given, running, waiting, mut number) = (batch.clone(), trainer.clone(), gpu.clone(), 1);
    let step = move || {
        number += 1;
        running.borrow_mut().step(&given, number, 1, LEARNING_RATE)?;
        waiting.wait(None)
    };
    let gpu = gpu.clone();
    let check = move |_: &mut Work| {
        let mut begun = batch;
        begun.target_out[CHECKED..].fill(begun.padding);
        begun.target_tokens = CHECKED;
        let mut trainer = trainer.borrow_mut();
        trainer.step(&begun, 1, 1, LEARNING_RATE)?;
        let (scale, padding) = (1.0 / CHECKED as f64, begun.padding);
        let loss = CrossEntropy { rows: CHECKED, classes: VOCABULARY, smoothing: 0.0, impossible: 0, scale, padding };
        let loss = loss.forward(&expected(&network), &begun.target_out[..CHECKED]);
        Ok(sample::whole(&gpu.read(&trainer.loss)?, &[loss]))
    };
    Ok(Subject {
        work: Work::Steps(Box::new(step), cost),
        check: Box::new(check),
        tolerance: tolerance(dtype),
        operations: None,
        tokens: Some(STEPS as f64),
        scratch,
        label: None,
    })
}

/// The logits behind every token of the text.
fn prefill(gpu: &Gpu, dtype: Dtype) -> Result<Subject> {
    let (network, batch) = (network()?, batch());
    let parameters = first_values(gpu, &network.parameters(), SEED)?;
    let mut layers = Layers::training(&Regularisation::default(), dtype);
    let logits = network.forward(&mut layers, batch.shape)?.logits;
    let outputs = [logits];
    let parameters = Some(&parameters);
    let options = ProgramOptions { label: "bench".into(), parameters, outputs: &outputs, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &layers.graph, &options)?;
    program.write("target_in", &batch.target_in)?;
    let (logits, scratch) = (program.tensor(logits)?.clone(), program.memory().slots);
    let gpu = gpu.clone();
    let check = move |work: &mut Work| {
        if let Work::Program(program) = work {
            program.run(Step::default())?;
        }
        let found = gpu.read_floats(&logits)?;
        Ok(sample::whole(&found[..CHECKED * VOCABULARY], &expected(&network)))
    };
    Ok(Subject {
        work: Work::Program(Box::new(program)),
        check: Box::new(check),
        tolerance: tolerance(dtype),
        operations: None,
        tokens: Some(STEPS as f64),
        scratch,
        label: None,
    })
}

/// The steps of a search, without its choice of a token.
struct Steps {
    /// `[D]`, the token's word.
    word: Tensor,
    /// Tokens before it, u32 `[1]`.
    counter: Tensor,
    /// `[W]`
    logits: Tensor,
    work: Work,
}

impl Steps {
    fn new(gpu: &Gpu, network: &Network, parameters: &Parameters) -> Result<Self> {
        let search = BeamSearch { classes: VOCABULARY, capacity: CONTEXT, ..BeamSearch::default() };
        let stepper = network.stepper(parameters, &SearchRoom { gpu, search, keys: 1, steps: 1, alone: true })?;
        let logits = gpu.zeros("logits", [1, VOCABULARY], Dtype::F32)?;
        let counter = gpu.tensor("counter", [1], Dtype::U32, &[CONTEXT as u32 - 1])?;
        let lengths = gpu.tensor("lengths", [1], Dtype::U32, &[1])?;
        let mut recorder = Recorder::new(gpu, "bench");
        let outputs =
            StepOutputs { lengths: &lengths, counter: &counter, logits: Matrix::rows(&logits), weights: None };
        stepper.record_start(&mut recorder)?;
        stepper.record_step(&mut recorder, 0, &outputs)?;
        let word = stepper.feed().word_rows.tensor.clone();
        Ok(Self { word, counter, logits, work: Work::Recording(recorder.finish()?) })
    }
}

/// One token's logits. The check makes the first steps one after another.
fn token(gpu: &Gpu) -> Result<Subject> {
    let network = network()?;
    let parameters = first_values(gpu, &network.parameters(), SEED)?;
    let Steps { word, counter, logits, work } = Steps::new(gpu, &network, &parameters)?;
    let gpu = gpu.clone();
    let check = move |work: &mut Work| {
        let words: Vec<f32> = match parameters.tensor("transformer.wte.weight") {
            Some(table) => gpu.read(&table)?,
            None => Vec::new(),
        };
        let mut found = Vec::new();
        for (place, token) in (0..).zip(&batch().target_in[..CHECKED]) {
            gpu.write(&word, &words[*token as usize * HIDDEN..][..HIDDEN])?;
            gpu.write(&counter, &[place])?;
            work.run(&gpu)?;
            found.extend(gpu.read_floats(&logits)?);
        }
        gpu.write(&counter, &[CONTEXT as u32 - 1])?;
        Ok(sample::whole(&found, &expected(&network)))
    };
    let tolerance = tolerance(Dtype::F32);
    let tokens = Some(1.0);
    Ok(Subject { work, check: Box::new(check), tolerance, operations: None, tokens, scratch: 0, label: None })
}
