//! What a run writes about itself: TensorBoard's events, read here by a decoder of its own, and the curves.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::common;
use softalign::{
    text::{TokenUnit, numbers::number_words},
    train::{Budget, Data, Destination, History, Metric, Session, TrainOptions, train},
};
use tempfile::TempDir;

fn setting() -> (TempDir, TrainOptions, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let lines = |numbers: &mut dyn Iterator<Item = u32>| -> String {
        numbers.map(|n| format!("{n}\t{}\n", number_words(n))).collect()
    };
    let (train, valid) = (folder.path().join("train.tsv"), folder.path().join("valid.tsv"));
    fs::write(&train, lines(&mut (0..60).map(|i| i * 37 % 1000))).unwrap();
    fs::write(&valid, lines(&mut (0..6).map(|i| (i * 191 + 5) % 1000))).unwrap();
    let options = TrainOptions {
        target_unit: TokenUnit::Words,
        max_length: 8,
        batch: 16,
        embedding: 8,
        hidden: 16,
        validate_every: Some(15),
        ..TrainOptions::new(Data::Files { train, valid })
    };
    let out = folder.path().join("run");
    (folder, options, out)
}

/// Runs 40 steps in all, or stops after some of this session.
fn run(options: &TrainOptions, out: &Path, overwrite: bool, stop_after: Option<u64>) {
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        Some(asked.get()) == stop_after
    };
    let budget = Budget { steps: Some(40), ..Budget::default() };
    train(common::gpu(), options, budget, Destination { folder: out, overwrite }, &stop, &mut |_| {}).unwrap();
}

/// CRC-32C bit by bit, masked as in TFRecord files.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a protocol buffer: number, and bytes of the value (of a varint its eight little-endian bytes).
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            kind => {
                let length = match kind {
                    1 => 8,
                    5 => 4,
                    2 => varint(&mut bytes) as usize,
                    other => panic!("wire type {other}"),
                };
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
        };
        found.push((key >> 3, value));
    }
    found
}

#[derive(Default)]
struct Read {
    versions: Vec<String>,
    /// Steps at which a session says that it starts.
    starts: Vec<u64>,
    scalars: BTreeMap<String, Vec<(u64, f32)>>,
}

/// Every events file of a folder, in the order of their names, every record checked.
fn read(folder: &Path) -> Read {
    let mut read = Read::default();
    for path in event_files(folder) {
        let text = fs::read(&path).unwrap();
        let mut bytes = text.as_slice();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(word(8), checksum(&bytes[..8]));
            let data = &bytes[12..12 + length];
            assert_eq!(word(12 + length), checksum(data));
            bytes = &bytes[16 + length..];
            let fields_of = fields(data);
            let field = |number: u64| fields_of.iter().find(|(at, _)| *at == number).map(|(_, value)| value.as_slice());
            let time = f64::from_le_bytes(field(1).unwrap().try_into().unwrap());
            assert!(time > 1.7e9, "{time}");
            let step = field(2).map_or(0, |step| u64::from_le_bytes(step.try_into().unwrap()));
            if let Some(version) = field(3) {
                read.versions.push(String::from_utf8(version.to_vec()).unwrap());
            }
            if let Some(log) = field(7) {
                assert_eq!(fields(log), [(1, 1_u64.to_le_bytes().to_vec())]);
                read.starts.push(step);
            }
            for (_, value) in fields(field(5).unwrap_or_default()) {
                let value = fields(&value);
                let tag = String::from_utf8(value[0].1.clone()).unwrap();
                let number = f32::from_le_bytes(value[1].1.as_slice().try_into().unwrap());
                assert_eq!([value[0].0, value[1].0], [1, 2]);
                read.scalars.entry(tag).or_default().push((step, number));
            }
        }
    }
    read
}

fn event_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let events = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("events.out.tfevents."));
    let mut files: Vec<_> = events.map(|entry| entry.path()).collect();
    files.sort();
    files
}

#[test]
fn checksums_are_castagnolis() {
    // RFC 3720, appendix B.4: 32 bytes of zeros.
    assert_eq!(checksum(&[0; 32]), 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8));
}

#[test]
fn events_hold_each_step_once_however_often_the_run_was_killed() {
    let (_folder, options, out) = setting();
    run(&options, &out, false, Some(12));
    let checkpoint = fs::read(out.join("checkpoint.safetensors")).unwrap();
    run(&options, &out, false, Some(22));
    assert!(read(&out).scalars["train/loss"].iter().any(|(step, _)| *step == 30));
    // A kill leaves an older checkpoint, and the last record torn.
    fs::write(out.join("checkpoint.safetensors"), checkpoint).unwrap();
    let newest = event_files(&out).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes.truncate(bytes.len() - 5);
    fs::write(&newest, bytes).unwrap();
    run(&options, &out, false, None);

    let read_back = read(&out);
    assert_eq!(event_files(&out).len(), 3, "a file for each session");
    assert_eq!(read_back.versions, ["brain.Event:2"; 3]);
    assert_eq!(*read_back.starts.last().unwrap(), 13);
    let steps = |tag: &str| read_back.scalars[tag].iter().map(|(step, _)| *step).collect::<Vec<_>>();
    for tag in ["loss", "grad_norm", "learning_rate", "tokens_per_second"] {
        assert_eq!(steps(&format!("train/{tag}")), [10, 20, 30, 40], "{tag}");
    }
    for tag in ["exact_match", "per", "sentence_error_rate", "bleu", "chrf"] {
        assert_eq!(steps(&format!("valid/{tag}")), [15, 30, 40], "{tag}");
    }
    // The same numbers as in the lines of JSON.
    let history = History::read(&out).unwrap();
    assert_eq!((history.step, history.total), (40, Some(40)));
    assert!(history.best.is_some_and(|step| [15, 30, 40].contains(&step)) && history.seconds > 0.0);
    assert!(history.series.keys().eq(read_back.scalars.keys()), "{:?}", history.series.keys());
    for (tag, values) in &history.series {
        let values: Vec<_> = values.iter().map(|(step, value)| (*step, *value as f32)).collect();
        assert_eq!(values, read_back.scalars[tag], "{tag}");
    }

    let curves = fs::read_to_string(out.join("curves.svg")).unwrap();
    assert!(curves.starts_with("<svg") && curves.trim_end().ends_with("</svg>"));
    for part in ["run: step 40", "Training loss", "Error rates", "exact match", "Learning rate", "Gradient norm"] {
        assert!(curves.contains(part), "{part} is missing");
    }
    let session = Session::read(&out).unwrap().unwrap();
    assert!(session.parameters > 1000 && !session.adapter.is_empty(), "{session:?}");
    assert_eq!((session.train_pairs, session.valid_pairs), (60, 6));

    // Another run in its place takes nothing over.
    run(&options, &out, true, Some(11));
    let again = read(&out);
    assert_eq!((event_files(&out).len(), again.starts.len()), (1, 0));
    assert_eq!(again.scalars.len(), 4, "{:?}", again.scalars.keys());
    assert!(!out.join("curves.svg").exists());
}

#[test]
fn a_run_of_0_1_0_keeps_its_sentence_error_rate() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"step": 10, "valid": {"exact_match": 75.0, "per": 9.0, "wer": 25.0, "count": 4}}"#;
    fs::write(folder.path().join("metrics.jsonl"), line).unwrap();
    let history = History::read(folder.path()).unwrap();
    assert_eq!(history.series["valid/sentence_error_rate"], [(10, 25.0)]);
    assert_eq!(serde_json::from_str::<Metric>(r#""wer""#).unwrap(), Metric::Ser);
}
