//! GPT-2's steps through the caches against its whole pass, which golden cases hold to Hugging Face's.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    Error,
    batch::{Batch, BatchShape, Specials},
    generate::{Generator, Sampling, SearchOptions},
    graph::{Program, ProgramOptions},
    kernels::Step,
    model::{
        Forward, Layers, Network, TokenModel,
        gpt2::{Config, Gpt2},
        zeros,
    },
};

use crate::common;

fn config() -> Config {
    Config { hidden: 12, heads: 3, feed_forward: 10, layers: 2, max_length: 24, ..Config::new(9) }
}

fn model() -> TokenModel {
    let network: Network = Gpt2::new(config()).unwrap();
    let parameters = zeros(common::gpu(), &network.parameters()).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for name in parameters.names() {
        let tensor = parameters.tensor(name).unwrap();
        let values: Vec<f32> = (0..tensor.elements()).map(|_| random.random_range(-0.9..0.9)).collect();
        common::gpu().write(&tensor, &values).unwrap();
    }
    TokenModel { gpu: common::gpu().clone(), network, parameters }
}

/// The log-probability of the tokens of one text, from `<bos>` on.
fn log_probability(model: &TokenModel, tokens: &[u32]) -> f64 {
    let mut layers = Layers::new();
    let shape = BatchShape { rows: 1, source: 0, target: tokens.len() };
    let Forward { logits, .. } = model.network.forward(&mut layers, shape).unwrap();
    let options =
        ProgramOptions { parameters: Some(&model.parameters), outputs: &[logits], ..ProgramOptions::default() };
    let mut program = Program::compile(&model.gpu, &layers.graph, &options).unwrap();
    let mut batch = Batch::filler(shape, Specials::default());
    batch.target_in = [1].into_iter().chain(tokens.iter().copied()).take(tokens.len()).collect();
    program.stage(&batch).unwrap();
    program.run(Step::default()).unwrap();
    let logits: Vec<f32> = program.read(logits).unwrap();
    let gains = logits.chunks(9).zip(tokens).map(|(logits, token)| {
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        f64::from(logits[*token as usize]) - total.ln()
    });
    gains.sum()
}

#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    let model = model();
    let mut generator = Generator::new(&model);
    for beam in [1, 4] {
        let options = SearchOptions { n_best: beam, max_length: Some(23), ..SearchOptions::beam(beam) };
        for text in &generator.generate(&[vec![]], &options).unwrap()[0] {
            let ended = text.finished.then_some(2);
            let tokens: Vec<u32> = text.tokens.iter().copied().chain(ended).collect();
            let expected = log_probability(&model, &tokens);
            let error = (f64::from(text.score) - expected).abs() / expected.abs().max(1.0);
            assert!(error < 2e-5, "beam {beam}: {text:?}, expected {expected}");
        }
    }
    let attended = SearchOptions { attended: true, ..SearchOptions::default() };
    assert!(matches!(generator.generate(&[vec![]], &attended), Err(Error::Data { .. })));
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
