//! The convolutional model against its reference.

use crate::common::{
    self,
    models::{Case, assert_agrees, assert_agrees_in_every_form, assert_steps_are_the_whole_pass},
};
use softalign::{
    Error,
    model::{
        Kind, ModelOptions,
        convs2s::{Config, ConvS2S},
    },
    reference::{self, seq2seq::Named},
};

/// Models of several widths; the last one's steps need no earlier inputs.
fn configs() -> Vec<Config> {
    let widths: [(&[usize], &[usize]); 4] = [(&[3], &[3]), (&[5, 1], &[2, 4]), (&[1, 3, 3], &[1, 3]), (&[7], &[1])];
    let config = |(number, (encoder, decoder)): (usize, (&[usize], &[usize]))| Config {
        embedding: 4 + number,
        hidden: 8 - number,
        output_size: 5,
        encoder_widths: encoder.to_vec(),
        decoder_widths: decoder.to_vec(),
        max_length: 20,
        ..Config::new(9, 8)
    };
    widths.into_iter().enumerate().map(config).collect()
}

fn reference<'a>(config: &'a Config, parameters: &'a Named) -> reference::convs2s::ConvS2S<'a> {
    reference::convs2s::ConvS2S {
        parameters,
        embedding: config.embedding,
        hidden: config.hidden,
        encoder_widths: &config.encoder_widths,
        decoder_widths: &config.decoder_widths,
    }
}

fn case(config: &Config, seed: u64) -> Case {
    Case::new(ConvS2S::new(config.clone()).unwrap(), 0.9, seed)
}

/// The logits `[B, T, W]` of a case's batch.
fn logits(config: &Config, case: &Case, named: &Named) -> Vec<f64> {
    let reference = reference(config, named);
    case.logits(|source, target| reference.decode(&reference.encode(source), target))
}

#[test]
fn every_width_agrees_with_the_reference() {
    for (index, config) in configs().iter().enumerate() {
        let case = case(config, index as u64);
        assert_agrees(config, &case, [3, index as u64], |named| logits(config, &case, named));
    }
}

#[test]
fn portable_kernels_and_f16_agree_with_the_reference() {
    let config = &configs()[1];
    let case = case(config, 1);
    assert_agrees_in_every_form(config, &case, &logits(config, &case, &case.named()));
}

#[test]
fn steps_from_the_last_inputs_are_those_of_the_whole_pass() {
    for (index, config) in configs().iter().enumerate() {
        let case = case(config, 100 + index as u64);
        let (named, model) = (case.named(), case.model(common::gpu()));
        let reference = reference(config, &named);
        let logits = |source: &[u32], target: &[u32]| reference.decode(&reference.encode(source), target);
        assert_steps_are_the_whole_pass(config, &model, &case.sources(), logits);
    }
}

#[test]
fn refuses_what_is_no_model() {
    let right = Config::new(9, 8);
    assert!(right.check("config").is_ok());
    for (fields, wrong) in [
        (["embedding", "attention"], Config { embedding: 257, ..right.clone() }),
        (["encoder_widths", "odd"], Config { encoder_widths: vec![3, 4], ..right.clone() }),
        (["decoder_widths", "from 1"], Config { decoder_widths: vec![0], ..right.clone() }),
        (["the number of encoder_widths", "0"], Config { encoder_widths: vec![], ..right.clone() }),
        (["dropout", "less than 1"], Config { dropout: 1.0, ..right.clone() }),
    ] {
        match ConvS2S::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
    let kind = Kind::named("convs2s").unwrap();
    let message = kind.make(&ModelOptions { tie_embeddings: true, ..ModelOptions::default() }, [9, 8]).unwrap_err();
    assert!(message.to_string().contains("tie_embeddings"), "{message}");
    // Batches are padded, and every place needs a vector.
    let options = ModelOptions { max_length: 51, layers: 2, ..ModelOptions::default() };
    let network = kind.make(&options, [9, 8]).unwrap();
    let config: Config = serde_json::from_str(&network.config().unwrap()).unwrap();
    assert_eq!((config.max_length, config.decoder_widths), (56, vec![3, 3]));
}
