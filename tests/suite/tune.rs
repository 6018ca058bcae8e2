//! Tiles that were measured: what of a table takes effect, which files are believed, and what a measurement finds.

use std::{cell::Cell, fs, path::Path};

use crate::common;
use serde_json::{Value, json};
use softalign::{
    Gpu,
    gpu::{TileTable, tuner},
    kernels::{TUNABLE, Tunable as _, matmul::Tile, unusable},
    tune::{self, Event},
};

/// A table that gives products of many rows a tile that is not their default.
fn table(gpu: &Gpu) -> (TileTable, Tile) {
    let other = Tile::candidates(gpu.tiles()).into_iter().find(|tile| *tile != Tile::choose(gpu, 500)).unwrap();
    let mut table = TileTable::default();
    table.set("matmul", Tile::class(500), Some(serde_json::to_value(other).unwrap()));
    (table, other)
}

#[test]
fn a_table_decides_among_candidates_alone() {
    for gpu in [common::gpu(), common::portable()] {
        let (mut table, other) = table(gpu);
        let tuned = gpu.with_tile_table(table.clone());
        assert_eq!(Tile::choose(&tuned, 500), other);
        assert_eq!(Tile::choose(&tuned, 5), Tile::choose(gpu, 5), "another class");
        assert_ne!(Tile::choose(gpu, 500), other, "another handle of the device");
        assert_eq!(unusable(gpu, &table), None);
        for wrong in [json!({ "rows": 4000 }), json!(null), serde_json::to_value(Tile { rows: 4000, ..other }).unwrap()]
        {
            table.set("matmul", Tile::class(500), Some(wrong));
            assert_eq!(Tile::choose(&gpu.with_tile_table(table.clone()), 500), Tile::choose(gpu, 500));
            assert!(unusable(gpu, &table).is_some());
        }
    }
}

#[test]
fn every_class_is_listed_and_has_candidates() {
    for gpu in [common::gpu(), common::portable()] {
        for kernel in TUNABLE {
            assert!(!(kernel.candidates)(gpu.tiles()).is_empty(), "{}", kernel.name);
        }
    }
    for m in 0..1000 {
        assert!(Tile::CLASSES.contains(&Tile::class(m)));
    }
    for rows in 0..1000 {
        use softalign::kernels::gru::Tile;
        assert!(Tile::CLASSES.contains(&Tile::class(rows)));
    }
    for size in 0..200 {
        use softalign::kernels::dot_product_attention::Tile;
        assert!(Tile::CLASSES.contains(&Tile::class(size)));
    }
    for (queries, keys) in (1..80).flat_map(|queries| (1..80).map(move |keys| (queries, keys))) {
        use softalign::kernels::additive_attention::{AdditiveAttention, Tile};
        let shape = AdditiveAttention { batch: 1, queries, keys, size: 4, value_size: 4 };
        assert!(Tile::CLASSES.contains(&Tile::class(&shape)));
    }
}

/// What [`tune::load`] makes of a file.
fn loaded(path: &Path) -> TileTable {
    tune::load(common::gpu(), path).tile_table().clone()
}

#[test]
fn files_that_are_damaged_or_about_something_else_are_ignored() {
    let gpu = common::gpu();
    let folder = tempfile::tempdir().unwrap();
    let path = tuner::path(gpu, &folder.path().join("made on demand"));
    assert!(loaded(&path).is_empty(), "no file");
    let (table, _) = table(gpu);
    tuner::write(gpu, &path, &table).unwrap();
    assert_eq!(loaded(&path), table);
    assert_ne!(tuner::path(common::portable(), folder.path()).file_name(), path.file_name());

    let whole = fs::read(&path).unwrap();
    let rejected = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        assert!(loaded(&path).is_empty(), "{what}");
    };
    for length in 0..whole.len() {
        rejected(&whole[..length], "truncated");
    }
    rejected(b"\xff\x00garbage", "no text");
    // A flipped bit leaves nothing, or at worst another tile that was validated.
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        assert_eq!(unusable(gpu, &loaded(&path)), None);
    }

    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&whole).unwrap();
        edit(&mut value);
        serde_json::to_vec(&value).unwrap()
    };
    for field in ["adapter", "backend", "driver", "version"] {
        rejected(&edited(&|value| value["measured_on"][field] = json!("other")), field);
    }
    rejected(&edited(&|value| value["measured_on"]["subgroup"] = json!(3)), "other forms");
    rejected(&edited(&|value| value["measured_on"]["checked"] = json!(true)), "with checks");
    rejected(&edited(&|value| value["tiles"]["no_such_kernel"] = json!({ "m > 64": {} })), "unknown kernel");
    rejected(&edited(&|value| value["tiles"]["matmul"]["no such class"] = json!({})), "unknown class");
    rejected(&edited(&|value| value["tiles"]["matmul"]["m > 64"]["rows"] = json!(4000)), "no candidate");
    rejected(&edited(&|value| value["more"] = json!(1)), "unknown field");
    // Of another adapter's table not even what would fit is taken, and writing replaces whatever stands there.
    tuner::write(gpu, &path, &table).unwrap();
    assert_eq!(loaded(&path), table);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no half file is left");
}

#[test]
fn a_measurement_proves_then_times_and_can_be_stopped() {
    let gpu = common::gpu();
    let (found, begun) = (Cell::new(0), Cell::new(0));
    let mut table = TileTable::default();
    let stop = || found.get() > 0;
    tune::tune(gpu, &["gru".to_owned()], &stop, &mut |event| match event {
        Event::Begins { done, total, .. } => {
            assert!(done == begun.get() && done < total);
            begun.set(done + 1);
        }
        Event::Refused(why) => panic!("{why}"),
        Event::Found(row) => {
            found.set(found.get() + 1);
            assert!(row.default.ms > 0.0 && row.best.ms <= row.default.ms, "{row:?}");
            assert!(row.best.tile == row.default.tile || row.best.ms < row.default.ms * (1.0 - tune::MARGIN));
            row.enter(&mut table);
            assert_eq!(table.is_empty(), row.best.tile == row.default.tile);
        }
        Event::Judged(judgement) => panic!("{judgement:?} after the stop"),
    })
    .unwrap();
    assert_eq!(found.get(), 1, "it stops when told to");
    assert_eq!(unusable(gpu, &table), None);
    assert!(gpu.tile_table().is_empty(), "nothing is tuned behind anybody's back");
}

/// Of the forms for subgroups, where the adapter has them.
#[test]
fn every_candidate_is_right() {
    prove_all(common::gpu());
}

#[test]
fn every_candidate_that_every_adapter_can_run_is_right() {
    prove_all(common::portable());
}

fn prove_all(gpu: &Gpu) {
    for kernel in TUNABLE {
        for tile in (kernel.candidates)(gpu.tiles()) {
            tune::prove(gpu, kernel, &tile).unwrap_or_else(|error| panic!("{}: {error}", tune::describe(&tile)));
        }
    }
}
