//! `generate --jsonl` as a supervisor sees it: an object a line, answers in their order, errors that end nothing.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::cli::{Work, fed, refused, texts};

/// What the command answers lines with.
fn answers(work: &Work, more: &[&str], lines: &[Value]) -> Vec<Value> {
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let output = fed(work.command(&[&["generate", "-q", "model", "--jsonl"], more].concat()), input.as_bytes());
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let answers: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), lines.len(), "{stdout}{stderr}");
    answers
}

#[test]
fn every_line_has_one_answer_with_its_id() {
    let work = Work::new();
    work.trained();
    let (plain, _) = texts(&fed(work.command(&["generate", "-q", "model"]), b"12\n345\n7\n"));
    let plain: Vec<&str> = plain.lines().collect();
    let (beam, _) =
        texts(&fed(work.command(&["generate", "-q", "model", "--n-best", "2", "--max-length", "3"]), b"12\n"));
    let beam: Vec<&str> = beam.lines().map(|line| line.split('\t').nth(3).unwrap()).collect();

    let ids = [json!(1), json!("a"), json!({"b": [null]}), Value::Null, json!(2.5)];
    let found = answers(
        &work,
        &[],
        &[
            json!({"id": ids[0], "text": "12"}),
            json!({"id": ids[1], "text": "12", "n_best": 2, "max_length": 3}),
            json!({"id": ids[2], "text": " "}),
            json!({"text": "345"}),
            json!({"id": ids[4], "text": "7", "token_scores": true, "attention": true}),
        ],
    );
    for ((answer, id), line) in found.iter().zip(&ids).zip(1..) {
        assert_eq!((&answer["id"], &answer["line"]), (id, &json!(line)));
    }
    for (place, text) in [(0, 0), (3, 1), (4, 2)] {
        assert_eq!(found[place]["text"], plain[text]);
        assert!(found[place]["score"].is_f64() && found[place]["finished"].is_boolean());
    }
    assert!(
        found[0].get("n_best").is_none() && found[0].get("tokens").is_none() && found[0].get("attention").is_none()
    );
    let list: Vec<&str> =
        found[1]["n_best"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert_eq!((list.as_slice(), &found[1]["text"]), (beam.as_slice(), &json!(beam[0])));
    assert_eq!(found[2], json!({"id": ids[2], "line": 3, "text": "", "score": null, "finished": false}));

    let Value::Array(tokens) = &found[4]["tokens"] else { panic!("{}", found[4]) };
    let sum: f64 = tokens.iter().map(|token| token["log_probability"].as_f64().unwrap()).sum();
    assert!((sum - found[4]["score"].as_f64().unwrap()).abs() < 1e-3, "{}", found[4]);
    let attention = &found[4]["attention"];
    assert_eq!(attention["source"], json!(["7", "<eos>"]));
    let rows: Vec<Vec<f64>> = serde_json::from_value(attention["weights"].clone()).unwrap();
    assert_eq!(rows.len(), attention["target"].as_array().unwrap().len());
    assert!(rows.iter().all(|row| row.len() == 2 && (row.iter().sum::<f64>() - 1.0).abs() < 1e-4), "{rows:?}");

    // Sources on the command line are texts, and options of all of them stand there too.
    let output = work.command(&["generate", "-q", "model", "7", "12", "--jsonl", "--attention"]).output().unwrap();
    let first: Value = serde_json::from_str(texts(&output).0.lines().next().unwrap()).unwrap();
    assert_eq!((&first["text"], &first["attention"]), (&found[4]["text"], attention));
}

#[test]
fn a_bad_line_is_an_error_and_the_next_one_is_answered() {
    let work = Work::new();
    work.trained();
    let bad: [(&[u8], Value, &[&str]); 13] = [
        (b"12", Value::Null, &["no JSON object", "\"text\""]),
        (b"", Value::Null, &["no JSON"]),
        (b"{\"id\": 1, \"text\": \"12\"", Value::Null, &["no JSON", "column 22"]),
        (b"{\"text\": \"\xff\"}", Value::Null, &["not UTF-8"]),
        (b"[\"12\"]", Value::Null, &["no JSON object"]),
        (br#"{"id": 4}"#, json!(4), &["`text`", "missing"]),
        (br#"{"id": 5, "text": 12}"#, json!(5), &["`text`", "integer `12`", "string"]),
        (br#"{"id": 6, "text": "12", "bean": 3}"#, json!(6), &["`bean`", "id, text, attention, beam", "top_p"]),
        (br#"{"id": [7], "text": "12", "beam": "3"}"#, json!([7]), &["`beam`", "string \"3\""]),
        (br#"{"id": 8, "text": "12", "beam": 99}"#, json!(8), &["beam", "1 to 64", "99"]),
        (br#"{"id": 9, "text": "12", "min_length": 8}"#, json!(9), &["min_length", "less than"]),
        (br#"{"id": 10, "text": "123456789"}"#, json!(10), &["10 tokens"]),
        (br#"{"id": 11, "text": "12\ttwelve"}"#, json!(11), &["tab", "`prefix`"]),
    ];
    let good = br#"{"id": "good", "text": "12"}"#;
    let lines: Vec<&[u8]> = bad.iter().flat_map(|(line, _, _)| [*line, good]).collect();
    let output =
        fed(work.command(&["generate", "-q", "model", "--jsonl", "--alignments", "links"]), &lines.join(&b'\n'));
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    let found: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 2 * bad.len(), "{stdout}");
    for ((pair, (line, id, parts)), number) in found.chunks(2).zip(&bad).zip((1..).step_by(2)) {
        let [refused, answered] = pair else { unreachable!() };
        let said = refused["error"].as_str().unwrap_or_else(|| panic!("{}: {refused}", String::from_utf8_lossy(line)));
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(*refused, json!({"id": id, "line": number, "error": said}));
        assert!(answered["id"] == "good" && answered["text"] == found[1]["text"], "{answered}");
    }
    // Files that go along line by line keep their places.
    let links = std::fs::read_to_string(work.path("links")).unwrap();
    assert_eq!(links.lines().count(), found.len());
    assert!(links.lines().step_by(2).all(str::is_empty));

    let input = [&good[..], b"{}", good].join(&b'\n');
    let output = fed(work.command(&["generate", "-q", "model", "--jsonl", "--strict"]), &input);
    refused(&output, 1, &["standard input, line 2", "`text`"]);
}

/// A sample with a seed of its own is a matter of its line alone; without one it is a matter of its place too.
#[test]
fn samples_are_a_matter_of_their_seeds() {
    let work = Work::new();
    work.trained();
    let seeded = json!({"text": "12", "seed": 7});
    let plain = json!({"text": "12"});
    let lines = [vec![plain.clone(); 8], vec![seeded.clone(), plain, seeded]].concat();
    let found = answers(&work, &["--sample", "--temperature", "3"], &lines);
    let said: Vec<&str> = found.iter().map(|answer| answer["text"].as_str().unwrap()).collect();
    assert_eq!(said[8], said[10]);
    assert!(said[..8].iter().any(|text| *text != said[0]), "{said:?}");
    assert_eq!(answers(&work, &["--sample", "--temperature", "3"], &lines), found);
}

/// The command under way, spoken with line by line.
struct Spoken {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Spoken {
    fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn say(&mut self, words: &str) {
        self.input.write_all(words.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
    }
}

#[test]
fn an_answer_waits_for_no_more_input() {
    let work = Work::new();
    work.trained();
    let mut spoken = Spoken::new(work.command(&["generate", "-q", "model", "--jsonl"]));
    for id in 0..3 {
        spoken.say(&format!("{{\"id\": {id}, \"text\": \"12\"}}\n"));
        assert_eq!(spoken.hear()["id"], id);
    }
    // A line and the beginning of the next.
    spoken.say("{\"id\": 3, \"text\": \"12\"}\n{\"id\": 4, ");
    assert_eq!(spoken.hear()["id"], 3);
    spoken.say("\"text\": \"7\"}\n[\n");
    assert_eq!(spoken.hear()["id"], 4);
    assert!(spoken.hear()["error"].is_string());
    let Spoken { mut child, input, .. } = spoken;
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_request_to_end_is_followed_behind_the_answer_under_way() {
    let work = Work::new();
    work.trained();
    let ended = |mut spoken: Spoken| {
        let id = spoken.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let rest = std::io::read_to_string(&mut spoken.output).unwrap();
        // Its input is open all the while: it does not end because there is no more to come.
        let output = spoken.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
        drop(spoken.input);
        rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    // Idle, which waits for input.
    let mut idle = Spoken::new(work.command(&["generate", "-q", "model", "--jsonl"]));
    idle.say("{\"text\": \"12\"}\n");
    idle.hear();
    assert!(ended(idle).is_empty());
    // At work, with more to do than it gets to: all that it says is whole and in order.
    let mut busy = Spoken::new(work.command(&["generate", "-q", "model", "--jsonl"]));
    busy.say("{\"text\": \"12\"}\n");
    busy.hear();
    let lines: String =
        (0..400).map(|id| format!("{{\"id\": {id}, \"text\": \"12\", \"beam\": {}}}\n", 1 + id % 2)).collect();
    busy.say(&lines);
    assert_eq!(busy.hear()["id"], 0);
    thread::sleep(Duration::from_millis(20));
    let rest = ended(busy);
    assert!(rest.iter().zip(1..).all(|(answer, id)| answer["id"] == id && answer["text"].is_string()), "{rest:?}");
}
