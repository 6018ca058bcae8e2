//! A run that is killed at any moment goes on from its last checkpoint, and ends with the bits of one that never was.
//! `SOFTALIGN_KILLS` says how often it is killed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::common::{
    self,
    training::{Setting, state},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use softalign::train::Data;

/// Steps for each kill, so that the run lasts until the last of them.
const STEPS_PER_KILL: usize = 40;

fn start(setting: &Setting, out: &Path, kills: usize, precision: &str) -> Child {
    let Data::Files { train, valid } = &setting.options.data else { unreachable!() };
    let steps = (STEPS_PER_KILL * kills).to_string();
    Command::new(env!("CARGO_BIN_EXE_softalign"))
        .args(["train", "--quiet", "--target-tokens", "words", "--batch", "16", "--embedding", "8", "--hidden", "16"])
        .args(["--dropout", "0.2", "--ema", "0.9", "--validate-every", "3", "--steps", &steps])
        .args(["--accumulate", "2", "--keep-best", "2", "--metric", "loss", "--precision", precision])
        .args([Path::new("--train"), train, Path::new("--valid"), valid, Path::new("--out"), out])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_run_that_is_killed_loses_nothing() {
    loses_nothing("f32");
}

#[test]
fn a_run_in_f16_that_is_killed_loses_nothing() {
    if common::gpu().tiles().f16 {
        loses_nothing("f16");
    }
}

fn loses_nothing(precision: &str) {
    let kills =
        std::env::var("SOFTALIGN_KILLS").map_or(5, |kills| kills.parse().expect("SOFTALIGN_KILLS is no number"));
    let setting = Setting::new();
    let (whole, killed) = (setting.out("whole"), setting.out("killed"));
    let began = Instant::now();
    assert!(start(&setting, &whole, kills, precision).wait().unwrap().success());
    // About as long as each of so many lives has, and sometimes hardly time to open the adapter.
    let longest = began.elapsed().as_secs_f64() / kills as f64 + 1.0;

    let mut random = ChaCha8Rng::seed_from_u64(kills as u64);
    for kill in 0..kills {
        let mut child = start(&setting, &killed, kills, precision);
        thread::sleep(Duration::from_secs_f64(random.random_range(0.0..longest)));
        // What it may have said is an error unless it was still at work, or has come to the end of its steps.
        if let Some(status) = child.try_wait().unwrap() {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(status.success() || said.contains("is finished"), "life {kill}: {said}");
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = start(&setting, &killed, kills, precision).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("is finished"), "{said}");
    assert!(state(&killed) == state(&whole), "other bits than those of the run that was left alone");
    let leftovers =
        std::fs::read_dir(&killed).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let files: Vec<_> = leftovers.filter(|name| name.ends_with(".safetensors")).collect();
    assert_eq!(files.len(), 2, "{files:?}");
}
