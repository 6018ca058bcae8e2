//! What `generate`, `score` and `evaluate` make of files and pipes, and the forms of what they write.

use std::fs;

use serde_json::{Value, json};

use crate::cli::{Work, fed, refused, texts};

/// A line that the model cannot read has an empty answer, or ends the run where that is asked for.
#[test]
fn what_the_model_cannot_read_is_named() {
    let work = Work::new();
    work.trained();
    let (answers, _) = texts(&fed(work.command(&["generate", "-q", "model"]), b"12\n7\n"));
    let [first, last] = answers.lines().collect::<Vec<_>>()[..] else { panic!("{answers}") };
    let output = work.command(&["generate", "model", "123456789"]).output().unwrap();
    assert_eq!((output.status.code(), texts(&output).0.as_str()), (Some(0), "\n"), "{}", texts(&output).1);
    let output = fed(work.command(&["generate", "model"]), b"12\n123456789\n7\n");
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout), (Some(0), format!("{first}\n\n{last}\n")), "{stderr}");
    for part in ["warning: standard input, line 2: ", "123456789", "10 tokens", "--max-length"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    let output = fed(work.command(&["generate", "model", "--strict"]), b"12\n123456789\n7\n");
    refused(&output, 1, &["standard input, line 2", "123456789", "10 tokens", "--max-length"]);
    assert_eq!(texts(&output).0, format!("{first}\n"), "the line before it is answered");
    let output = fed(work.command(&["generate", "model"]), b"12\n\xff\xfe\n7\n");
    refused(&output, 1, &["standard input: line 2, byte 1", "UTF-8"]);
    assert_eq!(texts(&output).0, format!("{first}\n"), "the line before it is answered");
    let output = work.command(&["generate", "-q", "model", "1x"]).output().unwrap();
    assert!(output.status.success() && texts(&output).1.contains("`x`"), "{}", texts(&output).1);
}

/// What stands in files and comes from pipes: marks of other systems, blank lines, tabs that nobody has explained.
#[test]
fn sources_are_read_as_people_have_them() {
    let work = Work::new();
    work.trained();
    let generate = |arguments: &[&str], input: &str| {
        let output = fed(work.command(&[&["generate", "-q", "model"], arguments].concat()), input.as_bytes());
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{arguments:?} {input:?}: {stderr}");
        (stdout, stderr)
    };
    // A model of five steps knows no end.
    let said = |stderr: &str| stderr.lines().any(|line| !line.ends_with("was cut at the greatest length"));
    let (plain, stderr) = generate(&[], "12\n345\n");
    assert!(!said(&stderr), "{stderr}");
    for input in ["\u{feff}12\n345\n", "12\r\n345\r\n", "12\r345\r", "12\n345", "\u{feff}12\r\n345"] {
        let (stdout, stderr) = generate(&[], input);
        assert!(stdout == plain && !said(&stderr), "{input:?}: {stderr}");
    }
    // Blank lines have empty answers, whatever they are blank with.
    for blank in ["", " ", "\t", "\u{3000}", "\u{200b}", " \t \u{2028}"] {
        let (stdout, stderr) = generate(&[], &format!("{blank}\n12\n{blank}\n"));
        assert_eq!(stdout, format!("\n{}\n\n", plain.lines().next().unwrap()), "{blank:?}");
        assert!(!said(&stderr), "{blank:?}: {stderr}");
    }
    // What cannot be seen is shown.
    let (stdout, stderr) = generate(&[], "1\u{200b}2\n1\u{0}2\n1\u{2028}2\n");
    assert_eq!(stdout.lines().count(), 3);
    for part in [r"line 1: the model has not seen `\u{200b}`", r"line 2: the model has not seen `\0`", r"`\u{2028}`"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    assert!(!stderr.contains(['\0', '\u{200b}', '\u{2028}']), "{stderr:?}");

    let output = fed(work.command(&["generate", "-q", "model"]), b"12\n12\ttwelve\n7\n");
    refused(&output, 1, &["standard input, line 2", "tab", "--prefix-column", "cut -f 1"]);
    assert_eq!(texts(&output).0.lines().count(), 1, "the line before it is answered");
    let output = work.command(&["generate", "-q", "model", "12\ttwelve"]).output().unwrap();
    refused(&output, 1, &["TEXT 1", "--prefix-column"]);
    let output = fed(work.command(&["generate", "-q", "model", "--prefix-column"]), b"12\tforty\tsix\n");
    refused(&output, 1, &["several tabs"]);
    // A prefix that leaves no room is the affair of its line.
    let long = format!("12\t{}\n12\n", "one ".repeat(9));
    let (stdout, stderr) = generate(&["--prefix-column"], &long);
    assert_eq!(stdout, format!("\n{}\n", plain.lines().next().unwrap()));
    assert!(stderr.contains("line 1: the prefix"), "{stderr}");
}

/// Lists whose blocks can be told apart, objects, alignments, and the scores of tokens.
#[test]
fn answers_have_the_form_that_is_asked_for() {
    let work = Work::new();
    work.trained();
    let generate = |arguments: &[&str], input: &str| {
        let output = fed(work.command(&[&["generate", "model"], arguments].concat()), input.as_bytes());
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        (stdout, stderr)
    };
    let (stdout, stderr) = generate(&["--n-best", "3"], "12\n\n345\n");
    assert!(stderr.contains("--n-best 3 searches as --beam 3 does"), "{stderr}");
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split('\t').collect()).collect();
    let places: Vec<_> = rows.iter().map(|row| (row[0], row[1])).collect();
    assert_eq!(places, [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("3", "1"), ("3", "2"), ("3", "3")]);
    assert_eq!(rows[3][2..], ["", ""], "what is no text has no score");
    let (wide, _) = generate(&["--n-best", "40"], "12\n");
    let different: std::collections::HashSet<_> = wide.lines().map(|line| line.split('\t').nth(3).unwrap()).collect();
    assert_eq!((wide.lines().count(), different.len()), (40, 40), "{wide}");

    generate(&["--alignments", "links.txt"], "12\n\n345\n");
    let links = fs::read_to_string(work.path("links.txt")).unwrap();
    let links: Vec<&str> = links.lines().collect();
    assert_eq!((links.len(), links[1]), (3, ""));
    for link in links[0].split(' ').chain(links[2].split(' ')).filter(|link| !link.is_empty()) {
        let (source, target) = link.split_once('-').unwrap();
        assert!(source.parse::<usize>().unwrap() < 3 && target.parse::<usize>().unwrap() < 8, "{link}");
    }
    generate(&["--alignments", "weights.jsonl"], "12\n\n345\n");
    let weights = fs::read_to_string(work.path("weights.jsonl")).unwrap();
    let weights: Vec<serde_json::Value> = weights.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((weights.len(), weights[0]["source"].to_string().as_str()), (3, r#"["1","2","<eos>"]"#));
    for row in weights[0]["weights"].as_array().unwrap() {
        let row: Vec<f64> = serde_json::from_value(row.clone()).unwrap();
        assert!(row.len() == 3 && (row.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{row:?}");
    }

    let output = work.command(&["score", "model", "valid.tsv", "--token-scores", "--json", "s.json"]).output().unwrap();
    for line in texts(&output).0.lines() {
        let (sum, tokens) = line.split_once('\t').unwrap();
        let tokens: f64 = tokens.split(' ').map(|token| token.parse::<f64>().unwrap()).sum();
        assert!((tokens - sum.parse::<f64>().unwrap()).abs() < 2e-3, "{line}");
    }
    fs::write(work.path("long.tsv"), "12\ttwelve\n123456789\tone\n7\tseven\n").unwrap();
    let output = work.command(&["score", "model", "long.tsv"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success() && stdout.lines().nth(1) == Some("") && stdout.lines().count() == 3, "{stdout}");
    assert!(stderr.contains("warning: long.tsv, line 2: the source that starts `123456789`"), "{stderr}");
    let output = work.command(&["score", "model", "long.tsv", "--strict"]).output().unwrap();
    refused(&output, 1, &["error: long.tsv, line 2: ", "shorten it, or train with a larger --max-length"]);
    assert_eq!(texts(&output).0, format!("{}\n", stdout.lines().next().unwrap()), "the line before it is scored");
    // Also where nothing is left, on either side.
    fs::write(work.path("all.tsv"), format!("123456789\tone\n1\t{}\n", "one ".repeat(8))).unwrap();
    let output = work.command(&["score", "model", "all.tsv", "--json", "s.json"]).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(0), "\n\n"), "{stderr}");
    for part in ["all.tsv, line 1: the source", "all.tsv, line 2: the target: 9 tokens", "larger --max-length"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    let scores: Value = serde_json::from_slice(&fs::read(work.path("s.json")).unwrap()).unwrap();
    assert!(scores["perplexity"].is_null() && scores["log_probabilities"] == json!([null, null]), "{scores}");
}

/// A source that has no answer is not lost, and a list that is too short is not passed over.
#[test]
fn what_has_no_answer_is_told_apart() {
    let work = Work::new();
    work.trained();
    let marked = work.command(&["generate", "-q", "model", "\u{feff}12\r\n", "12"]).output().unwrap();
    let (stdout, stderr) = texts(&marked);
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0] == lines[1] && !stderr.contains("feff"), "{stdout}{stderr}");

    // A text of one token: there are no more than the vocabulary has.
    fs::write(work.path("few.tsv"), "1\tone\n2\ttwo\n").unwrap();
    let train =
        "train -q --train few.tsv --valid few.tsv --out few --steps 2 --embedding 4 --hidden 8 --target-tokens words";
    assert!(work.command(&train.split(' ').collect::<Vec<_>>()).output().unwrap().status.success());
    let list = |more: &[&str]| {
        let output = fed(work.command(&[&["generate", "-q", "few", "--max-length", "1"], more].concat()), b"1\n\n2\n");
        assert!(output.status.success(), "{}", texts(&output).1);
        texts(&output)
    };
    let (stdout, stderr) = list(&["--n-best", "9"]);
    let first = stdout.lines().filter(|line| line.starts_with("1\t")).count();
    assert!((1..9).contains(&first), "{stdout}");
    for line in [1, 3] {
        let said = format!("standard input, line {line}: {first} different texts in place of 9");
        assert!(stderr.contains(&said), "{said} is missing from\n{stderr}");
    }
    assert!(!stderr.contains("line 2"), "{stderr}");
    assert!(!list(&["--n-best", "2"]).1.contains("in place of"));
}

/// What is asked for and cannot be had together is refused, with the reason.
#[test]
fn options_that_would_be_ignored_are_refused() {
    let work = Work::new();
    work.trained();
    fs::write(work.path("texts.txt"), "one\n".repeat(6)).unwrap();
    let searches = ["--ensemble model", "--strict", "--beam 2", "--length-penalty 1", "--coverage-penalty 1"];
    let more = ["--no-repeat-ngram 2", "--min-length 1", "--max-length 5", "--replace-unk", "--forbid-unk"];
    for option in searches.iter().chain(&more) {
        for model in [&["model"][..], &[]] {
            let arguments = [&["evaluate"], model, &["valid.tsv", "--hypotheses", "texts.txt"]].concat();
            let output = work.command(&arguments).args(option.split(' ')).output().unwrap();
            refused(&output, 2, &["--hypotheses", option.split(' ').next().unwrap(), "No model writes"]);
        }
    }
    for (line, code, why) in [
        ("generate model 12 --replace-unk --forbid-unk", 2, "none to replace"),
        ("generate model --jsonl --prefix-column", 2, "Objects of --jsonl have a field for it"),
        ("validate --golden . --cases 3", 2, "all of them"),
        ("validate --golden . --seconds 3", 2, "all of them"),
        ("validate --golden . --seed 3", 2, "all of them"),
        ("shaders --out x --checked", 1, "--to"),
        ("train --text train.tsv --source-tokens words", 2, "reads no source"),
        ("train --train train.tsv --valid valid.tsv --architecture transformer --embedding 5", 1, "--embedding"),
        (
            "train --train train.tsv --valid valid.tsv --architecture transformer --tie-embeddings",
            1,
            "--tie-embeddings",
        ),
        ("train --train train.tsv --valid valid.tsv --embedding 5 --model embedding=6", 1, "--model sets it"),
    ] {
        refused(&work.command(&line.split(' ').collect::<Vec<_>>()).output().unwrap(), code, &[why]);
    }
    assert!(!work.path("x").exists() && !work.path("runs").exists());
    let idle = ["--max-vocabulary", "9", "--source-tokens", "bpe:40", "--target-tokens", "bpe:40", "--variational"];
    let train = "train -q --train train.tsv --valid valid.tsv --out idle --steps 1 --embedding 4 --hidden 8";
    let output = work.command(&train.split(' ').chain(idle).collect::<Vec<_>>()).output().unwrap();
    let (_, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    for part in ["--max-vocabulary limits chars and words", "--variational decides nothing"] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
}

/// All weights as one JSON value, whole or not there.
#[test]
fn alignments_are_json_where_their_name_says_so() {
    let work = Work::new();
    work.trained();
    let generate = |file: &str, more: &[&str]| {
        let arguments = [&["generate", "-q", "model", "--alignments", file], more].concat();
        fed(work.command(&arguments), b"12\n\n123456789\n345\n")
    };
    assert!(generate("a.jsonl", &[]).status.success() && generate("a.json", &[]).status.success());
    let lines = fs::read_to_string(work.path("a.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let array = fs::read(work.path("a.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&array).unwrap(), lines);
    assert_eq!(lines[1], json!({"sentence": 2, "source": [], "target": [], "weights": []}));
    assert_eq!(lines[3]["source"], json!(["3", "4", "5", "<eos>"]));
    // A run that stops leaves what was there before.
    assert!(!generate("a.json", &["--strict"]).status.success());
    assert!(fs::read(work.path("a.json")).unwrap() == array);
    assert!(!generate("none.json", &["--strict"]).status.success() && !work.path("none.json").exists());
}

/// Texts from elsewhere, references by source or by line, tokens of BLEU, and the perplexity of an ensemble.
#[test]
fn evaluation_says_what_it_compares() {
    let work = Work::new();
    let output = work.train(&["--steps", "9", "--seed", "2"]).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    fs::rename(work.path("model"), work.path("other")).unwrap();
    // The vocabularies are those of the same pairs.
    work.trained();
    let evaluate = |arguments: &[&str]| {
        let output = work.command(&[&["evaluate", "--bootstrap", "0", "--json", "j"], arguments].concat()).output();
        let (stdout, stderr) = texts(&output.unwrap());
        let json: serde_json::Value = serde_json::from_slice(&fs::read(work.path("j")).unwrap()).expect(&stderr);
        (stdout, stderr, json)
    };
    let alone = evaluate(&["model", "valid.tsv"]).2;
    let pair = evaluate(&["model", "valid.tsv", "--ensemble", "other"]).2;
    let swapped = evaluate(&["other", "valid.tsv", "--ensemble", "model"]).2;
    let perplexity = |found: &serde_json::Value| found["perplexity"].as_f64().unwrap();
    assert!((perplexity(&pair) - perplexity(&swapped)).abs() < 1e-6 * perplexity(&pair));
    assert!((perplexity(&pair) - perplexity(&alone)).abs() > 1e-3);

    let text = "7\tseven\n12\ttwelve\n7\tsix and one\n";
    fs::write(work.path("several.tsv"), text).unwrap();
    fs::write(work.path("hypotheses.txt"), "\u{feff}seven\r\n\r\nseven").unwrap();
    let (stdout, _, json) = evaluate(&["model", "several.tsv", "--hypotheses", "hypotheses.txt"]);
    assert!(stdout.contains("pairs                3\nreferences           1 each\n"), "{stdout}");
    assert!(json["perplexity"].is_f64() && json["bleu_signature"].as_str().unwrap().starts_with("nrefs:1|"), "{json}");
    assert!((json["exact_match"].as_f64().unwrap() - 100.0 / 3.0).abs() < 1e-9, "{json}");
    let grouped = ["several.tsv", "--hypotheses", "hypotheses.txt", "--group-references", "--tokenize", "13a"];
    let (stdout, _, json) = evaluate(&grouped);
    // A line for each source says the same; lines of one source that differ say nothing.
    fs::write(work.path("hypotheses.txt"), "seven\n\n").unwrap();
    assert_eq!(evaluate(&grouped).0, stdout);
    fs::write(work.path("hypotheses.txt"), "seven\n\nsix\n").unwrap();
    let output = work.command(&[&["evaluate"], &grouped[..]].concat()).output().unwrap();
    refused(&output, 1, &["hypotheses.txt: lines 1 and 3 differ", "one line for each of the 2 sources"]);
    assert!(stdout.contains("sources              2\nreferences           1 to 2 each, grouped by source"), "{stdout}");
    assert_eq!((json["exact_match"].as_f64(), json.get("perplexity")), (Some(50.0), None));
    assert!(stdout.contains("|tok:13a|") && stdout.contains("nrefs:var|grouped:source|"), "{stdout}");
    let output = work.command(&["evaluate", "model", "several.tsv", "--tokenize", "ja"]).output().unwrap();
    refused(&output, 2, &["none, char, 13a, zh, intl"]);

    fs::write(work.path("strange.tsv"), "7\tSeven\n123456789\tone\n").unwrap();
    let (_, stderr, _) = evaluate(&["model", "strange.tsv"]);
    for part in ["strange.tsv: 1 of 2 sources", "line 2", "1 of 2 references", "\"Seven\"", "\"<unk>\""] {
        assert!(stderr.contains(part), "{part} is missing from\n{stderr}");
    }
    let output = work.command(&["evaluate", "model", "strange.tsv", "--strict"]).output().unwrap();
    refused(&output, 1, &["strange.tsv, line 2"]);
}
