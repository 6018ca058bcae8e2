//! W8: training steps of Transformers, forward, loss, backward, clipping and Adam.

use std::{cell::RefCell, rc::Rc};

use super::{
    super::{ModelSize, Subject, Work, Workload, sample},
    tolerance, typed,
};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    model::{
        Network, Regularisation, first_values,
        transformer::{Config, Transformer},
    },
    reference::{self, cross_entropy::CrossEntropy},
    text::Batch,
    train::{Optimizer, Trainer},
    validate::widen,
};

const LEARNING_RATE: f32 = 1e-3;
/// The seed of first values.
const SEED: u64 = 1;

/// Sizes of a model and of its batches.
#[derive(Clone, Copy)]
struct Size {
    /// Vocabularies, batches and D; its other sizes are those of recurrent models.
    data: ModelSize,
    /// Layers on each side.
    layers: usize,
}

const HEADS: usize = 8;
const SIZES: [Size; 2] = [Size { data: ModelSize::S, layers: 3 }, Size { data: ModelSize::M, layers: 6 }];

pub(super) fn workloads() -> Vec<Workload> {
    let of_size = |(dtype, size): (Dtype, Size)| {
        Workload::of(dtype, format!("W8/{}", size.data.name), move |gpu| training(gpu, dtype, size))
    };
    typed(&SIZES, &SIZES).map(of_size).collect()
}

impl Size {
    fn config(&self) -> Config {
        let ModelSize { hidden, steps, vocabularies: [source, target], .. } = self.data;
        Config {
            hidden,
            heads: HEADS,
            encoder_feed_forward: 4 * hidden,
            decoder_feed_forward: 4 * hidden,
            encoder_layers: self.layers,
            decoder_layers: self.layers,
            max_length: steps,
            ..Config::new(source, target)
        }
    }

    /// Multiplications of the forward of one row: 12 D² a step in a layer of the encoder, 16 D² in one of the decoder.
    fn multiplications(&self) -> usize {
        let ModelSize { hidden, steps, vocabularies: [_, target], .. } = self.data;
        steps * hidden * (self.layers * 28 * hidden + target)
    }

    /// The mean loss of the targets of some rows.
    fn loss(&self, network: &Network, batch: &Batch, rows: &[usize]) -> f64 {
        let parameters = network.parameters().into_iter().map(|one| (one.name.clone(), widen(&one.values(SEED))));
        let parameters = parameters.collect();
        let ModelSize { hidden, steps, vocabularies: [_, classes], .. } = self.data;
        let (source, target) = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight");
        let model = reference::transformer::Transformer {
            parameters: &parameters,
            hidden,
            heads: HEADS,
            layers: [self.layers; 2],
            norm_first: true,
            positions: reference::transformer::Positions::Sinusoidal,
            activation: reference::transformer::Nonlinearity::Relu,
            embedding_norm: false,
            factor: (hidden as f64).sqrt(),
            tables: [source, target, target],
        };
        let of_row = |row: &usize| -> f64 {
            let pick = |tokens: &[u32]| sample::rows(tokens, steps, &[*row]);
            let logits = model.decode(&model.encode(&pick(&batch.source)), &pick(&batch.target_in));
            let scale = 1.0 / (rows.len() * steps) as f64;
            let padding = batch.specials.pad;
            CrossEntropy { rows: steps, classes, smoothing: 0.0, impossible: 0, scale, padding }
                .forward(&logits, &pick(&batch.target_out))
        };
        rows.iter().map(of_row).sum()
    }
}

fn trainer(gpu: &Gpu, dtype: Dtype, size: Size) -> Result<(Network, Trainer)> {
    let network: Network = Transformer::new(size.config())?;
    let parameters = first_values(gpu, &network.parameters(), SEED)?;
    let optimizer = Optimizer { clip_norm: Some(1.0), precision: dtype, ..Optimizer::default() };
    let trainer = Trainer::new(gpu, network.clone(), &parameters, optimizer, Regularisation::default())?;
    Ok((network, trainer))
}

/// A trainer of W8 M before its first step.
///
/// # Errors
/// The errors of the device.
pub(in crate::bench) fn transformer_trainer(gpu: &Gpu) -> Result<Trainer> {
    trainer(gpu, Dtype::F32, SIZES[1]).map(|(_, trainer)| trainer)
}

/// The training step. The check compares the loss of the very Program that is timed with the first parameters, on the same batch but
/// with the targets of some rows alone: validations of kernels and golden cases look after the gradients.
fn training(gpu: &Gpu, dtype: Dtype, size: Size) -> Result<Subject> {
    let (network, mut trainer) = trainer(gpu, dtype, size)?;
    let program = trainer.prepare(size.data.shape())?;
    let (cost, scratch) = (program.recording().cost(), program.memory().slots);
    let trainer = Rc::new(RefCell::new(trainer));
    let (batch, running, waiting, mut number) = (size.data.batch(), trainer.clone(), gpu.clone(), 1);
    let step = move || {
        number += 1;
        running.borrow_mut().step(&batch, number, 1, LEARNING_RATE)?;
        waiting.wait(None)
    };
    let gpu = gpu.clone();
    let check = move |_: &mut Work| {
        let rows = sample::spread(size.data.batch, sample::affordable(size.data.batch, size.multiplications()));
        let batch = size.data.sparse_batch(&rows);
        let mut trainer = trainer.borrow_mut();
        trainer.step(&batch, 1, 1, LEARNING_RATE)?;
        Ok(sample::whole(&gpu.read(&trainer.loss)?, &[size.loss(&network, &batch, &rows)]))
    };
    Ok(Subject {
        work: Work::Steps(Box::new(step), cost),
        check: Box::new(check),
        tolerance: tolerance(dtype),
        operations: None,
        tokens: Some((size.data.batch * size.data.steps) as f64),
        scratch,
        label: None,
    })
}
