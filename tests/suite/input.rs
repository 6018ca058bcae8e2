//! Whatever users write, whole files or command lines: an error that says what and where, never a panic.
//! `SOFTALIGN_CASES` says how many of each are tried.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::common::training::{Setting, refusal};
use proptest::prelude::*;
use serde_json::{Value, json};
use softalign::{
    Error, Result,
    model::{
        Architecture,
        bahdanau::{Bahdanau, Config},
        read_tensors,
    },
    text::{Pair, TokenUnit, Tokenizer, read_tsv},
    train::Data,
};

fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("SOFTALIGN_CASES").map_or(default, |cases| cases.parse().expect("no number of cases"));
    // Where cases fail is said on the terminal; nothing is written into the repository.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Asserts that a file was taken, or refused by its name.
fn taken_or_named<T: std::fmt::Debug>(result: Result<T>, path: &Path) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        other => {
            let message = refusal(other);
            assert!(message.contains(&path.display().to_string()), "{message}");
            None
        }
    }
}

/// Numbers at the ends of what some type or limit holds.
fn edge() -> impl Strategy<Value = u64> {
    let edges = [0, 1, 3, 4, 1 << 24, (1 << 24) + 1, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 53, u64::MAX];
    prop::sample::select(edges.to_vec())
}

/// Any JSON, in few words.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        edge().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("<unk>")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// Every place in a JSON value.
fn places(value: &Value, here: &str, all: &mut Vec<String>) {
    all.push(here.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| places(value, &format!("{here}/{}", escape(key)), all))
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{here}/{index}"), all));
        }
        _ => {}
    }
}

/// The value with something else in some of its places.
fn changed(whole: &Value, changes: &[(prop::sample::Index, Value)]) -> Value {
    let mut value = whole.clone();
    for (place, new) in changes {
        let mut all = Vec::new();
        places(&value, "", &mut all);
        let place = place.get(&all);
        *value.pointer_mut(place).unwrap() = new.clone();
    }
    value
}

fn changes(most: usize) -> impl Strategy<Value = Vec<(prop::sample::Index, Value)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..=most)
}

/// A line of a corpus: the pair on it, or nothing where it is wrong. No column begins with a byte-order mark, which is not its text.
fn line() -> impl Strategy<Value = (String, Option<Pair>)> {
    let text = r"([^\t\r\n\x{feff}][^\t\r\n]{0,5})?[a-zé日][^\t\r\n]{0,6}";
    let good =
        (text, text).prop_map(|(source, target)| (format!("{source}\t{target}"), Some(Pair::new(source, target))));
    let bad = prop_oneof![
        text.prop_map(|text| text),
        (text, text, text).prop_map(|(a, b, c)| format!("{a}\t{b}\t{c}")),
        text.prop_map(|text| format!(" \t{text}")),
        text.prop_map(|text| format!("{text}\t ")),
        Just("  ".to_owned()),
    ];
    prop_oneof![9 => good, 1 => bad.prop_map(|line| (line, None))]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_corpus_is_read_or_its_first_wrong_line_is_named(lines in prop::collection::vec(line(), 1..20), crlf: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.tsv");
        let text: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).collect();
        fs::write(&path, text.join(if crlf { "\r\n" } else { "\n" })).unwrap();
        let found = taken_or_named(read_tsv(&path), &path);
        let wanted: Option<Vec<Pair>> = lines.iter().map(|(_, pair)| pair.clone()).collect();
        prop_assert_eq!(&found, &wanted);
        if let Some(at) = lines.iter().position(|(_, pair)| pair.is_none()) {
            let message = refusal(read_tsv(&path));
            prop_assert!(message.contains(&format!("line {}:", at + 1)), "{}", message);
        }
    }

    #[test]
    fn a_configuration_is_refused_by_its_name_or_makes_a_model(changes in changes(3), sizes in prop::collection::vec((0_usize..12, edge()), 0..3)) {
        let mut value = changed(&serde_json::to_value(Config::new(10, 12)).unwrap(), &changes);
        for (field, size) in sizes {
            if let Some(place) = value.as_object_mut().and_then(|fields| fields.values_mut().nth(field)) {
                *place = json!(size);
            }
        }
        if let Ok(config) = serde_json::from_value::<Config>(value) {
            match config.check("config.json") {
                Ok(()) => {
                    let parameters = Bahdanau::new(config).unwrap().parameters();
                    let elements = parameters.iter().map(|one| one.shape.elements() as u128).sum::<u128>();
                    prop_assert!(elements > 0 && elements < 1 << 63);
                }
                Err(Error::Data { path, .. }) => prop_assert_eq!(path, "config.json"),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }

    #[test]
    fn a_tensor_file_is_refused_by_its_name_or_read(
        tensors in prop::collection::vec((any::<bool>(), 0..5_usize, prop::collection::vec(0_u64..4, 0..4), edge(), edge(), edge()), 0..4),
        extra in prop::option::of(any_json()),
        length in prop_oneof![4 => Just(0_i64), 1 => -9..9_i64, 1 => any::<i64>()],
        tail in -3..3_i64,
    ) {
        let types = ["F32", "F16", "BF16", "I64", "F33"];
        let (mut header, mut end) = (serde_json::Map::new(), 0_u64);
        for (number, (right, kind, mut shape, wrong, from, to)) in tensors.into_iter().enumerate() {
            let size = [4, 2, 2, 8, 4][kind];
            let mut offsets = [end, end + size * shape.iter().product::<u64>()];
            end = offsets[1];
            if !right {
                shape.push(wrong);
                offsets = [from, to];
            }
            header.insert(format!("tensor {number}"), json!({ "dtype": types[kind], "shape": shape, "data_offsets": offsets }));
        }
        if let Some(extra) = extra {
            header.insert("__metadata__".into(), extra);
        }
        let header = Value::Object(header).to_string();
        let stated = (header.len() as i64).wrapping_add(length) as u64;
        let data = vec![0; end.saturating_add_signed(tail) as usize];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, [&stated.to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
        for (name, (shape, values)) in taken_or_named(read_tensors(&path), &path).into_iter().flatten() {
            prop_assert_eq!(shape.iter().product::<usize>(), values.len(), "{}", name);
        }
    }

    #[test]
    fn a_tokenizer_is_refused_by_its_name_or_cuts_any_text(kind in 0..4_usize, changes in changes(2), text in ".{0,12}") {
        let corpus = ["ab abc <unk> 日本", "b c ab ab"];
        let unit = [TokenUnit::Chars, TokenUnit::Words, TokenUnit::Bpe(20), TokenUnit::Unigram(20)][kind].clone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        Tokenizer::train(&unit, corpus.into_iter(), None).unwrap().save(&path).unwrap();
        let whole = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        fs::write(&path, changed(&whole, &changes).to_string()).unwrap();
        for read in [Tokenizer::load, Tokenizer::adopt] {
            let Some(tokenizer) = taken_or_named(read(&path), &path) else { continue };
            for text in [&text, corpus[0]] {
                // It may refuse a text too, in words.
                if let Ok(ids) = tokenizer.encode(text) {
                    prop_assert!(ids.iter().all(|id| (*id as usize) < tokenizer.size()));
                    tokenizer.decode(&ids);
                    let _ = (tokenizer.tokens(text), tokenizer.copies(text), tokenizer.units_of(text));
                }
            }
        }
    }
}

/// Values that no option of `train` expects, and some that are right.
fn value() -> impl Strategy<Value = String> {
    let odd = [
        "",
        "-1",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e40",
        "words",
        "bpe:99",
        "bpe:18446744073709551615",
        "none",
        "linear",
    ];
    let more = ["plateau:0", "unigram:16777216", "no such file.json", "loss", "0.5", "--", "\u{fffd}"];
    prop_oneof![
        3 => edge().prop_map(|number| number.to_string()),
        2 => prop::sample::select([&odd[..], &more[..]].concat()).prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(cases(10))]

    /// With edges of sizes that would take terabytes, and mistakes of every kind.
    #[test]
    fn a_command_line_trains_or_is_refused_in_words(
        options in prop::collection::hash_map(prop::sample::select(vec![
            "--source-tokens", "--target-tokens", "--max-vocabulary", "--max-length", "--batch", "--batch-tokens",
            "--accumulate", "--learning-rate", "--warmup", "--decay", "--clip-norm", "--weight-decay", "--ema",
            "--label-smoothing", "--dropout", "--dropout-state", "--dropout-words", "--guided-alignment",
            "--coverage-weight", "--embedding", "--hidden", "--layers", "--readout", "--seed", "--validate-every",
            "--metric", "--keep-best", "--min-count", "--bpe-dropout", "--epochs", "--minutes", "--patience", "--no-such-option",
        ]), value(), 1..3),
    ) {
        let setting = Setting::new();
        let Data::Files { train, valid } = &setting.options.data else { unreachable!() };
        let out: PathBuf = setting.out("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_softalign"));
        command.args(["train", "--quiet", "--steps", "1"]);
        command.args([Path::new("--train"), train, Path::new("--valid"), valid, Path::new("--out"), &out]);
        if !options.contains_key("--hidden") {
            command.args(["--hidden", "16"]);
        }
        if !options.contains_key("--embedding") {
            command.args(["--embedding", "8"]);
        }
        for (option, value) in &options {
            command.arg(format!("{option}={value}"));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        prop_assert!(!said.contains("panicked"), "{:?}: {}", options, said);
        match output.status.code() {
            Some(0) => {}
            Some(1 | 2) => prop_assert!(said.contains("error: "), "{:?}: {}", options, said),
            other => prop_assert!(false, "{:?}: {:?}, {}", options, other, said),
        }
    }
}

/// The crate that reads tokenizers panics where the prefix of subwords is longer than a merge's second part.
#[test]
fn a_tokenizer_that_its_crate_panics_on_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    Tokenizer::train(&TokenUnit::Bpe(20), ["ab abc ab"].into_iter(), None).unwrap().save(&path).unwrap();
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(value["model"]["merges"].as_array().is_some_and(|merges| !merges.is_empty()), "{value}");
    value["model"]["continuing_subword_prefix"] = json!("##########");
    fs::write(&path, value.to_string()).unwrap();
    for read in [Tokenizer::load, Tokenizer::adopt] {
        assert!(refusal(read(&path)).contains(&path.display().to_string()));
    }
}
