//! A disk that fills, or a file that may not grow: the error names the file, what was whole there stays so, and the run goes on
//! to the same bits once there is room.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::common::{
    self,
    training::{Setting, bits, state},
};
use softalign::{model::Model, train::Data};

const STEPS: u32 = 9;

/// The arguments of a run of so many steps.
fn arguments(setting: &Setting, out: &Path, steps: u32) -> Vec<PathBuf> {
    let Data::Files { train, valid } = &setting.options.data else { unreachable!() };
    let words = "train --quiet --target-tokens words --batch 16 --embedding 8 --hidden 16 --dropout 0.2 --ema 0.9 --validate-every 2";
    let mut all: Vec<PathBuf> = words.split(' ').map(PathBuf::from).collect();
    all.extend(["--steps", &steps.to_string(), "--train"].map(PathBuf::from));
    all.extend([train.clone(), "--valid".into(), valid.clone(), "--out".into(), out.into()]);
    all
}

fn start(setting: &Setting, out: &Path, steps: u32) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softalign")).args(arguments(setting, out, steps)).output().unwrap()
}

fn finished(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a run said that could not write; the folder is as good as before.
fn refused(output: &Output, out: &Path) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["error: ", &out.display().to_string(), "make room and start again"] {
        assert!(said.contains(part), "{part} is missing from: {said}");
    }
    Model::load(common::gpu(), out).unwrap_or_else(|error| panic!("{error}"));
    let names = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let halves: Vec<_> = names.filter(|name| name.starts_with(".writing-")).collect();
    assert!(halves.is_empty(), "{halves:?}");
    said
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn a_file_that_may_not_grow_is_named_and_the_run_goes_on_later() {
    let setting = Setting::new();
    let (whole, out) = (setting.out("whole"), setting.out("limited"));
    finished(&start(&setting, &whole, STEPS));
    finished(&start(&setting, &out, 4));
    let checkpoint = out.join("checkpoint.safetensors");
    let (before, model) = (bits(&checkpoint), size(&out.join("model.safetensors")));
    assert!(size(&checkpoint) > 2 * model);
    for (limit, names) in [
        (model * 3 / 4, &["model.safetensors", "checkpoint.safetensors"][..]),
        (model * 2, &["checkpoint.safetensors"]),
    ] {
        // A write past the limit is an error where the signal is ignored, as on a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", limit / 512);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_softalign")]);
        let said = refused(&command.args(arguments(&setting, &out, STEPS)).output().unwrap(), &out);
        assert!(names.iter().any(|name| said.contains(name)) && said.contains("File too large"), "{said}");
        assert!(bits(&checkpoint) == before, "the last checkpoint has changed");
    }
    finished(&start(&setting, &out, STEPS));
    assert!(state(&out) == state(&whole), "other bits than those of the run that had room");
}

/// A file system of its own.
struct Disk(PathBuf);

impl Disk {
    /// Nothing where this process may not have one.
    fn new(folder: PathBuf) -> Option<Self> {
        fs::create_dir(&folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    /// Fills it up, but for `room` bytes.
    fn fill(&self, room: u64) {
        let path = self.0.join("ballast");
        let mut ballast = File::create(&path).unwrap();
        while ballast.write_all(&[0; 512]).is_ok() {}
        let full = size(&path);
        ballast.set_len(full - room).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_costs_no_more_than_the_way_from_the_last_checkpoint() {
    let setting = Setting::new();
    let Some(disk) = Disk::new(setting.out("disk")) else {
        eprintln!("not tested: no file system may be mounted here");
        return;
    };
    let (whole, out) = (setting.out("whole"), disk.0.join("run"));
    finished(&start(&setting, &whole, STEPS));
    finished(&start(&setting, &out, 4));
    let checkpoint = out.join("checkpoint.safetensors");
    let (before, model) = (bits(&checkpoint), size(&out.join("model.safetensors")));
    for room in [0, model / 2, model + 8192, model * 3 / 2 + 16_384] {
        disk.fill(room);
        let said = refused(&start(&setting, &out, STEPS), &out);
        assert!(said.contains("No space left on device"), "{said}");
        assert!(bits(&checkpoint) == before, "the last checkpoint has changed");
    }
    fs::remove_file(disk.0.join("ballast")).unwrap();
    finished(&start(&setting, &out, STEPS));
    assert!(state(&out) == state(&whole), "other bits than those of the run that had room");
}
