//! Files that a disk, a network or a crash has damaged: always an error, never a panic, never another model or run than was
//! saved. `SOFTALIGN_CASES` says how many damages each file gets.

use std::{fs, path::Path};

use crate::common::{
    self,
    training::{Setting, refusal, run, state, stopped},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::{
    gpu::{TileTable, tuner},
    kernels::{TUNABLE, unusable},
    model::Model,
    train::{History, Session, TrainOptions},
    tune,
};

fn cases(default: usize) -> usize {
    std::env::var("SOFTALIGN_CASES").map_or(default, |cases| cases.parse().expect("SOFTALIGN_CASES is no number"))
}

/// Cut short, or with one to three bits flipped.
fn damaged(whole: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if random.random_bool(0.3) {
        bytes.truncate(random.random_range(0..whole.len()));
        return bytes;
    }
    // The header of a tensor file is a small part of it, and the one that decides most.
    let reach = if random.random_bool(0.5) { whole.len().min(4096) } else { whole.len() };
    let first = random.random_range(0..reach * 8);
    bytes[first / 8] ^= 1 << (first % 8);
    for _ in 0..random.random_range(0..3) {
        let at = random.random_range(0..reach * 8);
        // Flipped twice it would be whole again.
        if at != first {
            bytes[at / 8] ^= 1 << (at % 8);
        }
    }
    bytes
}

/// Damages `name` in `folder` again and again; whole again at the end.
fn each_damage(folder: &Path, name: &str, cases: usize, mut check: impl FnMut(&[u8])) {
    let path = folder.join(name);
    let whole = fs::read(&path).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(whole.len() as u64);
    for _ in 0..cases {
        let bytes = damaged(&whole, &mut random);
        fs::write(&path, &bytes).unwrap();
        check(&bytes);
    }
    fs::write(&path, &whole).unwrap();
}

#[test]
fn no_damaged_model_is_loaded() {
    let setting = Setting::new();
    let out = setting.out("model");
    run(&setting.options, 1, &out).unwrap();
    let gpu = common::gpu();
    for name in ["model.safetensors", "config.json", "source.tokenizer.json", "target.tokenizer.json"] {
        each_damage(&out, name, cases(2_000), |bytes| {
            let result = Model::load(gpu, &out);
            assert!(result.is_err(), "{name} was loaded as {}", String::from_utf8_lossy(bytes));
            assert!(refusal(result).contains(name), "the file is not named");
        });
    }
    assert!(Model::load(gpu, &out).is_ok());
}

#[test]
fn no_damaged_run_is_resumed() {
    let setting = Setting::new();
    let out = setting.out("run");
    stopped(&setting.options, 4, &out, 2);
    for name in ["checkpoint.safetensors", "run.json", "source.tokenizer.json", "target.tokenizer.json"] {
        each_damage(&out, name, cases(200), |bytes| {
            // Only where its files lie: content decides.
            let told: Option<TrainOptions> = serde_json::from_slice(bytes).ok();
            let data = setting.options.data.clone();
            if told.is_some_and(|told| TrainOptions { data, ..told } == setting.options) {
                return;
            }
            let result = run(&setting.options, 4, &out);
            assert!(result.is_err(), "{name} was resumed as {}", String::from_utf8_lossy(bytes));
            assert!(refusal(result).contains("`overwrite`"), "no way out is named");
        });
    }
    run(&setting.options, 4, &out).unwrap();
}

#[test]
fn no_damaged_table_of_tiles_makes_a_kernel_run_otherwise() {
    let gpu = common::gpu();
    let folder = tempfile::tempdir().unwrap();
    let path = tuner::path(gpu, folder.path());
    let mut table = TileTable::default();
    for kernel in TUNABLE {
        let tile = (kernel.candidates)(gpu.tiles()).pop();
        kernel.classes.iter().for_each(|class| table.set(kernel.name, class, tile.clone()));
    }
    tuner::write(gpu, &path, &table).unwrap();
    assert_eq!(tune::load(gpu, &path).tile_table(), &table);
    each_damage(folder.path(), path.file_name().unwrap().to_str().unwrap(), cases(2_000), |_| {
        // Nothing of it, or at worst other tiles that were validated.
        assert_eq!(unusable(gpu, tune::load(gpu, &path).tile_table()), None);
    });
    assert_eq!(tune::load(gpu, &path).tile_table(), &table);
}

/// What is only looked at costs no run, whatever has become of it.
#[test]
fn damaged_records_of_a_run_are_no_reason_to_stop() {
    let setting = Setting::new();
    let out = setting.out("run");
    // Validated after each step, so that there are records.
    let options = TrainOptions { validate_every: Some(1), ..setting.options.clone() };
    stopped(&options, 6, &out, 2);
    let mut entries = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let events = entries.find(|name| name.starts_with("events.")).unwrap();
    for name in ["metrics.jsonl", "session.json"] {
        each_damage(&out, name, cases(2_000), |_| {
            History::read(&out).unwrap();
            if let Err(error) = Session::read(&out) {
                assert!(error.to_string().contains(name), "{error}");
            }
        });
    }
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for name in ["metrics.jsonl", "session.json", events.as_str()] {
        let path = out.join(name);
        fs::write(&path, damaged(&fs::read(&path).unwrap(), &mut random)).unwrap();
        stopped(&options, 6, &out, 1);
    }
    run(&options, 6, &out).unwrap();
    let whole = setting.out("whole");
    run(&options, 6, &whole).unwrap();
    assert!(state(&out) == state(&whole), "other bits than those of the run whose records were not damaged");
}
