//! Text: tokenisers, corpora, batches, metrics and built-in tasks. Nothing here needs a GPU.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use proptest::prelude::*;
use softalign::Error;
use softalign::model::BatchShape;
use softalign::text::metrics::{
    self, References, bleu, chrf, edit_distance, references, sentence_error_rate, token_error_rate,
};
use softalign::text::numbers::number_words;
use softalign::text::tasks::{TRAIN_PAIRS, VALID_PAIRS};
use softalign::text::{
    BOS, BatchSize, Buckets, EOS, Example, MAX_SHAPES, PAD, Pair, SPECIALS, Task, TokenUnit, Tokenizer, UNK, bootstrap,
    dates, encode_pairs, read_tsv, score,
};

/// A folder of its own for one test, and a file in it.
fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pairs.tsv");
    std::fs::write(&path, bytes).expect("a file in it");
    (folder, path)
}

/// What `read_tsv` says against these bytes, without the path.
fn tsv_error(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    match read_tsv(&path) {
        Err(Error::Data { path: named, message }) => {
            assert_eq!(named, path.display().to_string());
            message
        }
        other => panic!("wanted Error::Data, got {other:?}"),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn chars(texts: &[&str]) -> Tokenizer {
    Tokenizer::train(&TokenUnit::Chars, texts.iter().copied(), None).expect("a character vocabulary")
}

fn example(source: usize, target: usize) -> Example {
    let mut ids = vec![7; source - 1];
    ids.push(EOS);
    Example::new(ids, vec![9; target])
}

#[test]
fn vocabulary_order_is_frequency_then_code_point() {
    let tokenizer = Tokenizer::train(&TokenUnit::Words, ["b a é a", "z b c"].into_iter(), None).unwrap();
    let all: Vec<_> = (0..tokenizer.size() as u32).map(|id| tokenizer.token(id)).collect();
    assert_eq!(all, ["<pad>", "<bos>", "<eos>", "<unk>", "a", "b", "c", "z", "é"]);
    assert_eq!((PAD, BOS, EOS, UNK), (0, 1, 2, 3));

    let small = Tokenizer::train(&TokenUnit::Words, ["b a é a", "z b c"].into_iter(), Some(6)).unwrap();
    assert_eq!(small.size(), 6);
    assert_eq!(small.encode("a b z").unwrap(), [4, 5, UNK]);
    assert_eq!(small.decode(&[4, UNK, 5]), "a <unk> b");
}

#[test]
fn vocabulary_needs_text_and_room() {
    let none = Tokenizer::train(&TokenUnit::Words, ["  ", ""].into_iter(), None).unwrap_err();
    assert_eq!(none.to_string(), "vocabulary: the text holds no words to learn; give it text");
    let tight = Tokenizer::train(&TokenUnit::Chars, ["a"].into_iter(), Some(4)).unwrap_err();
    assert_eq!(
        tight.to_string(),
        "vocabulary: a size of 4 leaves no room beside the four special tokens; allow 5 or more"
    );
}

#[test]
fn specials_in_user_text_are_text() {
    let text = "a <eos><pad> <bos><unk>b";
    let tokenizer = chars(&[text]);
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(ids.len(), text.chars().count());
    assert!(ids.iter().all(|&id| id > UNK));
    assert_eq!(tokenizer.decode(&ids), text);

    let tokenizer = Tokenizer::train(&TokenUnit::Words, ["b <eos> a a <unk> <unk> <unk>"].into_iter(), None).unwrap();
    let text = "a <eos> b <unk> a";
    assert_eq!(tokenizer.encode(text).unwrap(), [5, 6, 7, 4, 5]);
    assert_eq!(tokenizer.decode(&[5, 6, 7, 4, 5]), text);
    assert_eq!(tokenizer.units(&[5, 6, 4]), ["a", "<eos>", "<unk>"]);
    assert_eq!(tokenizer.units_of(text).unwrap(), text.split(' ').collect::<Vec<_>>());
    assert_eq!([2, 6].map(|id| tokenizer.token(id)), ["<eos>", "<eos>"]);
    // The unknown word is another than the word of that spelling, and so are words that only hold one.
    assert_eq!(tokenizer.encode("x <bos> <pad> a<eos>").unwrap(), [UNK; 4]);
    assert_eq!(tokenizer.decode_replacing(&[4, UNK], |_| Some("x")), "<unk> x");
    assert_eq!(tokenizer.tokens("a <eos> x").unwrap(), ["a", "<eos>", "x"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    assert_eq!(Tokenizer::load(&path).unwrap().encode(text).unwrap(), [5, 6, 7, 4, 5]);
}

/// A folder of 0.1.0, whose vocabulary has no entry for such a word, loads with the same ids.
#[test]
fn a_vocabulary_without_words_spelled_like_specials_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    Tokenizer::train(&TokenUnit::Words, ["a b"].into_iter(), None).unwrap().save(&path).unwrap();
    let old = Tokenizer::load(&path).unwrap();
    assert_eq!((old.size(), old.encode("a <unk> b").unwrap()), (6, vec![4, UNK, 5]));
}

#[test]
fn decode_skips_what_is_no_text() {
    let tokenizer = chars(&["ab"]);
    assert_eq!(tokenizer.decode(&[BOS, 4, PAD, 5, EOS, PAD, 999]), "ab");
    assert_eq!(tokenizer.decode(&[]), "");
    assert_eq!(tokenizer.decode(&[UNK, 4]), "<unk>a");
    assert_eq!(tokenizer.encode("").unwrap(), Vec::<u32>::new());
}

#[test]
fn white_space_is_visible_in_pictures() {
    let tokenizer = chars(&[" \n\t\u{a0}é"]);
    let shown: BTreeSet<_> = (4..tokenizer.size() as u32).map(|id| tokenizer.token(id)).collect();
    assert_eq!(shown, ["␣", "⏎", "⇥", "U+00A0", "é"].map(str::to_owned).into());
    assert_eq!(tokenizer.token(999), "<no token 999>");
}

#[test]
fn saved_and_loaded_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.tokenizer.json");
    for (unit, text) in [(TokenUnit::Chars, "日本 \n<eos>\r\nyes"), (TokenUnit::Words, "the <eos> \"cat\" sat")] {
        let made = Tokenizer::train(&unit, [text].into_iter(), None).unwrap();
        made.save(&path).unwrap();
        let loaded = Tokenizer::load(&path).unwrap();
        assert_eq!(loaded.size(), made.size());
        assert_eq!(loaded.encode(text).unwrap(), made.encode(text).unwrap());
        assert_eq!(loaded.decode(&loaded.encode(text).unwrap()), made.decode(&made.encode(text).unwrap()));
        assert_eq!(loaded.tokens(text).unwrap(), made.tokens(text).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left behind");
    }
}

#[test]
fn a_tokenizer_without_our_specials_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    chars(&["ab"]).save(&path).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let message = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Tokenizer::load(&path).unwrap_err().to_string()
    };
    let remedy = "make the tokenizer with the special tokens <pad>, <bos>, <eos>, <unk> first, in this order";
    let at = path.display();
    let missing = message(&good.replace("<bos>", "<s>"));
    assert_eq!(missing, format!("{at}: `<bos>` is missing, and must have id 1; {remedy}"));
    let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
    json["added_tokens"] = serde_json::json!([]);
    json["model"]["vocab"] = serde_json::json!({"<pad>": 0, "<bos>": 1, "<unk>": 2, "<eos>": 3});
    assert_eq!(message(&json.to_string()), format!("{at}: `<eos>` has id 3, and must have id 2; {remedy}"));
    json["model"]["vocab"] = serde_json::json!({"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3, "a": 9});
    assert_eq!(
        message(&json.to_string()),
        format!("{at}: no token has id 4, with 5 tokens in all; number them from 0 without gaps")
    );
    assert!(message("{").starts_with(&format!("{at}: not a Hugging Face tokenizer.json: ")));
    assert!(matches!(Tokenizer::load(folder.path().join("none.json")), Err(Error::Io { .. })));
}

#[test]
fn unit_names() {
    for (unit, name) in [
        (TokenUnit::Chars, "chars"),
        (TokenUnit::Words, "words"),
        (TokenUnit::Bpe(8000), "bpe:8000"),
        (TokenUnit::Unigram(50), "unigram:50"),
        (TokenUnit::Bytes(None), "bytes"),
        (TokenUnit::Bytes(Some(500)), "bytes:500"),
        (TokenUnit::File("c:/a folder/t.json".into()), "c:/a folder/t.json"),
    ] {
        assert_eq!(name.parse::<TokenUnit>().unwrap(), unit);
        // As the options of runs that were begun before there were subwords.
        assert_eq!(serde_json::to_value(&unit).unwrap(), name);
        assert_eq!(serde_json::from_value::<TokenUnit>(name.into()).unwrap(), unit);
    }
    for name in ["byte", "bytes:", "bpe", "bpe:", "bpe:many", "unigram:-1", "chars:3", ""] {
        let error = name.parse::<TokenUnit>().unwrap_err().to_string();
        let known =
            "use `chars`, `words`, `bytes`, `bpe:8000`, `unigram:8000`, `bytes:8000` or the path of a tokenizer.json";
        assert_eq!(error, format!("token unit: `{name}` is not one; {known}"));
    }
}

proptest! {
    #[test]
    fn characters_round_trip(text in any::<String>()) {
        prop_assume!(!text.is_empty());
        let tokenizer = chars(&[&text]);
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(ids.len(), text.chars().count());
        prop_assert!(ids.iter().all(|&id| id > UNK));
        prop_assert_eq!(tokenizer.decode(&ids), &text[..]);
        prop_assert_eq!(tokenizer.tokens(&text).unwrap().concat(), text);
    }

    #[test]
    fn words_round_trip(text in r"\PC{0,20}( \PC{1,9}){1,9}x") {
        let tokenizer = Tokenizer::train(&TokenUnit::Words, [text.as_str()].into_iter(), None).unwrap();
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()), joined);
        prop_assert_eq!(tokenizer.tokens(&text).unwrap(), words(&text));
    }

    #[test]
    fn unknown_text_never_fails(text in any::<String>()) {
        let tokenizer = chars(&["ab"]);
        prop_assert!(tokenizer.encode(&text).unwrap().iter().all(|&id| id >= UNK));
    }

    #[test]
    fn tsv_never_panics(bytes in prop::collection::vec(prop_oneof![Just(b'\t'), Just(b'\n'), any::<u8>()], 0..60)) {
        let (_folder, path) = file(&bytes);
        let _ = read_tsv(&path);
    }
}

#[test]
fn tsv_is_read() {
    let wanted = vec![Pair::new("a b", "c"), Pair::new("é", "日本")];
    for text in ["a b\tc\né\t日本", "a b\tc\né\t日本\n", "a b\tc\r\né\t日本\r\n", "\u{feff}a b\tc\né\t日本\n\n"]
    {
        let (_folder, path) = file(text.as_bytes());
        assert_eq!(read_tsv(&path).unwrap(), wanted, "{text:?}");
    }
    assert!(matches!(read_tsv("no such file.tsv"), Err(Error::Io { .. })));
}

#[test]
fn tsv_errors_name_the_line() {
    let cases: [(&[u8], &str); 10] = [
        (b"", "the file is empty; write one source<TAB>target per line"),
        (b"\n", "the file is empty; write one source<TAB>target per line"),
        (b"a\tb\nc d\n", "line 2: there is no tab; write source<TAB>target"),
        (
            b"a\tb\tc\n",
            "line 1: there are 2 tabs, and one is wanted; write source<TAB>target, and keep other tabs out of the texts",
        ),
        (b"a\tb\n \tc\n", "line 2: the source (before the tab) is empty; fill it in, or delete the line"),
        (b"a\tb\nc\t\r\n", "line 2: the target (after the tab) is empty; fill it in, or delete the line"),
        (b"a\tb\n\nc\td\n", "line 2: the line is blank; delete it, or write source<TAB>target"),
        (b"a\tb\n\n\n", "line 2: the line is blank; delete it, or write source<TAB>target"),
        (b"a\tb\ncd\t\xe9\n", "line 2, byte 4: not UTF-8; convert the file to UTF-8"),
        (b"\xff\xfea\0", "line 1, byte 1: not UTF-8; convert the file to UTF-8"),
    ];
    for (bytes, wanted) in cases {
        assert_eq!(tsv_error(bytes), wanted);
    }
}

#[test]
fn pairs_are_encoded_within_the_limit() {
    let tokenizer = chars(&["abc"]);
    let pairs = [Pair::new("ab", "c"), Pair::new("a", "abc")];
    let examples = encode_pairs("g.tsv", &pairs, &tokenizer, &tokenizer, 4).unwrap();
    assert_eq!(examples[0], Example::new(vec![4, 5, EOS], vec![6]));
    assert_eq!(examples[1], Example::new(vec![4, EOS], vec![4, 5, 6]));
    let error = encode_pairs("g.tsv", &pairs, &tokenizer, &tokenizer, 3).unwrap_err().to_string();
    assert_eq!(
        error,
        "g.tsv: line 2: the target has 4 tokens with its <eos>, more than the 3 allowed; raise `max_length` or drop the line"
    );
    let by_word = Tokenizer::train(&TokenUnit::Words, ["a"].into_iter(), None).unwrap();
    let error = encode_pairs("g.tsv", &[Pair::new(" ", "a")], &by_word, &by_word, 9).unwrap_err().to_string();
    assert_eq!(error, "g.tsv: line 1: the source holds no tokens; drop the line");
}

#[test]
fn pairs_are_learnt_as_they_are_asked() {
    let tokenizer = chars(&["abc\t"]).begun().unwrap();
    let pairs = [Pair::new("ab\tc", "b"), Pair::new("ab", "c")];
    let examples = encode_pairs("pairs", &pairs, &tokenizer, &tokenizer, 9).unwrap();
    for (example, pair) in examples.iter().zip(&pairs) {
        assert_eq!(example.source, tokenizer.encode_source(&pair.source).unwrap());
    }
    assert_eq!(examples[0].source.iter().filter(|token| **token == EOS).count(), 2);
}

#[test]
fn a_batch_is_padded_and_filled() {
    let examples = [Example::new(vec![4, 5, EOS], vec![6]), Example::new(vec![4, EOS], vec![7, 8])];
    let buckets = Buckets::new(&examples[..], BatchSize::Sentences(3), 2).unwrap();
    assert_eq!(buckets.shapes(), [(4, 4)]);
    let plans = buckets.in_order();
    assert_eq!(plans.len(), 1);
    assert_eq!(plans[0].examples(), [1, 0]);
    let batch = buckets.batch(&plans[0]);
    assert_eq!(batch.shape, BatchShape::new(3, 4, 4));
    assert_eq!(batch.source, [4, EOS, PAD, PAD, 4, 5, EOS, PAD, PAD, PAD, PAD, PAD]);
    assert_eq!(batch.lengths, [2, 3, 0]);
    assert_eq!(batch.target_in, [BOS, 7, 8, PAD, BOS, 6, PAD, PAD, PAD, PAD, PAD, PAD]);
    assert_eq!(batch.target_out, [7, 8, EOS, PAD, 6, EOS, PAD, PAD, PAD, PAD, PAD, PAD]);
    assert_eq!(batch.indices, [Some(1), Some(0), None]);
    assert_eq!(batch.target_tokens, 5);
}

#[test]
fn buckets_need_examples_rows_and_width() {
    let one = [example(2, 1)];
    let error = |examples: &[Example], size, width| Buckets::new(examples, size, width).unwrap_err().to_string();
    let (rows, tokens) = (BatchSize::Sentences, BatchSize::Tokens);
    assert_eq!(error(&[], rows(1), 1), "batches: there are no examples; give at least one");
    assert_eq!(error(&one, rows(0), 1), "batches: a batch of 0 rows holds nothing; use 1 or more");
    assert_eq!(error(&one, tokens(0), 1), "batches: a batch of 0 tokens holds nothing; use 1 or more");
    assert_eq!(error(&one, rows(1), 0), "batches: lengths cannot be multiples of 0; use a width of 1 or more");
    assert!(error(&one, rows(usize::MAX), 1).contains("pass 2^32 positions"));
    assert!(error(&one, tokens(usize::MAX), 1).contains("pass 2^32 positions"));
    assert!(error(&one, rows(1), usize::MAX).contains("pass 2^32 positions"));
}

#[test]
fn a_plan_of_other_buckets_is_harmless() {
    let small = Buckets::new(vec![example(2, 1)], BatchSize::Sentences(2), 1).unwrap();
    let large = Buckets::new(vec![example(9, 9); 5], BatchSize::Sentences(5), 1).unwrap();
    let batch = small.batch(&large.in_order()[0]);
    assert_eq!(batch.indices, [Some(0), None]);
    assert!(large.batch(&small.in_order()[0]).indices.iter().all(Option::is_none));
}

#[test]
fn evaluation_reuses_the_shapes_of_training() {
    let train: Vec<_> = (2..40).flat_map(|n| vec![example(n, n); 64]).collect();
    let train = Buckets::new(train, BatchSize::Sentences(32), 1).unwrap();
    let dev = Buckets::like(&train, vec![example(3, 3), example(39, 2), example(50, 4)], 1).unwrap();
    let known: HashSet<_> = train.shapes().into_iter().collect();
    let new: Vec<_> = dev.shapes().into_iter().filter(|shape| !known.contains(shape)).collect();
    assert_eq!(new, [(50, 5)]);
    let mut covered: Vec<_> = dev.in_order().iter().flat_map(|plan| plan.examples().to_vec()).collect();
    covered.sort_unstable();
    assert_eq!(covered, [0, 1, 2]);
}

proptest! {
    #[test]
    fn every_example_is_in_one_batch(
        lengths in prop::collection::vec((1_usize..60, 0_usize..60), 1..300),
        rows in 1_usize..40,
        by_tokens: bool,
        width in 1_usize..9,
        seed: u64,
        epoch: u64,
    ) {
        let examples: Vec<_> = lengths.iter().map(|&(source, target)| example(source, target)).collect();
        let most = 8 * rows;
        let size = if by_tokens { BatchSize::Tokens(most) } else { BatchSize::Sentences(rows) };
        let buckets = Buckets::new(&examples[..], size, width).unwrap();
        let mut rows_of = HashMap::new();
        prop_assert!(buckets.shapes().len() <= MAX_SHAPES);
        let plans = buckets.epoch(seed, epoch);
        prop_assert_eq!(&plans, &buckets.epoch(seed, epoch));
        for plans in [plans, buckets.in_order()] {
            let mut seen = Vec::new();
            let mut tokens = 0;
            for plan in &plans {
                let batch = buckets.batch(plan);
                prop_assert!(batch.shape.source.is_multiple_of(width) && batch.shape.target.is_multiple_of(width));
                prop_assert!(buckets.shapes().contains(&(batch.shape.source, batch.shape.target)));
                let same_shape = *rows_of.entry((batch.shape.source, batch.shape.target)).or_insert(batch.shape.rows);
                prop_assert_eq!(batch.shape.rows, same_shape);
                let rows = if by_tokens { same_shape } else { rows };
                prop_assert_eq!(batch.shape.rows, rows);
                let longest = batch.shape.source.max(batch.shape.target);
                prop_assert!(!by_tokens || rows == 1 || rows * longest <= most);
                // Not less than needed either: another tile of rows would be too much.
                prop_assert!(!by_tokens || (rows + 8) * longest > most);
                prop_assert_eq!(batch.source.len(), rows * batch.shape.source);
                prop_assert_eq!(batch.target_in.len(), rows * batch.shape.target);
                prop_assert_eq!(batch.target_out.len(), rows * batch.shape.target);
                prop_assert_eq!(batch.target_out.iter().filter(|&&id| id != PAD).count(), batch.target_tokens);
                tokens += batch.target_tokens;
                for (row, index) in batch.indices.iter().enumerate() {
                    let source = &batch.source[row * batch.shape.source..(row + 1) * batch.shape.source];
                    let full = batch.lengths[row] as usize;
                    prop_assert!(source[full..].iter().all(|&id| id == PAD));
                    match index {
                        Some(index) => prop_assert_eq!(&source[..full], &examples[*index].source[..]),
                        None => prop_assert_eq!(full, 0),
                    }
                    seen.extend(*index);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..examples.len()).collect::<Vec<_>>());
            prop_assert_eq!(tokens, lengths.iter().map(|(_, target)| target + 1).sum::<usize>());
        }
    }

    #[test]
    fn edit_distance_is_a_metric(a in "[ab]{0,8}", b in "[ab]{0,8}", c in "[ab]{0,8}") {
        let [a, b, c] = [a, b, c].map(|text| text.into_bytes());
        prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
        prop_assert_eq!(edit_distance(&a, &b) == 0, a == b);
        prop_assert!(edit_distance(&a, &c) <= edit_distance(&a, &b) + edit_distance(&b, &c));
    }
}

#[test]
fn epochs_differ_and_repeat() {
    let examples: Vec<_> = (0..500).map(|n| example(2 + n % 17, 1 + n % 13)).collect();
    let buckets = Buckets::new(examples, BatchSize::Sentences(16), 1).unwrap();
    assert_eq!(buckets.epoch(7, 3), buckets.clone().epoch(7, 3));
    assert_ne!(buckets.epoch(7, 3), buckets.epoch(7, 4));
    assert_ne!(buckets.epoch(7, 3), buckets.epoch(8, 3));
    // A run that stops must find the same order after an upgrade: these are the first examples of seed 1, epoch 0.
    let first: Vec<_> = buckets.epoch(1, 0).iter().take(2).flat_map(|plan| plan.examples()[..2].to_vec()).collect();
    assert_eq!(first, FIRST_OF_SEED_1);
}

/// Recorded from this code.
const FIRST_OF_SEED_1: [usize; 4] = [271, 168, 467, 25];

#[test]
fn words_of_numbers() {
    for (n, wanted) in [
        (0, "zero"),
        (7, "seven"),
        (10, "ten"),
        (13, "thirteen"),
        (20, "twenty"),
        (21, "twenty-one"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (105, "one hundred five"),
        (342, "three hundred forty-two"),
        (1_000, "one thousand"),
        (1_001, "one thousand one"),
        (1_234, "one thousand two hundred thirty-four"),
        (12_012, "twelve thousand twelve"),
        (100_000, "one hundred thousand"),
        (999_999, "nine hundred ninety-nine thousand nine hundred ninety-nine"),
        (1_000_000, "one million"),
        (
            u32::MAX,
            "four billion two hundred ninety-four million nine hundred sixty-seven thousand two hundred ninety-five",
        ),
    ] {
        assert_eq!(number_words(n), wanted);
    }
}

#[test]
fn tasks_hold_out_what_they_check() {
    for task in Task::ALL {
        for seed in 0..3 {
            let data = task.generate(seed);
            assert_eq!(data.train.len(), TRAIN_PAIRS);
            assert_eq!(data.valid.len(), VALID_PAIRS);
            let train: HashSet<_> = data.train.iter().map(|pair| &pair.source).collect();
            let valid: HashSet<_> = data.valid.iter().map(|pair| &pair.source).collect();
            assert_eq!(valid.len(), VALID_PAIRS, "{task}: a source twice");
            assert!(train.is_disjoint(&valid), "{task}: a source on both sides");
            let pieces = |pairs: &[Pair]| -> HashSet<String> {
                let split = |pair: &Pair| {
                    let sources = data.source_unit.split(&pair.source).map(|piece| format!("source {piece}"));
                    sources
                        .chain(data.target_unit.split(&pair.target).map(|piece| format!("target {piece}")))
                        .collect::<Vec<_>>()
                };
                pairs.iter().flat_map(split).collect()
            };
            let (taught, asked) = (pieces(&data.train), pieces(&data.valid));
            assert!(asked.is_subset(&taught), "{task}: never taught {:?}", asked.difference(&taught));
        }
        assert_eq!(task.generate(5), task.generate(5));
        assert_ne!(task.generate(5).valid, task.generate(6).valid);
        assert_eq!(task.to_string().parse::<Task>().unwrap(), task);
    }
    let error = "sums".parse::<Task>().unwrap_err().to_string();
    assert_eq!(error, "task: `sums` is not a built-in task; known tasks: numbers, dates, opinions, stories");
}

#[test]
fn numbers_teach_every_word_and_every_short_number() {
    let data = Task::Numbers.generate(1);
    let train: HashSet<u32> = data.train.iter().map(|pair| pair.source.parse().unwrap()).collect();
    let valid: HashSet<u32> = data.valid.iter().map(|pair| pair.source.parse().unwrap()).collect();
    assert!((0..1000).all(|n| train.contains(&n) || valid.contains(&n)));
    assert!(train.contains(&0));
    let per_digits = |digits: usize| data.valid.iter().filter(|pair| pair.source.len() == digits).count();
    assert_eq!([1, 2, 3, 4, 5, 6].map(per_digits), [2, 20, 244, 244, 245, 245]);
    let taught: HashSet<&str> = data.train.iter().flat_map(|pair| pair.target.split(' ')).collect();
    // 0 to 99, hundred and thousand.
    assert_eq!(taught.len(), 102);
    assert!(data.train.iter().chain(&data.valid).all(|pair| pair.target == number_words(pair.source.parse().unwrap())));
}

#[test]
fn the_calendar_is_gregorian() {
    let leap = [(1900, 28), (2000, 29), (1996, 29), (2023, 28), (2100, 28)];
    assert!(leap.iter().all(|&(year, days)| dates::days_in_month(year, 2) == days));
    let days = dates::calendar();
    // 300 years, of which 73 are leap years (1800 and 1900 are not).
    assert_eq!(days.len(), 300 * 365 + 73);
    let forms = |iso: &str| days.iter().find(|date| date.iso() == iso).unwrap().forms();
    assert!(forms("1998-05-09").contains(&"Saturday 9 May 1998".to_owned()));
    assert!(forms("1969-07-20").contains(&"Sunday the 20th of July 1969".to_owned()));
    assert!(forms("2000-02-29").contains(&"Tuesday, February 29, 2000".to_owned()));
    assert!(forms("2021-11-11").contains(&"11th of November 2021".to_owned()));
    assert!(forms("2021-03-22").contains(&"March 22nd, 2021".to_owned()));
    assert!(forms("1998-12-25").contains(&"12/25/1998".to_owned()));
    assert!(forms("1998-12-25").contains(&"25/12/1998".to_owned()));
    assert!(forms("1998-05-05").contains(&"05/05/1998".to_owned()));
    assert!(!forms("1998-05-09").iter().any(|form| form.ends_with("/1998")));
    // No written form may mean two days.
    let mut meaning = std::collections::HashMap::new();
    for date in &days {
        for form in date.forms() {
            assert_eq!(*meaning.entry(form).or_insert_with(|| date.iso()), date.iso());
        }
    }
}

#[test]
fn dates_hold_out_whole_days() {
    let data = Task::Dates.generate(1);
    let known: HashSet<String> = dates::calendar().iter().map(dates::Date::iso).collect();
    let iso = |pair: &Pair| {
        let side = if known.contains(&pair.source) { &pair.source } else { &pair.target };
        assert!(known.contains(side), "{pair:?}");
        side.clone()
    };
    let train: HashSet<_> = data.train.iter().map(iso).collect();
    let valid: HashSet<_> = data.valid.iter().map(iso).collect();
    assert_eq!(valid.len(), VALID_PAIRS);
    assert!(train.is_disjoint(&valid));
    let back = data.valid.iter().filter(|pair| known.contains(&pair.source)).count();
    assert!((250..420).contains(&back), "{back} of 1,000 turn ISO into words");
}

#[test]
fn edits() {
    for (a, b, wanted) in [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
        assert_eq!(edit_distance(a.as_bytes(), b.as_bytes()), wanted, "{a} {b}");
    }
}

#[test]
fn rates_take_the_nearest_reference() {
    let hypotheses = ["A B C", "A B", "X", ""].map(words);
    let answers = [
        vec![words("A B C"), words("A")],
        // Both are one edit away: the longer one counts.
        vec![words("A"), words("A B C")],
        vec![words("Y Z"), words("Y Z W")],
        vec![words("Q")],
    ];
    let segments: Vec<_> = hypotheses.iter().map(Vec::as_slice).zip(answers.iter().map(Vec::as_slice)).collect();
    // Edits 0 + 1 + 2 + 1, lengths 3 + 3 + 2 + 1.
    assert!((token_error_rate(&segments) - 100.0 * 4.0 / 9.0).abs() < 1e-12);
    assert!((sentence_error_rate(&segments) - 75.0).abs() < 1e-12);
    assert_eq!((token_error_rate(&[]), sentence_error_rate(&[]), bleu(&[])), (0.0, 0.0, 0.0));
    let (empty, one) = (vec![Vec::new()], words("A"));
    assert_eq!(token_error_rate(&[(&[], &empty)]), 0.0);
    assert_eq!(token_error_rate(&[(&one, &empty)]), 100.0);
    assert_eq!(bleu(&[(&[], &empty)]), 0.0);
}

/// Asserts what a metric makes of hypotheses and their references, each in words.
fn compare(metric: fn(&[metrics::Segment]) -> f64, rows: &[(&str, &[&str])], wanted: f64) {
    let rows: Vec<(Vec<String>, Vec<Vec<String>>)> =
        rows.iter().map(|(hyp, refs)| (words(hyp), refs.iter().map(|text| words(text)).collect())).collect();
    let segments: Vec<_> = rows.iter().map(|(hyp, refs)| (hyp.as_slice(), refs.as_slice())).collect();
    let got = metric(&segments);
    assert!((got - wanted).abs() < 1e-9, "{got} is not {wanted}");
}

#[test]
fn bleu_agrees_with_sacrebleu() {
    let compare = |rows: &[(&str, &[&str])], wanted: f64| compare(bleu, rows, wanted);
    // Wanted values from sacrebleu 2.6.0: BLEU(tokenize="none").corpus_score(...).score
    compare(
        &[
            ("the cat sat on the the mat today", &["the cat sat on the mat", "the cat is sitting on the mat now"]),
            ("a dog runs in park", &["a dog ran in the park", "the dog runs in a park quickly and happily"]),
            ("hello world", &["hello big world", "goodbye"]),
            (
                "it is a guide to action which ensures that the military obeys",
                &[
                    "it is a guide to action that ensures that the military will forever heed",
                    "it is the guiding principle which guarantees the military forces always being under the command",
                ],
            ),
        ],
        54.885719417660866,
    );
    // Without a match of three or four tokens: smoothed.
    compare(
        &[("one two nine four five", &["one two three four six"]), ("six seven", &["six eight seven"])],
        20.247579451328473,
    );
    // No four tokens anywhere.
    compare(&[("a b c", &["a b c"])], 0.0);
    compare(&[("a b c d", &["a b c d"])], 100.0);
}

#[test]
fn chrf_agrees_with_sacrebleu() {
    let compare = |rows: &[(&str, &[&str])], wanted: f64| compare(chrf, rows, wanted);
    // Wanted values from sacrebleu 2.6.0: CHRF().corpus_score(...).score
    compare(
        &[
            ("the cat sat on the the mat today", &["the cat sat on the mat", "the cat is sitting on the mat now"]),
            ("a dog runs in park", &["a dog ran in the park", "the dog runs in a park quickly and happily"]),
            ("hello world", &["hello big world", "goodbye"]),
            ("Grüße 東京", &["Gruß 東京都", "東 京"]),
            ("", &["x", "y z"]),
        ],
        58.114317180589346,
    );
    compare(&[("ab", &["ab"])], 100.0);
    compare(&[("a", &["b"])], 0.0);
    compare(&[], 0.0);
}

/// Made-up texts with empty hypotheses, lines of one token and up to three references; the scores from sacrebleu 2.6.0.
#[test]
fn a_corpus_scores_as_in_sacrebleu() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../golden/metrics.json")).unwrap();
    let rows: Vec<Vec<Vec<String>>> = golden["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row.as_array().unwrap().iter().map(|text| words(text.as_str().unwrap())).collect())
        .collect();
    let segments: Vec<metrics::Segment> = rows.iter().map(|row| (row[0].as_slice(), &row[1..])).collect();
    for (metric, name) in [(bleu as fn(&[metrics::Segment]) -> f64, "bleu"), (chrf, "chrf")] {
        let (got, wanted) = (metric(&segments), golden[name].as_f64().unwrap());
        assert!((got - wanted).abs() < 1e-9, "{name}: {got} is not {wanted}");
    }
    // Statistics of parts add up to those of the whole.
    let (first, second) = segments.split_at(17);
    let mut sum = metrics::Statistics::sum(first);
    sum += metrics::Statistics::sum(second);
    assert_eq!(sum, metrics::Statistics::sum(&segments));
}

#[test]
fn intervals_hold_the_score() {
    // A share of 1 in 4 of 400: 95 % of its resamples lie within 1.96 standard deviations of 2.165 points.
    let answers = [words("A"), words("B"), words("B"), words("B")].map(|answer| vec![answer]);
    let hypothesis = words("A");
    let items: Vec<_> =
        (0..400).map(|i| metrics::Statistics::of((hypothesis.as_slice(), answers[i % 4].as_slice()))).collect();
    let scores = |sum: &metrics::Statistics| [sum.scores().exact_match, sum.scores().sentence_error_rate];
    let [exact, wrong] = bootstrap(&items, 1_000, 1, scores);
    assert!((exact.low - 20.76).abs() < 0.6 && (exact.high - 29.24).abs() < 0.6, "{exact:?}");
    assert!((wrong.low - (100.0 - exact.high)).abs() < 0.3 && (wrong.high - (100.0 - exact.low)).abs() < 0.3);
    assert_eq!(bootstrap(&items, 1_000, 1, scores), [exact, wrong]);
    assert_ne!(bootstrap(&items, 1_000, 2, scores), [exact, wrong]);
    let [one, _] = bootstrap(&items[..1], 10, 1, scores);
    assert_eq!((one.low, one.high), (100.0, 100.0));
    assert_eq!(bootstrap(&[], 10, 1, scores)[1].high, 0.0);
}

#[test]
fn of_references_as_near_the_longest_counts() {
    // All of them one edit away from A B C, in every order.
    let answers = ["A B", "A B D", "A B C D", "A X C"].map(words);
    let hypothesis = words("A B C");
    for turn in 0..4 {
        let mut answers = answers.to_vec();
        answers.rotate_left(turn);
        assert_eq!(token_error_rate(&[(&hypothesis, &answers)]), 25.0);
        assert_eq!(sentence_error_rate(&[(&hypothesis, &answers)]), 100.0);
        // A nearer one counts, however short.
        answers.push(words("A B C"));
        assert_eq!(token_error_rate(&[(&hypothesis, &answers)]), 0.0);
        assert_eq!(sentence_error_rate(&[(&hypothesis, &answers)]), 0.0);
    }
    // A sum of edits over a sum of lengths, not a mean of shares.
    let segments = [(&[] as &[String], &answers[..1]), (&hypothesis, &answers[2..3])];
    assert!((token_error_rate(&segments) - 100.0 * 3.0 / 6.0).abs() < 1e-12);
}

#[test]
fn a_source_is_scored_once() {
    let pairs = [Pair::new("ab", "A B"), Pair::new("ab", "A P"), Pair::new("c", "C C C")];
    let references = references(&pairs, |text| Ok(words(text))).unwrap();
    assert_eq!(references["ab"].len(), 2);
    let items: Vec<_> =
        [("ab", "A P"), ("ab", "wrong"), ("c", "C C")].map(|(source, text)| (source.to_owned(), words(text))).into();
    let scores = score(&items, &references).unwrap();
    assert_eq!(
        (scores.count, scores.sentence_error_rate, scores.exact_match, scores.token_error_rate),
        (2, 50.0, 50.0, 20.0)
    );
    assert_eq!(serde_json::to_value(scores).unwrap()["count"], 2);

    let error = |items: &[(String, Vec<String>)], known: &References| score(items, known).unwrap_err().to_string();
    assert_eq!(error(&[], &references), "scores: there are no hypotheses to score; give at least one");
    let unknown = [("d".to_owned(), words("D"))];
    assert_eq!(error(&unknown, &references), "scores: the source `d` has no reference; add its target");
    let bare = References::from([("d".to_owned(), Vec::new())]);
    assert_eq!(error(&unknown, &bare), "scores: the source `d` has no reference; add its target");
    assert!(metrics::references(&pairs, |_| Err(Error::data("x", "y"))).is_err());
}

#[test]
fn specials_are_in_the_order_of_their_ids() {
    for (id, token) in SPECIALS.iter().enumerate() {
        assert_eq!(chars(&["a"]).token(id as u32), *token);
    }
}
