//! Scores against sacreBLEU's and jiwer's, on texts that are hard to cut.

use serde_json::Value;
use softalign::generate::{Evaluation, Generator, Scorer, Scoring, evaluate_texts};
use softalign::model::{Kind, Model, ModelOptions};
use softalign::text::{
    Example, Pair, TokenUnit, Tokenization, Tokenizer,
    metrics::{Segment, Statistics},
};

use crate::common;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/scores.json")).unwrap()
}

/// Rows of a list of lists of texts.
fn rows(value: &Value) -> Vec<Vec<String>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The scores of hypotheses, each before its references, under one tokenization.
fn statistics(rows: &[Vec<String>], tokenization: Tokenization) -> Statistics {
    let mut sum = Statistics::default();
    for row in rows {
        let tokens: Vec<Vec<String>> = row.iter().map(|text| tokenization.tokens(text)).collect();
        let texts: Vec<Vec<String>> = row.iter().map(|text| vec![text.clone()]).collect();
        let tokens: Segment = (&tokens[0], &tokens[1..]);
        sum += Statistics::of_forms([tokens, tokens, (&texts[0], &texts[1..])]);
    }
    sum
}

#[test]
fn bleu_and_chrf_have_sacrebleus_digits_on_hard_texts() {
    let golden = golden();
    let all = rows(&golden["rows"]);
    let first: Vec<Vec<String>> = all.iter().map(|row| row[..2].to_vec()).collect();
    for (rows, bleu, chrf) in [(&all, "bleu", "chrf"), (&first, "bleu_first", "chrf_first")] {
        for tokenization in Tokenization::ALL {
            let scores = statistics(rows, tokenization).scores();
            let wanted = golden[bleu][tokenization.to_string()].as_f64().unwrap();
            assert!((scores.bleu - wanted).abs() < 1e-9, "{bleu} {tokenization}: {} is not {wanted}", scores.bleu);
            let wanted = golden[chrf].as_f64().unwrap();
            assert!((scores.chrf - wanted).abs() < 1e-9, "{chrf}: {} is not {wanted}", scores.chrf);
        }
    }
}

#[test]
fn tokenizations_have_sacrebleus_names() {
    for tokenization in Tokenization::ALL {
        assert_eq!(tokenization.to_string().parse::<Tokenization>().unwrap(), tokenization);
    }
    let error = "ja-mecab".parse::<Tokenization>().unwrap_err().to_string();
    assert_eq!(error, "tokenization: `ja-mecab` is not one; known ones: none, char, 13a, zh, intl");
}

fn evaluation(rows: &[(&str, &str, &str)], scoring: &Scoring) -> Evaluation {
    let pairs: Vec<Pair> = rows.iter().map(|(source, target, _)| Pair::new(*source, *target)).collect();
    let texts: Vec<String> = rows.iter().map(|(_, _, text)| (*text).to_owned()).collect();
    evaluate_texts(None, &pairs, ("some name", &texts), scoring).unwrap()
}

#[test]
fn the_word_error_rate_is_jiwers() {
    let golden = golden();
    let words = rows(&golden["words"]);
    let rows: Vec<_> = words.iter().map(|row| ("x", row[1].as_str(), row[0].as_str())).collect();
    let found = evaluation(&rows, &Scoring::default());
    let wanted = golden["wer"].as_f64().unwrap();
    assert!((found.wer.unwrap() - wanted).abs() < 1e-9, "{:?} is not {wanted}", found.wer);
    assert!((found.scores.sentence_error_rate - 100.0 * 5.0 / 6.0).abs() < 1e-9, "one of six is right");
}

/// A pair is scored by itself, unless its source's other targets are asked to be references too.
#[test]
fn references_are_grouped_where_that_is_asked_for() {
    let rows = [("s", "a b c d", "a b c d"), ("s", "e f g h", "a b c d"), ("t", "i j k l", "i j k l")];
    let by_line = evaluation(&rows, &Scoring::default());
    assert_eq!((by_line.scores.count, by_line.references, by_line.texts.len()), (3, [1, 1], 3));
    assert!((by_line.scores.exact_match - 200.0 / 3.0).abs() < 1e-9);
    assert!(by_line.bleu_signature.starts_with("nrefs:1|case:mixed|eff:no|tok:none|"), "{}", by_line.bleu_signature);

    let grouped = Scoring { group_references: true, tokenization: Some(Tokenization::Char), ..Scoring::default() };
    let grouped = evaluation(&rows, &grouped);
    assert_eq!((grouped.scores.count, grouped.references), (2, [1, 2]));
    assert_eq!(grouped.scores.exact_match, 100.0);
    let start = "nrefs:var|grouped:source|case:mixed|eff:no|tok:char|";
    assert!(grouped.bleu_signature.starts_with(start), "{}", grouped.bleu_signature);
    assert!(grouped.chrf_signature.starts_with("nrefs:var|grouped:source|"), "{}", grouped.chrf_signature);

    let pairs = [Pair::new("s", "t")];
    let error = evaluate_texts(None, &pairs, ("texts.txt", &[]), &Scoring::default()).unwrap_err().to_string();
    assert_eq!(error, "texts.txt: 0 lines in place of one for each of the 1 pairs");
}

/// A line for each pair, of which those of one source are the same, or a line for each source.
#[test]
fn texts_of_grouped_references_are_one_a_source() {
    let pairs = [("s", "a b"), ("t", "c"), ("s", "d"), ("t", "e"), ("u", "f")].map(|(s, t)| Pair::new(s, t));
    let grouped = Scoring { group_references: true, ..Scoring::default() };
    let found = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        evaluate_texts(None, &pairs, ("texts.txt", &lines), &grouped)
    };
    // As files have them, an empty line may stand behind the last.
    for lines in [
        &["a b", "x", "a b", "x", "f"][..],
        &["a b", "x", "a b", "x", "f", ""],
        &["a b", "x", "f"],
        &["a b", "x", "f", ""],
    ] {
        let texts = found(lines).unwrap().texts;
        let texts: Vec<_> = texts.iter().map(|pair| (pair.source.as_str(), pair.target.as_str())).collect();
        assert_eq!(texts, [("s", "a b"), ("t", "x"), ("u", "f")], "{lines:?}");
    }
    let error = found(&["a b", "x", "a b", "y", "f"]).unwrap_err().to_string();
    for part in ["texts.txt: lines 2 and 4 differ", "\"t\"", "3 sources"] {
        assert!(error.contains(part), "{error}");
    }
    let error = found(&["a b", "x", "a b", "x"]).unwrap_err().to_string();
    assert_eq!(error, "texts.txt: 4 lines in place of one for each of the 5 pairs, or of the 3 sources");
}

/// A reference that is longer than anything the model writes has a likelihood, unless the model has no places for it.
#[test]
fn the_perplexity_is_of_all_references_that_the_model_can_read() {
    let tokenizer = Tokenizer::train(&TokenUnit::Chars, ["abc"].into_iter(), None).unwrap();
    let pairs = [Pair::new("ab", "ba"), Pair::new("c", "abcabcabcabc")];
    let texts = [String::new(), String::new()];
    for (architecture, settings, read) in [
        ("bahdanau", &[][..], 2),
        ("transformer", &[("heads", "2"), ("positions", "sinusoidal")], 2),
        ("transformer", &[("heads", "2"), ("positions", "learned")], 1),
    ] {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let options = ModelOptions { embedding: 8, hidden: 8, max_length: 8, settings, ..ModelOptions::default() };
        let network = Kind::named(architecture).unwrap().make(&options, [tokenizer.size(); 2]).unwrap();
        let model = Model::new(common::gpu(), network, tokenizer.clone(), tokenizer.clone(), 1).unwrap();
        let mut generator = Generator::new(&model);
        let found = evaluate_texts(Some((&mut generator, &model)), &pairs, ("x", &texts), &Scoring::default()).unwrap();
        let examples: Vec<_> = pairs[..read]
            .iter()
            .map(|pair| Example::new(model.encode(&pair.source).unwrap(), model.target.encode(&pair.target).unwrap()))
            .collect();
        let scores = Scorer::new(&model).score(&examples).unwrap();
        let (sum, tokens) =
            scores.iter().fold((0.0, 0), |(sum, tokens), one| (sum + one.log_probability, tokens + one.tokens));
        let wanted = (-sum / tokens as f64).exp();
        let perplexity = found.perplexity.unwrap();
        assert!((perplexity - wanted).abs() < 1e-6 * wanted, "{architecture}: {perplexity} is not {wanted}");
    }
}
