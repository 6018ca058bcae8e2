//! The Transformer against its reference: normalised before and after, with positions and tables of every kind.

use std::collections::BTreeMap;

use crate::common::{
    self,
    models::{Case, assert_agrees, assert_agrees_in_every_form, assert_steps_are_the_whole_pass},
};
use softalign::{
    Error,
    model::{
        BatchShape, Kind, ModelOptions, Nonlinearity, NormOrder, PositionKind, Readout, Regularisation,
        transformer::{Config, Transformer},
    },
    reference::{self, seq2seq::Named},
    train::{Objective, TrainingGraph},
};

/// A model for each place of the norm, kind of position and sharing of tables.
fn configs() -> Vec<Config> {
    let mut all = Vec::new();
    for norm in [NormOrder::Pre, NormOrder::Post] {
        for (positions, position_offset) in
            [(PositionKind::Sinusoidal, 0), (PositionKind::SinesFirst, 0), (PositionKind::Learned, 2)]
        {
            for (shared_embeddings, tie_embeddings) in [(false, false), (false, true), (true, true)] {
                let learned = positions == PositionKind::Learned;
                all.push(Config {
                    hidden: 12,
                    heads: 3,
                    encoder_feed_forward: 7,
                    decoder_feed_forward: 9,
                    encoder_layers: 2,
                    decoder_layers: 1 + usize::from(shared_embeddings),
                    norm,
                    positions,
                    position_offset,
                    activation: if learned { Nonlinearity::Swish } else { Nonlinearity::Relu },
                    embedding_norm: learned,
                    scale_embeddings: !learned,
                    shared_embeddings,
                    tie_embeddings,
                    output_bias: shared_embeddings,
                    max_length: 8,
                    ..Config::new(9, if shared_embeddings { 9 } else { 8 })
                });
            }
        }
    }
    all
}

fn reference<'a>(config: &Config, parameters: &'a Named) -> reference::transformer::Transformer<'a> {
    use reference::transformer::{Nonlinearity as Activation, Positions, Transformer};
    let tables = match (config.shared_embeddings, config.tie_embeddings) {
        (true, _) => ["model.shared.weight"; 3],
        (false, tied) => {
            let (source, target) = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight");
            [source, target, if tied { target } else { "lm_head.weight" }]
        }
    };
    Transformer {
        parameters,
        hidden: config.hidden,
        heads: config.heads,
        layers: [config.encoder_layers, config.decoder_layers],
        norm_first: config.norm == NormOrder::Pre,
        positions: match config.positions {
            PositionKind::Sinusoidal => Positions::Sinusoidal,
            PositionKind::SinesFirst => Positions::SinesFirst,
            PositionKind::Learned => Positions::Learned { first: config.position_offset },
        },
        activation: match config.activation {
            Nonlinearity::Swish => Activation::Swish,
            _ => Activation::Relu,
        },
        embedding_norm: config.embedding_norm,
        factor: if config.scale_embeddings { (config.hidden as f64).sqrt() } else { 1.0 },
        tables,
    }
}

fn case(config: &Config, seed: u64) -> Case {
    Case::new(Transformer::new(config.clone()).unwrap(), 0.6, seed)
}

/// The logits `[B, T, W]` of a case's batch.
fn logits(config: &Config, case: &Case, named: &Named) -> Vec<f64> {
    let reference = reference(config, named);
    case.logits(|source, target| reference.decode(&reference.encode(source), target))
}

#[test]
fn every_combination_agrees_with_the_reference() {
    for (index, config) in configs().iter().enumerate() {
        let case = case(config, index as u64);
        assert_agrees(config, &case, [2, index as u64], |named| logits(config, &case, named));
    }
}

#[test]
fn portable_kernels_and_f16_agree_with_the_reference() {
    for config in configs().iter().step_by(7) {
        let case = case(config, 1);
        assert_agrees_in_every_form(config, &case, &logits(config, &case, &case.named()));
    }
}

/// Batches are padded, and every place needs a learned vector.
#[test]
fn learned_positions_reach_to_padded_lengths() {
    let settings = BTreeMap::from([("positions".to_owned(), "learned".to_owned())]);
    let options = ModelOptions { max_length: 51, settings, ..ModelOptions::default() };
    let network = Kind::named("transformer").unwrap().make(&options, [9, 8]).unwrap();
    assert_eq!(network.limits().max_length, 56);
    let message = Kind::named("transformer")
        .unwrap()
        .make(&ModelOptions { readout: Readout::None, ..ModelOptions::default() }, [9, 8])
        .unwrap_err()
        .to_string();
    assert!(message.contains("readout"), "{message}");
    let regularisation = Regularisation { dropout_state: 0.1, ..Regularisation::default() };
    let states = Objective { regularisation, ..Objective::default() };
    let refused = TrainingGraph::new(network.as_ref(), BatchShape::new(2, 4, 4), &states);
    assert!(matches!(refused, Err(Error::Data { ref path, .. }) if path.contains("dropout_state")), "{refused:?}");
}

#[test]
fn refuses_what_is_no_model() {
    let right = Config::new(9, 8);
    assert!(right.check("config").is_ok());
    for (fields, wrong) in [
        (["heads", "hidden"], Config { heads: 3, ..right.clone() }),
        (["heads", "from 1"], Config { heads: 0, ..right.clone() }),
        (["hidden", "positions"], Config { hidden: 255, heads: 5, ..right.clone() }),
        (["source_vocabulary", "target_vocabulary"], Config { shared_embeddings: true, ..right.clone() }),
        (["attention_dropout", "less than 1"], Config { attention_dropout: 1.0, ..right.clone() }),
        (["decoder_layers", "from 1"], Config { decoder_layers: 0, ..right.clone() }),
    ] {
        match Transformer::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
}

/// The caches hold what the teacher-forced pass computes. Sharper logits make choices that rounding does not turn.
#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    for (index, config) in configs().iter().enumerate().step_by(4) {
        let config = Config { max_length: 20, ..config.clone() };
        let mut case = case(&config, 100 + index as u64);
        for (name, values) in &mut case.values {
            let factor = if name == "final_logits_bias" { 0.0 } else { 2.0 };
            values.iter_mut().for_each(|value| *value *= factor);
        }
        let (named, model) = (case.named(), case.model(common::gpu()));
        let reference = reference(&config, &named);
        let logits = |source: &[u32], target: &[u32]| reference.decode(&reference.encode(source), target);
        assert_steps_are_the_whole_pass(&config, &model, &case.sources(), logits);
    }
}
