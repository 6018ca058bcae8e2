//! Long texts, learnt: what lies far back is found by a memory of earlier segments, by a position that sees everything, and by hashes.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    batch::{Batch, BatchShape},
    graph::Parameters,
    model::{
        Architecture as _, Network, Regularisation,
        bert::{self, Bert},
        first_values,
        reformer::{self, AttentionKind, Axial, Reformer},
        transformer_xl::{self, TransformerXl},
    },
    train::{Optimizer, Trainer},
};

use crate::common;

/// Trains on a batch a step: the mean loss of the last six, each from before its step.
fn learn(
    trainer: &mut Trainer,
    steps: std::ops::Range<u32>,
    learning_rate: f32,
    mut batch: impl FnMut() -> Batch,
) -> f32 {
    let mut losses = Vec::new();
    for step in steps {
        trainer.step(&batch(), step + 1, 1, learning_rate).unwrap();
        losses.push(common::gpu().read::<f32>(&trainer.loss).unwrap()[0]);
    }
    let last = &losses[losses.len() - losses.len().min(6)..];
    last.iter().sum::<f32>() / last.len() as f32
}

fn trainer(network: Network, parameters: &Parameters) -> Trainer {
    let optimizer = Optimizer { clip_norm: Some(1.0), ..Optimizer::default() };
    Trainer::new(common::gpu(), network, parameters, optimizer, Regularisation::default()).unwrap()
}

/// The perplexity of a Transformer-XL falls with the length of its memory (Dai et al. 2019, section 4.2): in a text that repeats itself
/// after one token more than a segment has, a position knows the next token where its memory reaches as far back.
#[test]
fn the_farther_a_memory_reaches_the_better_a_text_is_known() {
    const TOKENS: u32 = 8;
    const SEGMENT: usize = 4;
    let shape = BatchShape { rows: 16, source: 0, target: 24 };
    let config = |memory| transformer_xl::Config {
        hidden: 32,
        heads: 2,
        head_size: 16,
        feed_forward: 32,
        layers: 1,
        segment: SEGMENT,
        memory,
        max_length: shape.target,
        dropout: 0.0,
        ..transformer_xl::Config::new(4 + TOKENS as usize)
    };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut batch = || {
        let mut batch = Batch::filler(shape, config(0).specials);
        let rows = batch.target_in.chunks_mut(shape.target).zip(batch.target_out.chunks_mut(shape.target));
        for (before, behind) in rows {
            let repeated: Vec<u32> = (0..=SEGMENT).map(|_| 4 + random.random_range(0..TOKENS)).collect();
            let text: Vec<u32> = repeated.iter().cycle().copied().take(shape.target + 1).collect();
            before.copy_from_slice(&text[..shape.target]);
            behind.copy_from_slice(&text[1..]);
        }
        batch.target_lengths.fill(shape.target as u32);
        Batch { target_tokens: shape.rows * shape.target, ..batch }
    };
    let network = TransformerXl::new(config(SEGMENT)).unwrap();
    let parameters = first_values(common::gpu(), &network.parameters(), 1).unwrap();
    learn(&mut trainer(network, &parameters), 0..200, 1e-2, &mut batch);
    let [none, half, all] = [0, SEGMENT / 2, SEGMENT].map(|memory| {
        let mut trainer = trainer(TransformerXl::new(config(memory)).unwrap(), &parameters);
        learn(&mut trainer, 0..4, 0.0, &mut batch)
    });
    // Four of the 24 targets of a row are new in any case: a sixth of the loss of chance remains.
    let chance = (TOKENS as f32).ln();
    assert!(
        all < 0.6 * chance && half > all + 0.2 && none > half + 0.2 && none > 0.95 * chance,
        "{none}, {half}, {all}"
    );
}

/// One fact in a text of 4,096 tokens reaches its class by a position that sees everything (Beltagy et al. 2020, section 3.1); where
/// there is but a window, the fact is too far away, and the class is a guess.
#[test]
fn a_fact_far_back_is_known_by_a_position_that_sees_everything() {
    const CLASSES: u32 = 4;
    const LONGEST: usize = 4096;
    let config = bert::Config {
        architecture: "longformer".into(),
        classes: CLASSES as usize,
        head: bert::Head::Classify,
        hidden: 16,
        heads: 2,
        feed_forward: 16,
        layers: 1,
        windows: vec![8],
        segments: 1,
        max_length: LONGEST,
        ..bert::Config::new(12)
    };
    let network: Network = Bert::new(config.clone()).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut batch = |sees_everything: bool, [rows, length]: [usize; 2]| {
        let shape = BatchShape { rows, source: length, target: 1 };
        let mut batch = Batch::filler(shape, config.specials).with_padding(network.limits().padding);
        for row in 0..rows {
            let class = random.random_range(0..CLASSES);
            // The fact is one of four tokens among four others.
            let mut text: Vec<u32> = (0..length as u32).map(|place| 4 + CLASSES + place % 4).collect();
            text[random.random_range(length / 2..length)] = 4 + class;
            batch.put_source(row, &text);
            batch.target_out[row] = class;
        }
        batch.target_lengths.fill(1);
        let most = batch.globals.len() / rows;
        if sees_everything {
            batch.globals.iter_mut().step_by(most).for_each(|place| *place = 0);
        }
        Batch { target_tokens: rows, ..batch }
    };
    let [with, without] = [true, false].map(|sees_everything| {
        let mut trainer = trainer(network.clone(), &first_values(common::gpu(), &network.parameters(), 1).unwrap());
        // Short texts first: in long ones the fact is hardly seen before it is looked for. Where it cannot be seen, fewer steps show it.
        let texts = if sees_everything {
            [(0..80, [64, 32]), (80..105, [16, 512]), (105..111, [2, LONGEST])]
        } else {
            [(0..40, [64, 32]), (40..50, [16, 512]), (50..54, [2, LONGEST])]
        };
        texts.map(|(steps, sizes)| learn(&mut trainer, steps, 1e-2, || batch(sees_everything, sizes)))
    });
    let chance = (CLASSES as f32).ln();
    assert!(with[2] < 0.2 * chance, "{with:?}, by chance {chance}");
    assert!(without[..2].iter().all(|loss| *loss > 0.9 * chance), "{without:?}, by chance {chance}");
    assert!(without[2] > 0.6 * chance, "{without:?}, by chance {chance}");
}

/// A copy of 512 tokens, in texts of 1,024: a position attends to the one 512 before it, which only a hash finds among so many (Kitaev,
/// Kaiser and Levskaya 2020, section 5). What four hashes have taught is read with others, of which more miss less.
#[test]
fn what_was_said_512_tokens_ago_is_copied_by_hashes() {
    const TOKENS: u32 = 8;
    const HALF: usize = 512;
    const SIZE: usize = 64;
    let config = |hashes| reformer::Config {
        hidden: SIZE,
        heads: 2,
        head_size: 48,
        feed_forward: SIZE,
        attention: vec![AttentionKind::Lsh],
        lsh_chunk: 32,
        buckets: vec![32],
        hashes,
        axial: Some(Axial { shape: [2, HALF], sizes: [SIZE / 4, 3 * SIZE / 4] }),
        max_length: 2 * HALF,
        ..reformer::Config::new(4 + TOKENS as usize)
    };
    let network = Reformer::new(config(4)).unwrap();
    let padding = network.limits().padding;
    let shape = BatchShape { rows: 2, source: 0, target: 2 * HALF };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut batch = || {
        let mut batch = Batch::filler(shape, network.limits().specials).with_padding(padding);
        let rows = batch.target_in.chunks_mut(shape.target).zip(batch.target_out.chunks_mut(shape.target));
        for (before, behind) in rows {
            let said: Vec<u32> = (0..=HALF).map(|_| 4 + random.random_range(0..TOKENS)).collect();
            let text: Vec<u32> = said.iter().cycle().copied().take(shape.target + 1).collect();
            before.copy_from_slice(&text[..shape.target]);
            behind.copy_from_slice(&text[1..]);
            // What is said for the first time nobody can know.
            behind[..HALF].fill(padding);
        }
        batch.target_lengths.fill(shape.target as u32);
        Batch { target_tokens: shape.rows * HALF, ..batch }
    };
    let gpu = common::gpu();
    let parameters = first_values(gpu, &network.parameters(), 1).unwrap();
    // From small first values on, attention would begin as a mean over all that a hash finds, and stay so for long.
    for (name, factor) in
        [("word_embeddings", 50.0), ("attention.self_attention", 10.0), ("attention.output.dense", 10.0)]
    {
        for one in network.parameters().iter().filter(|one| one.name.contains(name)) {
            let tensor = parameters.tensor(&one.name).unwrap();
            let values: Vec<f32> = gpu.read(&tensor).unwrap();
            gpu.write(&tensor, &values.iter().map(|value| value * factor).collect::<Vec<_>>()).unwrap();
        }
    }
    let mut learner = trainer(network.clone(), &parameters);
    learn(&mut learner, 0..50, 1e-2, &mut batch);
    learn(&mut learner, 50..75, 2e-3, &mut batch);
    let known = |hashes: usize| {
        let mut trainer = trainer(Reformer::new(config(hashes)).unwrap(), &parameters);
        learn(&mut trainer, 0..2, 0.0, &mut batch)
    };
    let [eight, four, two, one] = [8, 4, 2, 1].map(known);
    assert!(eight < 0.03 && four > eight && two > 2.0 * four && one > two, "{eight}, {four}, {two}, {one}");
}
