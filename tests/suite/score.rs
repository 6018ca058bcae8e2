//! Log-probabilities of given pairs: against the search's own, alone and together, and their totals.

use crate::common;
use softalign::{
    Error,
    generate::{Generator, Likelihood, Scorer, SearchOptions},
    model::{
        Model,
        bahdanau::{Bahdanau, Config},
        bert::{self, Bert, Head},
    },
    text::{EOS, Example, TokenUnit, Tokenizer},
};

fn model(vocabulary: usize) -> Model {
    let text: String = ('a'..='z').take(vocabulary - 4).collect();
    let tokenizer = || Tokenizer::train(&TokenUnit::Chars, [text.as_str()].into_iter(), None).unwrap();
    let sizes =
        Config { embedding: 6, hidden: 10, attention: 9, readout_size: 7, ..Config::new(vocabulary, vocabulary) };
    let config = Config { dropout: 0.5, max_length: 12, ..sizes };
    Model::new(common::gpu(), Bahdanau::new(config).unwrap(), tokenizer(), tokenizer(), 3).unwrap()
}

fn example(source: &[u32], target: &[u32]) -> Example {
    Example::new([source, &[EOS]].concat(), target.into())
}

/// Sources and targets of every length up to some, an empty target among them.
fn examples(model: &Model) -> Vec<Example> {
    let size = model.network.limits().target_vocabulary as u32;
    let token = |i: usize| 3 + (i as u32 * 7 + 1) % (size - 3);
    let tokens = |count: usize, from: usize| (0..count).map(|i| token(from + i)).collect::<Vec<_>>();
    (0..90).map(|i| example(&tokens(1 + i % 11, i), &tokens(i % 14, 2 * i))).collect()
}

#[test]
fn the_search_finds_what_is_likely() {
    let model = model(9);
    let source = example(&[4, 5, 6, 7], &[]).source;
    let options = SearchOptions { n_best: 16, ..SearchOptions::beam(16) };
    let found = Generator::new(&model).generate(std::slice::from_ref(&source), &options).unwrap();
    let examples: Vec<_> = found[0].iter().map(|text| Example::new(source.clone(), text.tokens.clone())).collect();
    let scored = Scorer::new(&model).score(&examples).unwrap();
    let mut finished = 0;
    for (hypothesis, scored) in found[0].iter().zip(scored) {
        assert_eq!(scored.tokens, hypothesis.tokens.len() + 1);
        let wanted = f64::from(hypothesis.score);
        if hypothesis.finished {
            finished += 1;
            assert!((scored.log_probability - wanted).abs() < 1e-4, "{scored:?} is not {wanted}");
        } else {
            // The text was cut off before its <eos>.
            assert!(scored.log_probability < wanted, "{scored:?} is likelier than {wanted} without its <eos>");
        }
    }
    assert!(finished >= 2, "{finished} of {}", found[0].len());
}

#[test]
fn texts_share_one_probability() {
    let model = model(6);
    let mut scorer = Scorer::new(&model);
    let mut mass = |targets: &[Vec<u32>]| -> f64 {
        let examples: Vec<_> = targets.iter().map(|target| example(&[4, 5], target)).collect();
        scorer.score(&examples).unwrap().iter().map(|found| found.log_probability.exp()).sum()
    };
    let alone = mass(&[vec![]]);
    assert!(alone > 0.0 && alone < 1.0);
    let one: Vec<Vec<u32>> = [1, 3, 4, 5].map(|token| vec![token]).into();
    let ended = alone + mass(&one);
    assert!(ended > alone && ended < 1.0, "{ended}");
}

#[test]
fn pairs_are_scored_alike_alone_and_together() {
    for size in [9, 25] {
        let model = model(size);
        let examples = examples(&model);
        let mut scorer = Scorer::new(&model);
        let together = scorer.score(&examples).unwrap();
        assert_eq!(together, scorer.score(&examples).unwrap());
        for (example, found) in examples.iter().zip(&together).step_by(7) {
            let alone = scorer.score(std::slice::from_ref(example)).unwrap()[0];
            assert_eq!(alone.tokens, example.target.len() + 1);
            assert_eq!(alone.tokens, found.tokens);
            assert!((alone.log_probability - found.log_probability).abs() < 1e-4, "{alone:?} is not {found:?}");
            assert!(found.log_probability < 0.0);
        }
        let mut parts = Vec::new();
        let mut many = examples.clone();
        (0..11).for_each(|_| many.extend_from_slice(&examples));
        scorer
            .score_in_parts(&many, |part| {
                parts.push(part.to_vec());
                Ok(())
            })
            .unwrap();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 56]);
        for (found, wanted) in parts.concat().iter().zip(together.iter().cycle()) {
            assert!((found.log_probability - wanted.log_probability).abs() < 1e-4);
        }
        assert_eq!(scorer.score(&[]).unwrap(), []);
    }
}

/// The ends of an answer are as likely in any batch: what fills a source up is none of them.
#[test]
fn answers_are_scored_alike_whatever_stands_beside_them() {
    let tokenizer = Tokenizer::train(&TokenUnit::Chars, ["abcdef"].into_iter(), None).unwrap().begun().unwrap();
    let sizes =
        bert::Config { hidden: 16, heads: 2, feed_forward: 16, layers: 1, ..bert::Config::new(tokenizer.size()) };
    let network = Bert::new(bert::Config { head: Head::Span, max_length: 24, ..sizes }).unwrap();
    let model = Model::new(common::gpu(), network, tokenizer.clone(), tokenizer, 3).unwrap();
    let source = model.encode("ab\tcd").unwrap();
    assert_eq!(source.len() % 2, 1, "its batches are padded");
    let options = SearchOptions { n_best: 3, ..SearchOptions::beam(3) };
    let found = Generator::new(&model).generate(std::slice::from_ref(&source), &options).unwrap().remove(0);
    let long = Example { source: model.encode("ab\tcdefabcdefabcdef").unwrap(), target: vec![4, 5], cut: true };
    let answer = |target: &[u32]| Example { source: source.clone(), target: target.to_vec(), cut: true };
    let answers: Vec<_> = found.iter().map(|one| answer(&one.tokens)).chain([long]).collect();
    let mut scorer = Scorer::new(&model);
    let together = scorer.score(&answers).unwrap();
    for ((answer, one), beside) in answers.iter().zip(&found).zip(together) {
        let alone = scorer.score(std::slice::from_ref(answer)).unwrap()[0];
        for scored in [alone, beside] {
            assert!((scored.log_probability - f64::from(one.score)).abs() < 1e-4, "{scored:?} is not {one:?}");
        }
    }
}

#[test]
fn strange_pairs_are_refused() {
    let model = model(9);
    let mut scorer = Scorer::new(&model);
    let good = example(&[4], &[5]);
    for bad in [Example::new(vec![], vec![5]), example(&[9], &[5]), example(&[4], &[9])] {
        match scorer.score(&[good.clone(), bad]) {
            Err(Error::Data { message, .. }) => assert!(message.starts_with("pair 2 "), "{message}"),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn totals() {
    let mut all = Likelihood::default();
    assert_eq!((all.perplexity(), all.bits_per_token()), (1.0, 0.0));
    all += Likelihood { log_probability: -3.0 * std::f64::consts::LN_2, tokens: 1 };
    all += Likelihood { log_probability: -std::f64::consts::LN_2, tokens: 3 };
    assert_eq!(all.tokens, 4);
    assert!((all.bits_per_token() - 1.0).abs() < 1e-12);
    assert!((all.perplexity() - 2.0).abs() < 1e-12);
}
