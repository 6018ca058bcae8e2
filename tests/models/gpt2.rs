//! GPT-2 against its reference, and its steps through the caches against its whole pass; golden cases hold both to Hugging Face's.

use softalign::{
    Error,
    batch::Specials,
    generate::{Generator, Sampling, SearchOptions},
    model::{
        Network, TokenModel,
        gpt2::{Config, Gpt2},
    },
    reference::{self, seq2seq::Named},
};

use crate::common::{
    self,
    models::{
        Case, SHAPE, TARGET_IN, assert_agrees, assert_agrees_in_every_form, assert_steps_are_the_whole_pass, whole_pass,
    },
};

fn config() -> Config {
    Config { hidden: 12, heads: 3, feed_forward: 10, layers: 2, max_length: 24, ..Config::new(9) }
}

fn case() -> Case {
    Case::new(Gpt2::new(config()).unwrap(), 0.9, 1)
}

fn model() -> TokenModel {
    case().model(common::gpu())
}

/// The reference's logits `[B, T, W]` of the batch of all cases.
fn logits(parameters: &Named) -> Vec<f64> {
    let Config { hidden, heads, layers, .. } = config();
    let reference = reference::gpt2::Gpt2 { parameters, hidden, heads, layers };
    TARGET_IN.chunks(SHAPE.target).flat_map(|target| reference.logits(target)).collect()
}

#[test]
fn agrees_with_the_reference_in_every_form() {
    assert_agrees(&config(), &case(), [3, 1], logits);
    assert_agrees_in_every_form(&config(), &case(), &logits(&case().named()));
}

#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    let model = model();
    let logits = |_: &[u32], target: &[u32]| whole_pass(&model, &[], target);
    assert_steps_are_the_whole_pass(&config(), &model, &[vec![]], logits);
    let attended = SearchOptions { attended: true, ..SearchOptions::default() };
    assert!(matches!(Generator::new(&model).generate(&[vec![]], &attended), Err(Error::Data { .. })));
}

/// The one token that begins and ends texts, as GPT-2's own does, ends them here too.
#[test]
fn a_token_that_begins_texts_may_end_them() {
    let specials = Specials { bos: 2, eos: 2, pad: u32::MAX, unk: u32::MAX };
    let network: Network = Gpt2::new(Config { specials, ..config() }).unwrap();
    let model = TokenModel { network, ..model() };
    let sampling = Some(Sampling { temperature: 3.0, top_k: 0, top_p: 1.0 });
    let options = SearchOptions { sampling, n_best: 16, max_length: Some(23), ..SearchOptions::default() };
    let texts = Generator::new(&model).generate(&[vec![]], &options).unwrap().remove(0);
    assert!(texts.iter().any(|text| text.finished), "{texts:?}");
    assert!(texts.iter().all(|text| !text.tokens.contains(&2)), "{texts:?}");
}

/// A place past the last learned one has no vector.
#[test]
fn texts_are_no_longer_than_the_positions() {
    let options = SearchOptions { max_length: Some(25), ..SearchOptions::default() };
    let refused = Generator::new(model()).generate(&[vec![]], &options);
    assert!(matches!(refused, Err(Error::Data { ref message, .. }) if message.contains("24 positions")), "{refused:?}");
}

#[test]
fn refuses_what_is_no_model() {
    for (field, wrong) in [
        ("heads", Config { heads: 5, ..config() }),
        ("vocabulary", Config { vocabulary: 3, ..config() }),
        ("epsilon", Config { epsilon: 0.0, ..config() }),
        ("dropout", Config { dropout: -0.1, ..config() }),
    ] {
        match Gpt2::new(wrong) {
            Err(Error::Data { message, .. }) => assert!(message.contains(field), "{message}"),
            other => panic!("{field}: {other:?}"),
        }
    }
}
