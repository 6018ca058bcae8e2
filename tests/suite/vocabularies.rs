//! Vocabularies of training: one for both sides, tokens that are seen often enough, and merges that are left out at random.

use std::fs;

use crate::common::training::{Setting, refusal, run, state, stopped};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use softalign::{
    text::{Limits, TokenUnit, Tokenizer, UNK},
    train::{GuidedAlignment, TrainOptions},
};

const TEXTS: [&str; 4] =
    ["low lower lowest", "new newer newest wide", "low low new wide wider", "naïve 日本語 ▁ lower"];

fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn without_dropout_merges_make_what_the_tokenizer_makes() {
    let tokenizer = Tokenizer::train(&TokenUnit::Bpe(60), TEXTS.into_iter(), None).unwrap();
    let merges = tokenizer.merges().unwrap();
    for text in TEXTS.iter().chain(&["", " ", "  lowest\twider ", "zzz lowz zzlow", "<eos> <unk>", "lowerlowestnewest"])
    {
        assert_eq!(merges.encode(text, 0.0, &mut random(1)), tokenizer.encode(text).unwrap(), "{text:?}");
    }
    assert!(Tokenizer::train(&TokenUnit::Words, TEXTS.into_iter(), None).unwrap().merges().is_none());
    assert!(Tokenizer::train(&TokenUnit::Unigram(60), TEXTS.into_iter(), None).unwrap().merges().is_none());
}

#[test]
fn dropout_cuts_a_text_in_many_ways_that_all_spell_it() {
    let tokenizer = Tokenizer::train(&TokenUnit::Bpe(60), TEXTS.into_iter(), None).unwrap();
    let merges = tokenizer.merges().unwrap();
    let text = "lowest newest wider lower";
    let mut random = random(3);
    let cuts: Vec<Vec<u32>> = (0..50).map(|_| merges.encode(text, 0.3, &mut random)).collect();
    let mut distinct = cuts.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > 25, "{} ways", distinct.len());
    assert!(cuts.iter().all(|cut| tokenizer.decode(cut) == text));
    // The more is left out, the more tokens there are, up to a token for each character and for each space before a word.
    let mean = |dropout: f32, random: &mut ChaCha8Rng| {
        (0..100).map(|_| merges.encode(text, dropout, random).len()).sum::<usize>() as f64 / 100.0
    };
    let means = [0.0, 0.1, 0.5, 0.999_999].map(|dropout| mean(dropout, &mut random));
    assert!(means.is_sorted() && means[0] + 1.0 < means[2], "{means:?}");
    assert_eq!(means[3].round() as usize, text.chars().count() + 1);
}

proptest! {
    #[test]
    fn any_text_is_cut_as_the_tokenizer_does(text in "[lowerstn wid▁z\t]{0,40}") {
        let tokenizer = Tokenizer::train(&TokenUnit::Bpe(60), TEXTS.into_iter(), None).unwrap();
        let merges = tokenizer.merges().unwrap();
        prop_assert_eq!(merges.encode(&text, 0.0, &mut random(1)), tokenizer.encode(&text).unwrap());
    }
}

fn with_dropout(setting: &Setting) -> TrainOptions {
    TrainOptions { target_unit: TokenUnit::Bpe(60), bpe_dropout: 0.3, max_length: 40, ..setting.options.clone() }
}

#[test]
fn a_run_with_bpe_dropout_is_resumed_bit_for_bit() {
    let setting = Setting::new();
    let options = with_dropout(&setting);
    let (whole, out) = (setting.out("whole"), setting.out("run"));
    // Three epochs, stopped in the first and in the second.
    run(&options, 11, &whole).unwrap();
    stopped(&options, 11, &out, 2);
    stopped(&options, 11, &out, 4);
    run(&options, 11, &out).unwrap();
    assert!(state(&out) == state(&whole), "other bits");
    let none = TrainOptions { bpe_dropout: 0.0, ..options };
    let plain = setting.out("plain");
    run(&none, 11, &plain).unwrap();
    assert!(state(&plain) != state(&whole), "nothing was left out");
}

#[test]
fn one_vocabulary_may_serve_both_sides() {
    let setting = Setting::new();
    let out = setting.out("run");
    let options = TrainOptions {
        source_unit: TokenUnit::Words,
        target_unit: TokenUnit::Words,
        shared_vocabulary: true,
        ..setting.options.clone()
    };
    run(&options, 1, &out).unwrap();
    let [source, target] =
        ["source", "target"].map(|side| fs::read(out.join(format!("{side}.tokenizer.json"))).unwrap());
    assert!(source == target, "two vocabularies");
    let shared = Tokenizer::load(out.join("source.tokenizer.json")).unwrap();
    for word in ["999", "nine"] {
        assert_ne!(shared.encode(word).unwrap(), [UNK], "{word} is in the data of one side");
    }
    run(&options, 2, &out).unwrap();
}

#[test]
fn what_is_seen_too_rarely_is_unknown() {
    let texts = ["a a a b b c", "a b d\u{e9}"];
    let size = |unit: TokenUnit, min_count| {
        let limits = Limits { min_count, ..Limits::default() };
        Tokenizer::train_within(&unit, texts.into_iter(), limits).map(|tokenizer| tokenizer.size())
    };
    // Four specials; words a (4), b (3), c and dé; characters besides the space.
    assert_eq!([1, 2, 3, 4].map(|least| size(TokenUnit::Words, least).unwrap()), [8, 6, 6, 5]);
    assert_eq!([1, 2, 4].map(|least| size(TokenUnit::Chars, least).unwrap()), [10, 7, 6]);
    assert!(refusal(size(TokenUnit::Words, 5)).contains("so often"));
    for unit in [TokenUnit::Bpe(40), TokenUnit::Unigram(40)] {
        let limits = Limits { min_count: 2, ..Limits::default() };
        let tokenizer = Tokenizer::train_within(&unit, texts.into_iter(), limits).unwrap();
        assert!(tokenizer.encode("c").unwrap().contains(&UNK) && tokenizer.encode("\u{e9}").unwrap().contains(&UNK));
        assert!(!tokenizer.encode("a b").unwrap().contains(&UNK), "{unit}");
    }
    // A pair that stands together less often is no token.
    let tokens = |min_count| {
        let limits = Limits { min_count, ..Limits::default() };
        let texts = ["ab ab ab ab xab cd cd dc"];
        let tokenizer = Tokenizer::train_within(&TokenUnit::Bpe(40), texts.into_iter(), limits).unwrap();
        tokenizer.encode("cd").unwrap().len()
    };
    assert!(tokens(1) == 1 && tokens(3) > 1, "{} {}", tokens(1), tokens(3));
}

#[test]
fn wrong_vocabulary_options_are_named() {
    let setting = Setting::new();
    let base = || setting.options.clone();
    let links = Some(GuidedAlignment { file: "links".into(), weight: 0.1 });
    for (parts, options) in [
        (["`min_count`", "at least 1"], TrainOptions { min_count: 0, ..base() }),
        (["`shared_vocabulary`", "`source_tokens` are chars"], TrainOptions { shared_vocabulary: true, ..base() }),
        (["`bpe_dropout`", "bpe:N"], TrainOptions { bpe_dropout: 0.1, ..base() }),
        (["`bpe_dropout`", "less than 1"], TrainOptions { bpe_dropout: 1.0, ..with_dropout(&setting) }),
        (["`bpe_dropout`", "less than 1"], TrainOptions { bpe_dropout: f32::NAN, ..with_dropout(&setting) }),
        (["`bpe_dropout`", "`guided_alignment`"], TrainOptions { guided_alignment: links, ..with_dropout(&setting) }),
    ] {
        let message = refusal(options.check());
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

/// A run that asks for none of this says nothing of it, so that 0.1.0 reads its `run.json`.
#[test]
fn options_that_0_1_0_does_not_know_are_written_only_where_they_are_used() {
    let setting = Setting::new();
    let fields = |options: &TrainOptions| serde_json::to_string(options).unwrap();
    let new = ["min_count", "shared_vocabulary", "bpe_dropout"];
    let plain = fields(&setting.options);
    assert!(new.iter().all(|name| !plain.contains(name)), "{plain}");
    let used = TrainOptions { min_count: 2, shared_vocabulary: true, bpe_dropout: 0.1, ..setting.options.clone() };
    assert!(new.iter().all(|name| fields(&used).contains(name)));
    assert_eq!(serde_json::from_str::<TrainOptions>(&fields(&used)).unwrap(), used);
}
