//! The command, run as users run it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use softalign::text::numbers::number_words;
use tempfile::TempDir;

pub fn softalign(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softalign"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    softalign(arguments).output().unwrap()
}

/// Standard output and standard error.
pub fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn help_names_every_subcommand() {
    let output = run(&["--help"]);
    let (stdout, _) = texts(&output);
    assert!(output.status.success());
    let options = ["--adapter", "--untuned", "--checked", "--trace", "--no-experimental"];
    for name in ["devices", "validate", "tune", "bench", "shaders"].into_iter().chain(options) {
        assert!(stdout.contains(name), "{name} is missing from\n{stdout}");
    }
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
}

#[test]
fn devices_lists_an_adapter() {
    let output = run(&["devices"]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
    for part in ["class", "backend", "storage binding", "workgroup memory", "subgroups", "f16", "cooperative matrices"]
    {
        assert!(stdout.contains(part), "{part} is missing from\n{stdout}");
    }
}

#[test]
fn shaders_are_written_as_plain_wgsl() {
    let folder = tempfile::tempdir().unwrap();
    let output = softalign(&["shaders", "--out"]).arg(folder.path()).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stdout.contains("files written"), "{stdout}\n{stderr}");
    for class in ["discrete", "integrated", "cpu", "cpu-subgroups8"] {
        let matmul = folder.path().join(class).join("matmul");
        let file = fs::read_dir(&matmul).unwrap().next().unwrap().unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("fn main(") && !text.contains("#ifdef"), "{}", file.display());
    }
}

#[test]
fn validate_writes_its_table_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.json");
    let arguments = ["validate", "--only", "matmul", "--dtype", "f32", "--cases", "2", "--json"];
    let output = softalign(&arguments).arg(&path).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("worst error") && stdout.contains("pass"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no colours without a terminal");
    assert!(stderr.starts_with("adapter: "), "{stderr}");

    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(report["adapter"].is_string() && report["driver"].is_string());
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "forward and backward");
    for row in rows {
        let keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["kernel", "direction", "dtype", "cases", "worst_error", "tolerance", "passed"];
        expected.sort_unstable();
        let mut sorted = keys;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(row["dtype"], "f32");
        assert_eq!(row["cases"], 2);
        assert_eq!(row["passed"], true);
    }
}

/// What an adapter cannot run is said to be left out; asked for by name it is an error.
#[test]
fn validate_says_what_it_leaves_out() {
    let portable = |arguments: &[&str]| {
        let output = softalign(arguments).env("SOFTALIGN_PORTABLE", "1").output().unwrap();
        let (stdout, stderr) = texts(&output);
        (output.status.success(), stdout, stderr)
    };
    let (passed, stdout, stderr) = portable(&["validate", "--only", "dropout", "--cases", "1"]);
    assert!(passed && stdout.contains("2 checks of f16 were left out"), "{stdout}\n{stderr}");
    let (passed, stdout, stderr) = portable(&["validate", "--only", "dropout", "--dtype", "f16"]);
    assert!(!passed && stderr.contains("--dtype") && stderr.contains("shader-f16"), "{stdout}\n{stderr}");
    let without = ["validate", "--only", "matmul_cooperative", "--tiles", "discrete", "--no-experimental"];
    let (passed, stdout, stderr) = portable(&without);
    assert!(!passed && stderr.contains("no cooperative matrices"), "{stdout}\n{stderr}");
}

#[test]
fn bench_writes_its_table_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figures.json");
    let output = softalign(&["bench", "--only", "dropout/*/fwd", "--only", "beam_search/B64_K1", "--json"])
        .arg(&path)
        .output()
        .unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for part in ["fused multiply-add", "of ceiling", "dropout/", "All 2 outputs agree"] {
        assert!(stdout.contains(part), "{part} is missing from\n{stdout}");
    }
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(report["adapter"].is_string());
    let ceilings = &report["ceilings"];
    let names = ["fma_gflops", "storage_gbps", "copy_gbps", "reciprocal_gops", "exp_gops", "tanh_gops", "submit_us"];
    for name in names {
        assert!(ceilings[name].as_f64().is_some_and(|rate| rate > 0.0), "{name}: {ceilings}");
    }
    assert!(ceilings["dispatch_us"].is_number());
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        for name in ["ms", "spread_ms", "gflops", "gbps", "ceiling_percent", "dispatches", "submits", "bytes", "error"]
        {
            assert!(row[name].is_number(), "{name}: {row}");
        }
        assert!(row["failure"].is_null() && row["workload"].is_string(), "{row}");
    }

    // Against itself, drawn, and against a file that is damaged.
    let plot = folder.path().join("roofline.svg");
    let arguments = ["bench", "--only", "dropout/*", "--compare"];
    let output = softalign(&arguments).arg(&path).arg("--plot").arg(&plot).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for part in ["speed-up", " x ", "new", "1 workloads, on average"] {
        assert!(stdout.contains(part), "{part} is missing from\n{stdout}");
    }
    assert!(fs::read_to_string(&plot).unwrap().contains("dropout/"));
    fs::write(&path, &fs::read(&path).unwrap()[..100]).unwrap();
    let output = softalign(&arguments).arg(&path).output().unwrap();
    refused(&output, 1, &["figures.json", "not a report of `softalign bench --json`"]);

    let output = run(&["bench", "--only", "no-such-workload"]);
    refused(&output, 1, &["no-such-workload", "W1/1024x1024x1024", "cross_entropy"]);
}

#[test]
fn quiet_prints_the_results_alone() {
    let output = run(&["validate", "-q", "--only", "matmul", "--cases", "1"]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stdout.contains("matmul"), "{stdout}");
    assert_eq!(stderr, "");
}

/// `arguments` with a folder of its own for caches, except that of the driver's compiler.
fn with_cache(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = softalign(arguments);
    let of_driver =
        std::env::var("XDG_CACHE_HOME").unwrap_or(format!("{}/.cache", std::env::var("HOME").unwrap_or_default()));
    command.env("XDG_CACHE_HOME", folder).env("HOME", folder);
    if std::env::var_os("MESA_SHADER_CACHE_DIR").is_none() {
        command.env("MESA_SHADER_CACHE_DIR", of_driver);
    }
    command
}

#[test]
fn tiles_are_measured_kept_and_ignored_where_they_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let output = with_cache(folder.path(), &["tune", "--only", "gru"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for part in ["gru", "1 row", "rows <= 8", "rows > 16", "default", "gain", "written to"] {
        assert!(stdout.contains(part), "{part} is missing from\n{stdout}");
    }
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    let path = PathBuf::from(stdout.lines().last().unwrap().strip_prefix("written to ").unwrap());
    assert!(path.starts_with(folder.path()), "{}", path.display());
    let text = fs::read_to_string(&path).unwrap();

    let validate = ["validate", "-q", "--only", "copy", "--cases", "1"];
    let said = |more: &[&str]| {
        let output = with_cache(folder.path(), &[&validate, more].concat()).output().unwrap();
        assert!(output.status.success());
        texts(&output).1
    };
    assert_eq!(said(&[]), "");
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let stderr = said(&[]);
    assert!(stderr.lines().count() == 1 && stderr.starts_with("warning: "), "{stderr}");
    assert!(stderr.contains(path.to_str().unwrap()) && stderr.contains("ignored"), "{stderr}");
    assert_eq!(said(&["--untuned"]), "");
}

#[cfg(unix)]
#[test]
fn an_interrupted_tuning_keeps_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let child = with_cache(folder.path(), &["tune", "--only", "gru"]).stdout(Stdio::piped()).spawn().unwrap();
    let files = || fs::read_dir(folder.path().join("softalign")).map_or(Vec::new(), |files| files.flatten().collect());
    let started = std::time::Instant::now();
    while !files().iter().any(|file: &fs::DirEntry| file.path().extension().is_some_and(|kind| kind == "json")) {
        assert!(started.elapsed().as_secs() < 300, "nothing was found");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("written to") && !stdout.contains("rows > 16"), "{stdout}");
    assert_eq!(files().len(), 1, "no half file");
    let validate = ["validate", "-q", "--only", "copy", "--cases", "1"];
    let output = with_cache(folder.path(), &validate).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", texts(&output).1);
}

#[test]
fn an_unknown_kernel_is_answered_with_the_known_ones() {
    let output = run(&["validate", "--only", "no-such-kernel"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("no-such-kernel") && stderr.contains("matmul"), "{stderr}");
}

#[test]
fn json_that_cannot_be_written_is_an_error() {
    let output = run(&["validate", "--only", "matmul", "--cases", "1", "--json", "no/such/folder/rows.json"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("error: no/such/folder/rows.json: "), "{stderr}");
}

#[test]
fn without_an_adapter_every_command_says_where_it_looked() {
    for arguments in [&["devices"][..], &["validate", "--cases", "1"]] {
        let output = softalign(arguments)
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("VK_ICD_FILENAMES", "/nonexistent")
            .env("WGPU_BACKEND", "vulkan")
            .output()
            .unwrap();
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stdout}\n{stderr}");
        assert!(stderr.contains("Vulkan: no adapter") && stderr.contains("mesa-vulkan-drivers"), "{stderr}");
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn an_adapter_that_is_not_there_is_named() {
    let output = run(&["validate", "--adapter", "no such adapter"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("No adapter matches `no such adapter`") && stderr.contains("Vulkan: "), "{stderr}");
}

/// `head` closes its end of the pipe early; that must not look like a crash.
#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = softalign(&["devices"]).stdout(writer).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
}

/// Numbers below 1,000 in files, and a small model of them that a few steps have trained.
pub struct Work {
    folder: TempDir,
}

impl Work {
    pub fn new() -> Self {
        let work = Self { folder: tempfile::tempdir().unwrap() };
        let lines = |numbers: &mut dyn Iterator<Item = u32>| -> String {
            numbers.map(|n| format!("{n}\t{}\n", number_words(n))).collect()
        };
        fs::write(work.path("train.tsv"), lines(&mut (0..60).map(|i| i * 37 % 1000))).unwrap();
        fs::write(work.path("valid.tsv"), lines(&mut (0..6).map(|i| i * 191 % 1000))).unwrap();
        work
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `train` in the folder, with the options of every run of these tests and some more.
    pub fn train(&self, more: &[&str]) -> Command {
        let mut command = softalign(&["train", "--train", "train.tsv", "--valid", "valid.tsv", "--out", "model"]);
        command.args(["--target-tokens", "words", "--max-length", "8", "--batch", "16"]);
        command.args(["--embedding", "8", "--hidden", "16", "--dropout", "0.1"]).args(more);
        command.current_dir(self.folder.path());
        command
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = softalign(arguments);
        command.current_dir(self.folder.path());
        command
    }

    pub fn trained(&self) {
        let output = self.train(&["--steps", "5"]).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        // As it was called, so that it can be copied.
        assert_eq!(stdout, format!("{} generate model TEXT\n", env!("CARGO_BIN_EXE_softalign")));
        assert!(stderr.starts_with("adapter: "), "{stderr}");
        for part in ["60 pairs to learn from, 6 to check with", "exact match", "finished after 5 steps"] {
            assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
        }
        assert!(!stderr.contains('\u{1b}'), "a bar without a terminal: {stderr}");
    }
}

/// Gives a command its standard input.
pub fn fed(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Where the command has refused already, nobody reads.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// The command has failed with `code` and one error message that has every part, and without a panic.
pub fn refused(output: &Output, code: i32, parts: &[&str]) {
    let (stdout, stderr) = texts(output);
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
}

#[test]
fn a_model_is_trained_used_scored_and_drawn() {
    let work = Work::new();
    work.trained();

    // An answer for each argument, and for each line of standard input: the same ones.
    let output = work.command(&["generate", "-q", "model", "12", "345", "", "7"]).output().unwrap();
    let (answers, stderr) = texts(&output);
    assert!(output.status.success() && !stderr.contains("error"), "{stderr}");
    assert_eq!(answers.lines().count(), 4, "{answers}");
    assert_eq!(answers.lines().nth(2), Some(""));
    for input in ["12\n345\n\n7\n", "12\r\n345\r\n\r\n7"] {
        let output = fed(work.command(&["generate", "-q", "model"]), input.as_bytes());
        assert_eq!(texts(&output).0, answers, "{input:?}");
    }
    // More lines than are decoded together, and none.
    let many: String = (0..150).map(|n| format!("{n}\n")).collect();
    let output = fed(work.command(&["generate", "-q", "model"]), many.as_bytes());
    assert_eq!(texts(&output).0.lines().count(), 150);
    assert_eq!(texts(&output).0.lines().nth(12), answers.lines().next());
    assert_eq!(texts(&fed(work.command(&["generate", "-q", "model"]), b"")).0, "");

    let output = work.command(&["generate", "-q", "model", "12", "--n-best", "3", "--beam", "4"]).output().unwrap();
    let (stdout, _) = texts(&output);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split('\t').collect()).collect();
    let scores: Vec<f32> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{stdout}");
    assert!(rows.iter().zip(1..).all(|(row, rank)| row.len() == 4 && row[..2] == ["1", &rank.to_string()]), "{stdout}");

    let output = work.command(&["evaluate", "model", "valid.tsv", "--beam", "2", "--json", "scores.json"]).output();
    let (stdout, stderr) = texts(&output.unwrap());
    for part in
        ["exact match", "sentence error rate", "word error rate", "BLEU", "chrF2", "perplexity", "95 %", "|tok:none|"]
    {
        assert!(stdout.contains(part), "{part} is missing from\n{stdout}\n{stderr}");
    }
    let scores: serde_json::Value = serde_json::from_slice(&fs::read(work.path("scores.json")).unwrap()).unwrap();
    let mut keys: Vec<_> = scores.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let texts_of = ["bleu", "bleu_signature", "chrf", "chrf_signature", "exact_match"];
    let wanted =
        ["bits_per_token", "count", "intervals", "per", "perplexity", "references", "sentence_error_rate", "wer"];
    let mut wanted = [&texts_of[..], &wanted[..]].concat();
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!(scores["count"], 6);
    let (interval, per) = (&scores["intervals"]["per"], scores["per"].as_f64().unwrap());
    assert_eq!(scores["wer"], scores["per"], "its tokens are words");
    assert!(interval["low"].as_f64().unwrap() <= per && per <= interval["high"].as_f64().unwrap());

    let output = work.command(&["score", "model", "valid.tsv", "--json", "likely.json"]).output();
    let (stdout, stderr) = texts(&output.unwrap());
    let lines: Vec<f64> = stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!(lines.len() == 6 && lines.iter().all(|line| *line < 0.0), "{stdout}");
    assert!(stderr.contains("6 pairs, ") && stderr.contains(" bits per token"), "{stderr}");
    let likely: serde_json::Value = serde_json::from_slice(&fs::read(work.path("likely.json")).unwrap()).unwrap();
    assert_eq!(likely["pairs"], 6);
    assert!((likely["log_probability"].as_f64().unwrap() - lines.iter().sum::<f64>()).abs() < 1e-3);
    // What `evaluate` says of the same references.
    let same = |key: &str| (likely[key].as_f64().unwrap() - scores[key].as_f64().unwrap()).abs() < 1e-6;
    assert!(same("perplexity") && same("bits_per_token"));

    let output = work.command(&["generate", "model", "12", "--attention", "12.png"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let picture = png::Decoder::new(std::io::BufReader::new(fs::File::open(work.path("12.png")).unwrap()));
    assert!(picture.read_info().unwrap().info().width > 50);
    let output = work.command(&["generate", "model", "12", "7", "--attention", "12.png"]).output().unwrap();
    refused(&output, 1, &["--attention", "one source"]);

    // The folder holds this run, and says so to others; more steps go on.
    refused(&work.train(&["--steps", "5"]).output().unwrap(), 1, &["finished, after 5 steps"]);
    let other = work.train(&["--steps", "5", "--seed", "2"]).output().unwrap();
    refused(&other, 1, &["model", "seed is 1 there and 2 here", "another folder", "--overwrite"]);
    let output = work.train(&["--steps", "6"]).output().unwrap();
    assert!(output.status.success() && texts(&output).1.contains("going on after step 5"), "{}", texts(&output).1);

    // A damaged folder.
    let weights = fs::read(work.path("model/model.safetensors")).unwrap();
    fs::write(work.path("model/model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    for arguments in [&["generate", "model", "12"], &["evaluate", "model", "valid.tsv"]] {
        refused(&work.command(arguments).output().unwrap(), 1, &["model.safetensors", "not a whole safetensors file"]);
    }
}

#[test]
fn a_waiting_reader_gets_each_answer_at_once() {
    use std::io::{BufRead as _, BufReader};
    let work = Work::new();
    work.trained();
    let mut command = work.command(&["generate", "-q", "model"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut answers = BufReader::new(stdout).lines();
    for line in ["12\n", "\n", "345\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let answer = answers.next().unwrap().unwrap();
        assert_eq!(answer.is_empty(), line == "\n", "{answer}");
    }
    drop(stdin);
    assert!(answers.next().is_none() && child.wait().unwrap().success());
}

#[test]
fn data_that_cannot_be_used_is_named() {
    let work = Work::new();
    let cases: [(&[u8], &[&str]); 6] = [
        (b"1\tone\n2 two\n", &["bad.tsv", "line 2", "no tab"]),
        (b"", &["bad.tsv", "empty"]),
        (b"1\tone\n\xff\ttwo\n", &["bad.tsv", "line 2", "UTF-8"]),
        (b"1\tone\n\ttwo\n", &["bad.tsv", "line 2", "source"]),
        (b"1\tone\textra\n", &["bad.tsv", "line 1", "tabs"]),
        (b"123456789\ttwo\n", &["bad.tsv", "1 of 1 pairs", "line 1", "--max-length"]),
    ];
    for (text, parts) in cases {
        fs::write(work.path("bad.tsv"), text).unwrap();
        for side in ["--train", "--valid"] {
            let (train, valid) = if side == "--train" { ("bad.tsv", "valid.tsv") } else { ("train.tsv", "bad.tsv") };
            let arguments = ["train", "--train", train, "--valid", valid, "--max-length", "8", "--steps", "1"];
            let output = work.command(&arguments).args(["--target-tokens", "words", "--out", "none"]).output().unwrap();
            refused(&output, 1, parts);
        }
    }
    assert!(!Path::new(&work.path("none")).exists());
    refused(&work.command(&["train", "colours"]).output().unwrap(), 2, &["colours", "numbers", "dates"]);
    refused(&work.command(&["train"]).output().unwrap(), 2, &["TASK"]);
    refused(&work.command(&["train", "--train", "train.tsv"]).output().unwrap(), 2, &["--valid"]);
    refused(&work.train(&["--minutes", "nan"]).output().unwrap(), 1, &["--minutes"]);
    refused(&work.command(&["train", "numbers", "--hidden", "0"]).output().unwrap(), 1, &["--hidden"]);
    refused(&work.command(&["generate", "nowhere", "12"]).output().unwrap(), 1, &["nowhere", "softalign train"]);
    refused(&work.command(&["evaluate", "nowhere", "valid.tsv"]).output().unwrap(), 1, &["nowhere"]);
}

#[test]
fn a_preset_gives_way_to_what_is_given() {
    let work = Work::new();
    let more = ["--preset", "g2p", "--source-tokens", "bpe:60", "--epochs", "9", "--steps", "2", "--hidden", "16"];
    let mut command = softalign(&["train", "--train", "train.tsv", "--valid", "valid.tsv", "--out", "model"]);
    let output = command.args(more).current_dir(work.folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let options: serde_json::Value = serde_json::from_slice(&fs::read(work.path("model/run.json")).unwrap()).unwrap();
    let wanted =
        serde_json::json!({"source_unit": "bpe:60", "target_unit": "words", "hidden": 16, "label_smoothing": 0.1});
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&options[name], value, "{name}");
    }
    assert_eq!(options["schedule"]["decay"], serde_json::json!({"linear": {"epochs": 9}}));
    // Subwords come back whole, and a folder that has them is gone on with.
    let output = work.command(&["generate", "-q", "model", "12"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let longer = more.map(|argument| if argument == "2" { "3" } else { argument });
    let mut command = softalign(&["train", "--train", "train.tsv", "--valid", "valid.tsv", "--out", "model"]);
    let output = command.args(longer).current_dir(work.folder.path()).output().unwrap();
    assert!(texts(&output).1.contains("going on after step 2"), "{}", texts(&output).1);
    refused(&run(&["train", "numbers", "--preset", "g2p"]), 2, &["--preset"]);
    refused(
        &run(&["train", "--train", "a", "--valid", "b", "--preset", "x"]),
        2,
        &["known presets: g2p, translate-small"],
    );
}

/// Ctrl-C: the step is finished, the run saved, the place said, and the same command goes on.
#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_goes_on() {
    use std::io::{BufRead as _, BufReader};
    let work = Work::new();
    let mut done = 0;
    for session in 1..=2 {
        // Long enough that only the signal ends it.
        let mut child = work.train(&["--steps", "1000000"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let started = lines.find(|line| line.contains("pairs to learn from")).unwrap();
        assert_eq!(started.contains("going on after step"), session == 2, "{started}");
        if session == 2 {
            assert!(started.ends_with(&format!("going on after step {done}")), "{started}");
        }
        // A validation has been: the run is well under way.
        lines.find(|line| line.contains("exact match")).unwrap();
        let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(signal.success());
        let said = lines.find(|line| line.contains("stopped after step")).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(said.contains("the same command goes on from model"), "{said}");
        let step = said.trim_start_matches("stopped after step ").split(';').next().unwrap().parse().unwrap();
        assert!(step > done, "{said}");
        done = step;
    }
    // It can be used as it is.
    assert!(work.command(&["generate", "model", "12"]).output().unwrap().status.success());
}

/// Each option of a search or a draw is followed, and what excludes what is said.
#[test]
fn generation_follows_its_options() {
    let work = Work::new();
    work.trained();
    let generate = |arguments: &[&str]| {
        let output = work.command(&[&["generate", "-q", "model"], arguments].concat()).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        stdout
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let plain = generate(&["12", "345"]);
    assert_eq!(generate(&["12", "345", "--ensemble", "model", "model"]), plain);
    assert_eq!(generate(&["12", "345", "--max-length", "8", "--min-length", "0", "--length-penalty", "1"]), plain);
    // A model of five steps repeats itself, unless it may not.
    let text = words(&generate(&["12", "--min-length", "6", "--no-repeat-ngram", "1", "--beam", "3"]));
    assert!((6..=8).contains(&text.len()), "{text:?}");
    assert_eq!(text.iter().collect::<std::collections::HashSet<_>>().len(), text.len(), "{text:?}");
    assert!(words(&generate(&["12", "--max-length", "2", "--min-length", "1"])).len() <= 2);
    // A prefix for all, and one of a line's own.
    assert!(generate(&["12", "--prefix", "seven hundred"]).starts_with("seven hundred"));
    let with_prefixes = ["generate", "-q", "model", "--prefix", "six", "--prefix-column"];
    let output = fed(work.command(&with_prefixes), b"12\tforty\n7\n");
    let (stdout, stderr) = texts(&output);
    let starts: Vec<_> = stdout.lines().map(|line| words(line)[0].clone()).collect();
    assert_eq!(starts, ["forty", "six"], "{stderr}");
    generate(&["12", "--replace-unk", "--beam", "2", "--coverage-penalty", "0.2"]);

    // Samples: as many as asked for, the same of the same seed, wherever they stand among the lines.
    let sample = ["--sample", "--temperature", "2", "--n-best", "3"];
    let drawn = generate(&[&["12", "345"], &sample[..]].concat());
    assert_eq!(drawn.lines().count(), 6);
    assert_eq!(generate(&[&["12", "345"], &sample[..]].concat()), drawn);
    assert_ne!(generate(&[&["12", "345"], &sample[..], &["--seed", "2"]].concat()), drawn);
    let output = fed(work.command(&[&["generate", "-q", "model"], &sample[..]].concat()), b"12\n345\n");
    assert_eq!(texts(&output).0, drawn);
    let likeliest = generate(&["12", "345", "--sample", "--top-k", "1", "--top-p", "0.5"]);
    assert_eq!(likeliest, plain);

    let output = work.command(&["evaluate", "model", "valid.tsv", "--beam", "2", "--ensemble", "model"]).output();
    assert!(texts(&output.unwrap()).0.contains("exact match"));
    let output = work.command(&["evaluate", "model", "valid.tsv", "--replace-unk", "--max-length", "5"]).output();
    assert!(texts(&output.unwrap()).0.contains("exact match"));

    for (code, arguments, parts) in [
        (2, &["12", "--sample", "--beam", "2"][..], ["--sample", "cannot be used with", "--beam"]),
        (2, &["12", "--top-k", "2"], ["required", "--sample", ""]),
        (2, &["12", "--sample", "--temperature", "0"], ["--temperature", "greedy is the default", ""]),
        (2, &["12", "--sample", "--top-p", "1.5"], ["--top-p", "up to 1", ""]),
        (2, &["12", "--length-penalty", "-1"], ["--length-penalty", "", ""]),
        (1, &["12", "--min-length", "8"], ["--min-length", "8", "--max-length"]),
        (1, &["12", "--ensemble", "nowhere"], ["nowhere", "softalign train", ""]),
        (1, &["12", "--prefix", "one one one one one one one one"], ["prefix", "8 tokens", "at most 8"]),
    ] {
        refused(&work.command(&[&["generate", "-q", "model"], arguments].concat()).output().unwrap(), code, &parts);
    }
}
