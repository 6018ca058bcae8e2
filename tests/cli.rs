//! The command, run as users run it.

use std::process::{Command, Output};

fn softalign(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softalign"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    softalign(arguments).output().unwrap()
}

/// Standard output and standard error.
fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn help_names_every_subcommand() {
    let output = run(&["--help"]);
    let (stdout, _) = texts(&output);
    assert!(output.status.success());
    for name in ["devices", "validate", "--adapter", "--checked", "--trace"] {
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
    for part in ["class", "backend", "storage binding", "workgroup memory", "subgroups", "f16"] {
        assert!(stdout.contains(part), "{part} is missing from\n{stdout}");
    }
}

#[test]
fn validate_writes_its_table_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.json");
    let output = softalign(&["validate", "--only", "matmul", "--cases", "2", "--json"]).arg(&path).output().unwrap();
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
        assert_eq!(row["cases"], 2);
        assert_eq!(row["passed"], true);
    }
}

#[test]
fn quiet_prints_the_results_alone() {
    let output = run(&["validate", "-q", "--only", "matmul", "--cases", "1"]);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stdout.contains("matmul"), "{stdout}");
    assert_eq!(stderr, "");
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
