//! W6: greedy generation with the models of W5, as many steps as they may take.

use std::{cell::RefCell, rc::Rc};

use super::{
    super::{ModelSize, Subject, Work, Workload, sample},
    tolerance,
};
use crate::{
    Gpu, Result,
    generate::{Generator, Hypothesis, SearchOptions},
    gpu::{Cost, Dtype, ELEMENT},
    model::Model,
    text::{BOS, EOS, TokenUnit, Tokenizer},
};

/// The bias of `<eos>`, whose probability it makes 0: a search that never ends takes all the steps that it may.
const NEVER: f32 = -1e4;

pub(super) fn workloads() -> Vec<Workload> {
    let of_size = |size: ModelSize| {
        [1, 64].map(|rows| Workload::new(format!("W6/{}/B{rows}", size.name), move |gpu| generation(gpu, size, rows)))
    };
    [ModelSize::S, ModelSize::M].into_iter().flat_map(of_size).collect()
}

fn model(gpu: &Gpu, size: &ModelSize) -> Result<Model> {
    // Only tokens go in and come out, so any tokenizer will do.
    let tokenizer = || Tokenizer::train(&TokenUnit::Chars, ["a"].into_iter(), None);
    let model = Model {
        gpu: gpu.clone(),
        network: size.network()?,
        parameters: size.parameters(gpu)?,
        source: tokenizer()?,
        target: tokenizer()?,
    };
    if let Some(bias) = model.parameters.tensor("output.bias") {
        let mut values: Vec<f32> = gpu.read(&bias)?;
        values[EOS as usize] = NEVER;
        gpu.write(&bias, &values)?;
    }
    Ok(model)
}

fn generation(gpu: &Gpu, size: ModelSize, rows: usize) -> Result<Subject> {
    let sources = size.sources(rows);
    let generator = Rc::new(RefCell::new(Generator::new(&model(gpu, &size)?)));
    // Programs and memory are made by the first search.
    generator.borrow_mut().generate(&sources, &SearchOptions::default())?;
    let (running, given) = (generator.clone(), sources.clone());
    // Tokens come back to the host: when it has them, all work is done.
    let run = move || running.borrow_mut().generate(&given, &SearchOptions::default()).map(|_| ());
    let check = move |_: &mut Work| {
        let found = generator.borrow_mut().generate(&sources, &SearchOptions::default())?;
        let sampled = sample::affordable(rows, size.multiplications());
        let sampled = if rows == 1 { vec![0] } else { sample::spread(rows, sampled) };
        Ok(error(&size, &sources, &found, &sampled))
    };
    Ok(Subject {
        work: Work::Steps(Box::new(run), cost(&size, rows)),
        check: Box::new(check),
        tolerance: tolerance(Dtype::F32),
        operations: None,
        tokens: Some((rows * size.steps) as f64),
        scratch: 0,
        label: None,
    })
}

/// Of the products; the parameters of a step must be read at each.
fn cost(size: &ModelSize, rows: usize) -> Cost {
    let ModelSize { embedding: e, hidden: h, steps, .. } = *size;
    let of_step = 3 * h * (e + 3 * h) + h * h + size.vocabularies[1] * (3 * h + e);
    let of_encoder = 2 * 3 * h * (e + h) + 2 * h * h;
    Cost {
        operations: 2.0 * (rows * size.multiplications()) as f64,
        transcendental: 0.0,
        read: ELEMENT as f64 * (of_encoder + steps * of_step) as f64,
        written: 0.0,
    }
}

/// The error of a generation: of the chosen tokens against the best ones by the reference's logits after the same tokens, and
/// of scores against the sums of their logarithms.
fn error(size: &ModelSize, sources: &[Vec<u32>], found: &[Vec<Hypothesis>], rows: &[usize]) -> f64 {
    let complete = |hypothesis: &Hypothesis| hypothesis.tokens.len() == size.steps && !hypothesis.finished;
    if found.len() != sources.len() || !found.iter().all(|found| found.len() == 1 && complete(&found[0])) {
        return f64::INFINITY;
    }
    let Ok(mut parameters) = size.host_parameters() else { return f64::INFINITY };
    if let Some(bias) = parameters.get_mut("output.bias") {
        bias[EOS as usize] = f64::from(NEVER);
    }
    let classes = size.vocabularies[1];
    let mut errors = Vec::new();
    for row in rows {
        let Hypothesis { tokens, score, .. } = &found[*row][0];
        let target_in = [&[BOS], &tokens[..size.steps - 1]].concat();
        let logits = size.reference(1).logits(&parameters, &sources[*row], &target_in);
        let mut sum = 0.0;
        for (logits, token) in logits.chunks(classes).zip(tokens) {
            let choices = &logits[EOS as usize..];
            let best = choices.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let normaliser = logits.iter().map(|logit| (logit - best).exp()).sum::<f64>().ln();
            errors.push(best - logits[*token as usize]);
            sum += logits[*token as usize] - best - normaliser;
        }
        errors.push((f64::from(*score) - sum).abs() / sum.abs());
    }
    sample::worst(errors)
}
