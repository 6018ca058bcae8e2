//! Subwords: trained, saved, read from elsewhere, and put together again.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;
use softalign::text::{SPECIALS, TokenUnit, Tokenizer, UNK};

fn trained(unit: &TokenUnit, texts: &[&str]) -> Tokenizer {
    Tokenizer::train(unit, texts.iter().copied(), None).expect("a vocabulary")
}

/// How a text looks that has been cut into words and put together again.
fn spaced(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c == '▁').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn both(size: usize) -> [TokenUnit; 2] {
    [TokenUnit::Bpe(size), TokenUnit::Unigram(size)]
}

const TEXTS: [&str; 6] = [
    "the lower tower is lower than the lowest tower",
    "she showed the newest tower to the newcomer",
    "彼 は 行 っ た 。",
    "彼 の 成功 の 見込み は あ り ま す か 。",
    "彼女 は 私 に すぐ 来 い と の 便り を よこ し た 。",
    "no . i 'm sorry , i 've got to go back early .",
];

fn pieces(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).unwrap().into_iter().map(|id| tokenizer.piece(id)).collect()
}

fn vocabulary(tokenizer: &Tokenizer) -> Vec<String> {
    (0..tokenizer.size() as u32).map(|id| tokenizer.piece(id)).collect()
}

#[test]
fn frequent_words_are_whole_and_rare_ones_are_cut() {
    for unit in both(100) {
        let tokenizer = trained(&unit, &TEXTS);
        assert!(tokenizer.size() <= 100 && tokenizer.size() > 60, "{unit}: {}", tokenizer.size());
        assert_eq!(vocabulary(&tokenizer)[..4], SPECIALS);
        assert!(pieces(&tokenizer, "the tower").len() < "the tower".len(), "{unit}");
        assert!(pieces(&tokenizer, "newcomer").len() > 1, "{unit}");
        if unit == TokenUnit::Bpe(100) {
            assert_eq!(pieces(&tokenizer, "the tower"), ["▁the", "▁tower"]);
        }
        // A word that was never seen, of characters that were.
        let ids = tokenizer.encode("  slowest \t 彼女行 ").unwrap();
        assert!(ids.iter().all(|&id| id > UNK));
        assert_eq!(tokenizer.decode(&ids), "slowest 彼女行");
        // What was never seen is one unknown token, however long.
        assert_eq!(pieces(&tokenizer, "the ☃☃☃").last().unwrap(), "<unk>");
        assert_eq!(tokenizer.decode(&tokenizer.encode("the ☃☃☃ tower").unwrap()), "the <unk> tower");
        assert_eq!(tokenizer.encode(" \n").unwrap(), Vec::<u32>::new());
        assert_eq!(tokenizer.decode(&[]), "");
        // Specials in a text are no specials.
        assert!(tokenizer.encode("the <eos> <pad>x<bos>").unwrap().iter().all(|&id| id >= UNK));
    }
}

#[test]
fn texts_come_back() {
    for unit in both(120) {
        let tokenizer = trained(&unit, &TEXTS);
        for text in TEXTS {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text, "{unit}");
            // Pictures name the tokens of a source.
            assert_eq!(tokenizer.tokens(text).unwrap().len(), tokenizer.encode(text).unwrap().len());
            // Of a word that is copied, all of it is.
            let copies = tokenizer.copies(text).unwrap();
            assert_eq!(copies.len(), tokenizer.encode(text).unwrap().len());
            let mut words_once = copies.clone();
            words_once.dedup();
            let mut words: Vec<_> = text.split(' ').collect();
            words.dedup();
            assert_eq!(words_once, words);
            // Metrics compare words.
            let words: Vec<_> = text.split(' ').collect();
            assert_eq!(tokenizer.units(&tokenizer.encode(text).unwrap()), words, "{unit}");
            assert_eq!(tokenizer.units_of(text).unwrap(), words);
        }
    }
}

#[test]
fn saved_subwords_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.tokenizer.json");
    for unit in both(100) {
        let made = trained(&unit, &TEXTS);
        made.save(&path).unwrap();
        for loaded in [Tokenizer::load(&path).unwrap(), trained(&TokenUnit::File(path.clone()), &[])] {
            assert_eq!(vocabulary(&loaded), vocabulary(&made));
            for text in TEXTS {
                assert_eq!(loaded.encode(text).unwrap(), made.encode(text).unwrap());
                assert_eq!(loaded.decode(&made.encode(text).unwrap()), text);
            }
        }
    }
}

/// Words of a made-up language in which the same subwords come about in many ways.
fn corpus() -> Vec<String> {
    let parts =
        ["in", "g", "ing", "n", "ng", "er", "r", "e", "st", "s", "t", "est", "ion", "on", "io", "ti", "日", "本語"];
    let mut state = 1_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut word = || (0..1 + draw(5)).map(|_| parts[draw(parts.len() as u64) as usize]).collect::<String>();
    (0..2_000).map(|_| format!("{} {}", word(), word())).collect()
}

#[test]
fn training_twice_gives_the_same_vocabulary() {
    let corpus = corpus();
    let mut turned: Vec<&str> = corpus.iter().map(String::as_str).collect();
    for unit in both(300) {
        let first = vocabulary(&trained(&unit, &turned));
        for _ in 0..5 {
            // The order of the texts does not count either; hash maps begin with other keys each time.
            turned.rotate_left(700);
            assert_eq!(vocabulary(&trained(&unit, &turned)), first, "{unit}");
        }
    }
}

#[test]
fn a_size_leaves_room_for_every_character() {
    for unit in both(20) {
        let error = |texts: &[&str]| Tokenizer::train(&unit, texts.iter().copied(), None).unwrap_err().to_string();
        assert_eq!(error(&[" ", ""]), "vocabulary: the text holds no subwords to learn; give it text");
        assert_eq!(
            error(&["abcdefghijklmnopqrstuvwxyz"]),
            "vocabulary: a size of 20 is too small: the text has 27 characters, and each is a token; allow 32 or more"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_comes_back(texts in prop::collection::vec(any::<String>(), 1..4), size in 0_usize..40) {
        prop_assume!(texts.iter().any(|text| !spaced(text).is_empty()));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let characters: std::collections::BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
        for unit in both(characters.len() + 6 + size) {
            let tokenizer = trained(&unit, &texts);
            prop_assert!(tokenizer.size() <= characters.len() + 6 + size);
            for text in &texts {
                let ids = tokenizer.encode(text).unwrap();
                prop_assert!(ids.iter().all(|&id| id > UNK && (id as usize) < tokenizer.size()));
                prop_assert_eq!(tokenizer.decode(&ids), spaced(text));
            }
        }
    }

    #[test]
    fn unknown_text_never_fails(text in any::<String>()) {
        for unit in both(80) {
            let tokenizer = trained(&unit, &TEXTS[..2]);
            prop_assert!(tokenizer.encode(&text).unwrap().iter().all(|&id| id >= UNK));
            prop_assert_eq!(tokenizer.tokens(&text).unwrap().len(), tokenizer.encode(&text).unwrap().len());
        }
    }
}

/// A file with this content, and the tokenizer made of it.
fn adopted(content: &serde_json::Value) -> (tempfile::TempDir, PathBuf, Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, content.to_string()).unwrap();
    let tokenizer = Tokenizer::adopt(&path).unwrap();
    (folder, path, tokenizer)
}

fn special(id: u32, content: &str) -> serde_json::Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

#[test]
fn wordpieces_from_elsewhere_are_renumbered() {
    let (_folder, path, tokenizer) = adopted(&json!({
        "version": "1.0",
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(2, "[UNK]"), special(3, "[CLS]"), special(9, "[MASK]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 4], "cls": ["[CLS]", 3]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": false},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            // With a gap: no token has id 6.
            "vocab": {"[PAD]": 0, "play": 1, "[UNK]": 2, "[CLS]": 3, "[SEP]": 4, "##ing": 5, "the": 7, "!": 8},
        },
    }));
    assert_eq!(
        vocabulary(&tokenizer),
        ["<pad>", "<bos>", "<eos>", "<unk>", "[PAD]", "play", "[CLS]", "[SEP]", "##ing", "the", "!", "[MASK]"]
    );
    assert_eq!(tokenizer.encode("The playing ☃ !").unwrap(), [9, 5, 8, UNK, 10]);
    assert_eq!(tokenizer.decode(&[9, 5, 8, UNK, 10]), "the playing <unk> !");
    assert_eq!(tokenizer.units(&[9, 5, 8]), ["the", "playing"]);
    assert!(tokenizer.encode("[CLS] <eos>").unwrap().iter().all(|&id| id >= UNK));
    // As saved in a model folder.
    tokenizer.save(&path).unwrap();
    assert_eq!(vocabulary(&Tokenizer::load(&path).unwrap()), vocabulary(&tokenizer));
}

#[test]
fn bytes_from_elsewhere_need_no_unknown_token() {
    let tokens: Vec<String> = ["<|endoftext|>", "h", "i", "Ġ", "Ã", "©", "Ġh", "hi", "Ġhi"].map(str::to_owned).into();
    let vocab: serde_json::Map<_, _> = tokens.into_iter().zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let (.., tokenizer) = adopted(&json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(0, "<|endoftext|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["h i", "Ġ h", "Ġh i"]},
    }));
    assert_eq!(tokenizer.size(), 13);
    for text in ["hi hi", " hé  hi", "ihh"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text);
        assert_eq!(tokenizer.tokens(text).unwrap().len(), tokenizer.encode(text).unwrap().len());
    }
    assert_eq!(tokenizer.units(&tokenizer.encode("hi hé").unwrap()), ["hi", "hé"]);
    assert_eq!(tokenizer.encode("hiz").unwrap().last(), Some(&UNK));
}

#[test]
fn unigrams_from_elsewhere_keep_their_scores() {
    let (.., tokenizer) = adopted(&json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<s>"), special(2, "<unk>"), special(6, "<extra>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": null,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {
            "type": "Unigram", "unk_id": 2, "byte_fallback": false,
            "vocab": [["<s>", 0.0], ["▁a", -1.0], ["<unk>", 0.0], ["b", -2.0], ["c", -2.5], ["bc", -5.0]],
        },
    }));
    assert_eq!(vocabulary(&tokenizer), ["<pad>", "<bos>", "<eos>", "<unk>", "<s>", "▁a", "b", "c", "bc", "<extra>"]);
    // b and c together are likelier than bc.
    assert_eq!(tokenizer.encode("abc a☃").unwrap(), [5, 6, 7, 5, UNK]);
    assert_eq!(tokenizer.decode(&[5, 6, 7, 5, UNK]), "abc a<unk>");
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    assert!(matches!(Tokenizer::adopt(&path), Err(softalign::Error::Io { .. })));
    std::fs::write(&path, "{}").unwrap();
    let error = Tokenizer::adopt(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: not a Hugging Face tokenizer.json: ", path.display())), "{error}");
}

#[test]
fn a_very_long_word_is_learnt_from() {
    let long = "日本語".repeat(5_000);
    for unit in both(30) {
        let tokenizer = trained(&unit, &[&long, "日 本"]);
        assert_eq!(tokenizer.decode(&tokenizer.encode(&long).unwrap()), long, "{unit}");
    }
}

/// Every text has tokens, whatever the vocabulary was made from, and comes back as it was.
#[test]
fn bytes_lose_nothing() {
    let text = "the cat sat  on the mat\n\tthe end\n\n";
    for (unit, size) in [(TokenUnit::Bytes(None), 260), (TokenUnit::Bytes(Some(270)), 270)] {
        assert_eq!(unit.to_string().parse::<TokenUnit>().unwrap(), unit);
        let tokenizer = Tokenizer::train(&unit, [text].into_iter(), None).unwrap();
        assert!(tokenizer.size() <= size && tokenizer.size() > 259, "{}", tokenizer.size());
        let again = Tokenizer::train(&unit, [text].into_iter(), None).unwrap();
        for text in [text, "", " ", "\u{0}é日本 \u{1f600}<eos>\r\n  x", "the the"] {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens), text);
            assert_eq!(again.encode(text).unwrap(), tokens);
            assert!(tokens.iter().all(|token| *token > UNK), "{tokens:?}");
            if unit == TokenUnit::Bytes(None) {
                assert_eq!(tokens.len(), text.len());
            }
        }
    }
    for unit in ["bytes:259", "bytes:99999999"] {
        let refused = Tokenizer::train(&unit.parse().unwrap(), [text].into_iter(), None).unwrap_err().to_string();
        assert!(refused.contains("260"), "{refused}");
    }
}
