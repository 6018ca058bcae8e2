//! A whole training step where its shapes and lengths end: one step, one row, nothing but special tokens, sources of nothing.

use std::collections::HashMap;

use crate::common;
use softalign::{
    model::{
        Architecture, BatchShape, Regularisation,
        bahdanau::{Bahdanau, Config, Readout},
        first_values,
    },
    reference::seq2seq,
    text::{Batch, EOS, PAD, Specials},
    train::{Optimizer, Trainer},
};

/// The fewest tokens that a vocabulary has: none beside the specials.
const SPECIALS: usize = 4;
const SIZE: usize = 6;

/// A source, and the target that it should have.
type Pair = (&'static [u32], &'static [u32]);

/// The loss and all gradients of one step.
type Outcome = (f32, HashMap<String, Vec<f32>>);

fn config(vocabulary: usize) -> Config {
    Config {
        embedding: SIZE,
        hidden: SIZE,
        attention: SIZE,
        readout: Readout::None,
        max_length: 9,
        ..Config::new(vocabulary, vocabulary)
    }
}

/// Rows of a source each and the target that it should have, each of one length with its `<eos>`.
fn batch(source_steps: usize, target_steps: usize, rows: &[Pair]) -> Batch {
    let mut batch = Batch::filler(BatchShape::new(rows.len(), source_steps, target_steps), Specials::FIRST);
    for (row, (source, target)) in rows.iter().enumerate() {
        batch.put_source(row, source);
        match target {
            [words @ .., EOS] => batch.put_target(row, words),
            _ => assert!(target.is_empty(), "a target ends in <eos>"),
        }
    }
    batch
}

fn values(config: &Config) -> Vec<(String, Vec<f32>)> {
    let parameters = Bahdanau::new(config.clone()).unwrap().parameters();
    parameters.into_iter().map(|one| (one.name.clone(), one.values(1))).collect()
}

/// One step, which must be made.
fn step(vocabulary: usize, batch: &Batch) -> Outcome {
    let gpu = common::gpu();
    let network = Bahdanau::new(config(vocabulary)).unwrap();
    let parameters = first_values(gpu, &network.parameters(), 1).unwrap();
    let optimizer = Optimizer { clip_norm: Some(1.0), ..Optimizer::default() };
    let mut trainer = Trainer::new(gpu, network, &parameters, optimizer, Regularisation::default()).unwrap();
    trainer.step(batch, 1, 1, 1e-3).unwrap();
    let report = trainer.state.read_report(gpu).unwrap();
    assert!(
        report.norm.is_finite() && report.updated == 1.0 && report.skipped == 0,
        "the step was not made: {report:?}"
    );
    let gradients = parameters
        .names()
        .iter()
        .map(|name| (name.clone(), gpu.read(&trainer.state.gradients.tensor(name).unwrap()).unwrap()));
    (gpu.read(&trainer.loss).unwrap()[0], gradients.collect())
}

fn assert_near(what: &str, found: &Outcome, wanted_loss: f64, wanted: impl Fn(&str) -> Vec<f64>) {
    assert!((f64::from(found.0) - wanted_loss).abs() < 1e-5, "{what}: {} {wanted_loss}", found.0);
    for (name, found) in &found.1 {
        let wanted = wanted(name);
        assert_eq!(found.len(), wanted.len(), "{what}: {name}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((f64::from(*found) - wanted).abs() < 1e-5, "{what}: {name}: {found} {wanted}");
        }
    }
}

#[test]
fn one_step_one_row_and_no_word_agree_with_the_reference() {
    let longer: &'static [u32] = &[3, EOS];
    let nothing: &'static [u32] = &[EOS];
    let cases: [(&str, &[Pair]); 4] = [
        ("S = 1, T = 1, one row", &[(nothing, nothing)]),
        ("S = 1", &[(nothing, longer), (nothing, longer)]),
        ("T = 1", &[(longer, nothing), (longer, nothing)]),
        ("a vocabulary of specials", &[(longer, longer)]),
    ];
    for (what, rows) in cases {
        let batch = batch(rows[0].0.len(), rows[0].1.len(), rows);
        let reference = seq2seq::Seq2Seq {
            batch: batch.shape.rows,
            source_steps: batch.shape.source,
            target_steps: batch.shape.target,
            source_vocabulary: SPECIALS,
            target_vocabulary: SPECIALS,
            word: SIZE,
            hidden: SIZE,
            attention: SIZE,
        };
        let wide = |(name, values): (String, Vec<f32>)| (name, values.into_iter().map(f64::from).collect());
        let parameters = values(&config(SPECIALS)).into_iter().map(wide).collect();
        let (loss, gradients) =
            reference.loss_and_gradients(&parameters, &batch.source, &batch.target_in, &batch.target_out);
        assert_near(what, &step(SPECIALS, &batch), loss, |name| gradients[name].clone());
    }
}

#[test]
fn rows_of_nothing_add_nothing() {
    let row: Pair = (&[5, 4, EOS], &[4, 5, 6, EOS]);
    let (loss, gradients) = step(7, &batch(3, 4, &[row]));
    let widened = |name: &str| gradients[name].iter().map(|x| f64::from(*x)).collect();
    let (nothing, no_target): (Pair, Pair) = ((&[], &[]), (&[4], &[]));
    for rows in [vec![row, nothing], vec![nothing, row, nothing], vec![no_target, row]] {
        assert_near(&format!("{rows:?}"), &step(7, &batch(3, 4, &rows)), loss.into(), widened);
    }
    // With padding around it, it is the same row.
    assert_near("padded", &step(7, &batch(9, 9, &[row])), loss.into(), widened);
}

#[test]
fn a_source_of_nothing_still_has_a_target() {
    // Both contexts are zero: whatever stands in the source's places, the step is the same to the bit.
    let answers: &'static [u32] = &[4, EOS];
    let mut batch = batch(2, 2, &[(&[], answers), (&[], answers)]);
    let (loss, gradients) = step(7, &batch);
    assert!(loss > 0.0);
    assert!(gradients["encoder.embedding.weight"].iter().all(|x| *x == 0.0), "nothing of the source was read");
    assert!(gradients["attention.energy.weight"].iter().all(|x| *x == 0.0), "nothing was attended to");
    assert!(gradients["output.bias"].iter().any(|x| *x != 0.0));
    batch.source.fill(6);
    assert!(step(7, &batch) == (loss, gradients));
    // Without a target there is no loss, and no gradient.
    batch.target_out.fill(PAD);
    batch.target_tokens = 0;
    let (loss, gradients) = step(7, &batch);
    assert!(loss == 0.0 && gradients.values().flatten().all(|x| *x == 0.0));
}
