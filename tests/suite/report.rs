//! The page about a run, and the grid in the terminal, as users get them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::{Duration, Instant},
};

use crate::common;
use serde_json::Value;
use softalign::{
    text::{TokenUnit, numbers::number_words},
    train::{Budget, Data, Destination, TrainOptions, train},
};
use tempfile::TempDir;

/// A source that would end the page's data, if it could.
const HOSTILE: &str = "</script><b>1";

/// A run of a tiny model, which all tests of this file share.
fn trained() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let line = |n: u32| format!("{n}\t{}\n", number_words(n));
        let hostile = format!("{HOSTILE}\t<img src=x onerror=alert(1)>\n");
        let (train_file, valid) = (folder.path().join("train.tsv"), folder.path().join("valid.tsv"));
        fs::write(&train_file, (0..60).map(|i| line(i * 37 % 1000)).collect::<String>() + &hostile).unwrap();
        fs::write(&valid, (0..20).map(|i| line(i * 47 % 1000)).collect::<String>() + &hostile + "47\tsept\n").unwrap();
        let options = TrainOptions {
            target_unit: TokenUnit::Words,
            max_length: 16,
            batch: 16,
            embedding: 16,
            hidden: 32,
            validate_every: Some(20),
            ..TrainOptions::new(Data::Files { train: train_file, valid })
        };
        let budget = Budget { steps: Some(60), ..Budget::default() };
        train(
            common::gpu(),
            &options,
            budget,
            Destination { folder: &folder.path().join("run"), overwrite: false },
            &|| false,
            &mut |_| {},
        )
        .unwrap();
        folder
    })
    .path()
}

/// A copy of the run, for tests that change it.
fn copy() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    for entry in fs::read_dir(trained().join("run")).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), run.join(entry.file_name())).unwrap();
    }
    (folder, run)
}

fn softalign(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_softalign"));
    command.args(arguments).current_dir(folder);
    command
}

fn said(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What lies in a page.
fn data(page: &str) -> Value {
    let data = page.split_once("type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_page_tells_what_the_model_does() {
    let out = tempfile::tempdir().unwrap();
    let page = out.path().join("page.html");
    let output = softalign(&["report", "run", "--beam", "2", "--out"], trained()).arg(&page).output().unwrap();
    let (stdout, stderr) = said(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout.trim_end(), page.to_str().unwrap());
    let page = fs::read_to_string(page).unwrap();
    assert!(!page.contains("<img") && !page.contains(HOSTILE) && page.matches("<b>").count() == 0);
    let data = data(&page);
    assert_eq!(data["name"], "run");
    assert_eq!((data["progress"]["step"].as_u64(), data["progress"]["total"].as_u64()), (Some(60), Some(60)));
    assert!(data["reload"].is_null() && data["session"]["parameters"].as_u64() > Some(1000));
    assert!(data["panels"].as_array().unwrap().len() >= 6);
    let run = data["run"].as_array().unwrap();
    assert!(run.iter().any(|setting| setting[0] == "hidden" && setting[1] == "32"), "{run:?}");

    let examined = &data["examined"];
    // 47 has two right answers.
    assert_eq!((examined["sources"].as_u64(), examined["beam"].as_u64()), (Some(21), Some(2)));
    let errors = &examined["errors"];
    let edits: u64 = errors["totals"].as_array().unwrap().iter().map(|total| total.as_u64().unwrap()).sum();
    let rate = 100.0 * edits as f64 / errors["wanted"].as_f64().unwrap();
    assert!((rate - examined["scores"]["per"].as_f64().unwrap()).abs() < 1e-9, "{errors}");
    let scores = &examined["scores"];
    let per = ["low", "high"].map(|end| scores["intervals"]["per"][end].as_f64().unwrap());
    assert!((per[0]..=per[1]).contains(&scores["per"].as_f64().unwrap()), "{scores}");
    assert!(scores["perplexity"].as_f64().unwrap() > 1.0);
    let lengths = errors["by_length"].as_array().unwrap();
    assert_eq!(lengths.iter().map(|class| class["sources"].as_u64().unwrap()).sum::<u64>(), 21);

    let examples = examined["examples"].as_array().unwrap();
    assert!(examples.iter().any(|example| example["source_text"] == HOSTILE), "{examples:?}");
    for example in examples {
        let (source, target) = (example["source"].as_array().unwrap(), example["target"].as_array().unwrap());
        assert!(source.last().unwrap() == "<eos>" && target.last().unwrap() == "<eos>");
        let rows = example["weights"].as_array().unwrap();
        assert_eq!(rows.len(), target.len());
        for row in rows {
            let row: Vec<f64> = row.as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap()).collect();
            assert_eq!(row.len(), source.len());
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 5e-3, "{row:?}");
        }
        assert!(example["wanted"].is_null() || example["wanted"] != example["text"], "{example}");
    }
}

#[test]
fn a_folder_without_a_model_needs_no_adapter_and_one_without_a_run_is_refused() {
    let (folder, run) = copy();
    for name in ["model.safetensors", "metrics.jsonl", "session.json"] {
        fs::remove_file(run.join(name)).unwrap();
    }
    let nowhere = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].map(|name| (name, "/nonexistent"));
    let output = softalign(&["report", "run"], folder.path()).envs(nowhere).output().unwrap();
    assert!(output.status.success(), "{}", said(&output).1);
    let found = data(&fs::read_to_string(run.join("report.html")).unwrap());
    assert!(found["examined"].is_null() && found["progress"].is_null() && found["panels"] == Value::Array(vec![]));

    for (arguments, part) in
        [(&["report", "."][..], "neither a run nor a model"), (&["report", "nowhere"], "neither a run nor a model")]
    {
        let output = softalign(arguments, folder.path()).output().unwrap();
        let stderr = said(&output).1;
        assert!(output.status.code() == Some(1) && stderr.contains(part), "{stderr}");
    }
    // A model whose data has moved: the page says all but what takes data, and a file that is named must be there.
    let (folder, run) = copy();
    let text = fs::read_to_string(run.join("run.json")).unwrap();
    fs::write(run.join("run.json"), text.replace("valid.tsv", "moved.tsv")).unwrap();
    let output = softalign(&["report", "run"], folder.path()).output().unwrap();
    assert!(output.status.success() && said(&output).1.contains("moved.tsv"), "{}", said(&output).1);
    let output = softalign(&["report", "run", "moved.tsv"], folder.path()).output().unwrap();
    assert!(output.status.code() == Some(1) && said(&output).1.contains("moved.tsv"), "{}", said(&output).1);
}

/// The page follows the files of a run that goes on, and stands still once nobody follows.
#[cfg(unix)]
#[test]
fn a_watched_run_keeps_its_page_fresh() {
    use std::io::Write as _;
    let (folder, run) = copy();
    let mut child = softalign(&["report", "run", "--watch"], folder.path()).spawn().unwrap();
    let page = run.join("report.html");
    let wait_for = |wanted: &dyn Fn(&Value) -> bool| {
        let started = Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(&page)
                && wanted(&data(&text))
            {
                return;
            }
            assert!(started.elapsed().as_secs() < 120, "the page did not follow");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for(&|data| data["progress"]["step"] == 60 && data["reload"].is_u64() && data["examined"].is_object());
    let mut metrics = fs::OpenOptions::new().append(true).open(run.join("metrics.jsonl")).unwrap();
    metrics.write_all(b"{\"step\":70,\"epoch\":9,\"loss\":0.5,\"seconds\":99.0}\n{\"step\":80,\"lo").unwrap();
    wait_for(&|data| data["progress"]["step"] == 70 && data["reload"].is_u64());
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    wait_for(&|data| data["progress"]["step"] == 70 && data["reload"].is_null() && data["examined"].is_object());
}

#[test]
fn weights_stand_in_the_terminal_where_no_file_is_named() {
    for arguments in [
        &["generate", "-q", "run", "12", "7", "--attention"][..],
        &["generate", "-q", "run", "12", "7", "--attention", "-"],
    ] {
        let output = softalign(arguments, trained()).output().unwrap();
        let (stdout, stderr) = said(&output);
        assert!(output.status.success(), "{stderr}");
        assert!(!stdout.contains('\u{1b}'), "colours without a terminal: {stdout}");
        assert_eq!(stdout.matches("from ░ 5 %").count(), 2, "{stdout}");
        assert!(stdout.lines().any(|line| line.trim() == "1 2 <eos>"), "{stdout}");
        assert!(stdout.lines().any(|line| line.trim_start().starts_with("<eos> ")), "{stdout}");
        assert!(stdout.contains('▒') || stdout.contains('░'), "{stdout}");
    }
}
