//! What shells and terminals do to `train`: signals, pipes, names of any kind, options that are said again.
#![cfg(unix)]

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::common::training::{Setting, state};
use softalign::train::Data;

/// A run of the test's data, small.
fn train(setting: &Setting, train: &Path, steps: u32, more: &[&str]) -> Command {
    let Data::Files { valid, .. } = &setting.options.data else { unreachable!() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_softalign"));
    let words =
        "train --target-tokens words --max-length 8 --batch 16 --embedding 8 --hidden 16 --validate-every 100000";
    command.args(words.split(' ')).args(["--steps", &steps.to_string()]).args(more);
    command.arg("--valid").arg(valid).arg("--train").arg(train).current_dir(setting.folder.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The same as from a terminal: where the tests run under `nohup` they ignore hangups, and a run would learn that from them.
fn from_terminal(setting: &Setting, run: Command) -> Command {
    if !cfg!(target_os = "linux") {
        return run;
    }
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(run.get_program()).args(run.get_args());
    command.current_dir(setting.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn pairs(setting: &Setting) -> PathBuf {
    let Data::Files { train, .. } = &setting.options.data else { unreachable!() };
    train.clone()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until a run has begun, and a moment longer, for its first steps.
fn begun(out: &Path) {
    let started = Instant::now();
    while !out.join("session.json").exists() {
        assert!(started.elapsed().as_secs() < 300, "nothing has begun");
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
}

#[test]
fn every_request_to_end_saves_and_the_same_command_goes_on() {
    let setting = Setting::new();
    for signal in ["-INT", "-TERM", "-HUP"] {
        let out = setting.out(signal);
        let more = ["--out", out.to_str().unwrap()];
        let run = train(&setting, &pairs(&setting), 1_000_000, &more);
        let child = from_terminal(&setting, run).spawn().unwrap();
        begun(&out);
        // As `timeout` and shells that end do it.
        send(signal, &child);
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal}: {}", said(&output));
        assert!(said(&output).contains("the same command goes on from"), "{signal}: {}", said(&output));
        assert!(out.join("checkpoint.safetensors").exists(), "{signal}");
        let stopped: u32 =
            said(&output).split("stopped after step ").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
        // Up to three more steps, to the bits of a run that nobody stopped.
        let output = train(&setting, &pairs(&setting), stopped + 3, &more).output().unwrap();
        assert!(
            output.status.success() && said(&output).contains("going on after step"),
            "{signal}: {}",
            said(&output)
        );
        let whole = setting.out(&format!("whole {signal}"));
        train(&setting, &pairs(&setting), stopped + 3, &["--out", whole.to_str().unwrap()]).output().unwrap();
        assert!(state(&out) == state(&whole), "{signal}: other bits");
    }
}

/// A terminal that is gone is no reason for a run that was told not to care.
#[test]
fn under_nohup_a_run_outlives_its_terminal() {
    let setting = Setting::new();
    let out = setting.out("run");
    let run = train(&setting, &pairs(&setting), 1_000_000, &["--quiet", "--overwrite", "--out", out.to_str().unwrap()]);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    let mut child = command.current_dir(setting.folder.path()).stderr(Stdio::piped()).spawn().unwrap();
    begun(&out);
    send("-HUP", &child);
    thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the hangup ended it");
    send("-TERM", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    // With it the run would begin anew.
    assert!(said(&output).contains("the same command without --overwrite goes on"), "{}", said(&output));
}

#[test]
fn a_second_command_in_a_folder_is_refused_at_once() {
    let setting = Setting::new();
    let out = setting.out("run");
    let more = ["--quiet", "--out", out.to_str().unwrap()];
    let first = train(&setting, &pairs(&setting), 1_000_000, &more).spawn().unwrap();
    begun(&out);
    for more in [&more[..], &[&more[..], &["--overwrite"]].concat(), &[&more[..], &["--keep-best", "2"]].concat()] {
        let output = train(&setting, &pairs(&setting), 5, more).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(said.contains(&format!("process {} on ", first.id())) && said.contains("error: "), "{said}");
    }
    // However it ends, the folder is free.
    send("-KILL", &first);
    first.wait_with_output().unwrap();
    let output = train(&setting, &pairs(&setting), 2, &more).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_pipe_needs_a_folder_and_is_known_by_what_comes_through_it() {
    let setting = Setting::new();
    let (pipe, text) = (setting.out("63"), fs::read(pairs(&setting)).unwrap());
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for stream in [pipe.as_path(), Path::new("/dev/stdin")] {
        let mut command = train(&setting, stream, 2, &[]);
        command.stdin(fs::File::open(pairs(&setting)).unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("--train") && said(&output).contains("--out"), "{}", said(&output));
    }
    assert!(!setting.out("runs").exists());
    let through = |text: &[u8], steps: u32| {
        let (pipe, text) = (pipe.clone(), text.to_owned());
        let child = train(&setting, &pipe, steps, &["--quiet", "--out", "run"]).spawn().unwrap();
        let writer = thread::spawn(move || fs::write(pipe, text).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    };
    assert!(through(&text, 2).status.success());
    let output = through(&text[..text.len() / 2], 3);
    assert!(!output.status.success() && said(&output).contains("other content"), "{}", said(&output));
    assert!(through(&text, 3).status.success());
}

#[test]
fn files_and_folders_may_have_any_name() {
    let setting = Setting::new();
    for name in ["two words", "tab\tand\nline", "-", "naïve 日本語", "\"quoted\""]
        .map(OsStr::new)
        .into_iter()
        .chain([OsStr::from_bytes(b"\xff\xfe")])
    {
        let file = setting.out("pairs").with_file_name(name).with_extension("tsv");
        fs::copy(pairs(&setting), &file).unwrap();
        for steps in [1, 2] {
            let output = train(&setting, &file, steps, &["--quiet"]).output().unwrap();
            assert!(output.status.success(), "{}: {}", name.display(), said(&output));
            let folder = setting.out("runs").join(name);
            assert!(folder.join("model.safetensors").exists(), "{}", name.display());
            // The line that is printed to be copied is one that a shell understands, by the letter.
            if steps == 1 {
                let line = String::from_utf8(output.stdout).unwrap();
                let shell = if name.to_str().is_some() { "sh" } else { "bash" };
                let shell =
                    Command::new(shell).args(["-c", &line]).current_dir(setting.folder.path()).output().unwrap();
                assert!(shell.status.success(), "{line}: {}", said(&shell));
                // So is the path of a page.
                let page =
                    Command::new(env!("CARGO_BIN_EXE_softalign")).args(["report", "--quiet"]).arg(&folder).output();
                let page = page.unwrap();
                assert!(page.status.success(), "{}: {}", name.display(), said(&page));
                let written = page.stdout.strip_suffix(b"\n").unwrap();
                assert!(Path::new(OsStr::from_bytes(written)).is_file(), "{}", name.display());
            }
        }
    }
    // A folder is no option.
    let more = ["--quiet", "--out=-x \u{ff}"];
    let output = train(&setting, &pairs(&setting), 1, &more).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    let shell = Command::new("sh").args(["-c", &line]).current_dir(setting.folder.path()).output().unwrap();
    assert!(shell.status.success(), "{line}: {}", said(&shell));
}

/// Names and texts of users stand in messages as they are: none of them becomes an option, and none breaks a line.
#[test]
fn messages_quote_what_users_wrote() {
    let setting = Setting::new();
    let said_of = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_softalign"));
        let output = command.args(arguments).current_dir(setting.folder.path()).output().unwrap();
        said(&output)
    };
    let refusal = |file: &str| said_of(&["train", "-q", "--train", file, "--valid", file, "--metric", "bleu"]);
    assert_eq!(refusal("`batch`.tsv"), "error: `batch`.tsv: No such file or directory (os error 2)\n");
    fs::write(setting.out("`seed`\n`hidden`"), "no tab\n").unwrap();
    let wanted = "error: `seed`\\n`hidden`: line 1: there is no tab; write source<TAB>target\n";
    assert_eq!(refusal("`seed`\n`hidden`"), wanted);
    fs::write(setting.out("`out`.tsv"), "a\t`max_length`\n").unwrap();
    let stderr =
        said_of(&["train", "-q", "--train", "`out`.tsv", "--valid", "`out`.tsv", "--max-length", "2", "--out", "long"]);
    assert!(stderr.contains("`out`.tsv: 1 of 1 pairs") && stderr.contains("raise --max-length"), "{stderr}");
    let pairs = pairs(&setting);
    let stderr = said_of(&["score", "-q", "`trace`\n", pairs.to_str().unwrap()]);
    assert!(stderr.contains("error: `trace`\\n: holds no config.json") && stderr.lines().count() == 1, "{stderr}");
    // Settings are called as the options are.
    let stderr = said_of(&["train", "-q", "numbers", "--clip-norm", "0"]);
    assert_eq!(stderr, "error: --clip-norm: 0 is not a positive number\n");
    // A model that has seen neither.
    assert!(train(&setting, &pairs, 1, &["--quiet", "--out", "model"]).status().unwrap().success());
    let stderr = said_of(&["generate", "-q", "model", "1`s"]);
    for part in ["has not seen ```", "has not seen `s`"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    let more = ["--quiet", "--out", "model", "--ema", "0.5"];
    let stderr = said(&train(&setting, &pairs, 1, &more).output().unwrap());
    assert!(stderr.contains("ema is not set there and 0.5 here") && stderr.contains("--overwrite"), "{stderr}");
}

#[test]
fn quiet_says_nothing_but_what_is_wrong() {
    let setting = Setting::new();
    let more = ["--quiet", "--warmup", "400", "--out", "run"];
    let output = train(&setting, &pairs(&setting), 4, &more).output().unwrap();
    assert!(
        output.status.success() && said(&output).lines().all(|line| line.starts_with("warning: ")),
        "{}",
        said(&output)
    );
    assert!(!said(&output).contains("warm-up"), "{}", said(&output));
    let output = train(&setting, &pairs(&setting), 4, &["--warmup", "400", "--out", "loud"]).output().unwrap();
    assert!(said(&output).contains("warm-up of 2 steps instead of 400"), "{}", said(&output));
}
