//! What is written where: through links, into pipes and devices, to what is open already.
#![cfg(unix)]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    thread,
};

use serde_json::Value;
use softalign::files::{create, is_stream, write_atomically};

use crate::cli::{Work, texts};

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn links_stay_links_and_what_they_lead_to_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("elsewhere")).unwrap();
    symlink("elsewhere/file", path("relative")).unwrap();
    symlink(path("relative"), path("absolute")).unwrap();
    // Also where nothing is there yet.
    for text in ["one", "two"] {
        write_atomically(&path("absolute"), text.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(path("elsewhere/file")).unwrap(), text);
    }
    for link in ["relative", "absolute"] {
        assert!(path(link).symlink_metadata().unwrap().is_symlink(), "{link}");
    }
    assert_eq!(fs::read_dir(path("elsewhere")).unwrap().count(), 1, "nothing else is left");
    symlink("round", path("and")).unwrap();
    symlink("and", path("round")).unwrap();
    let error = write_atomically(&path("round"), b"x").unwrap_err().to_string();
    assert!(error.contains("round: this link leads to itself"), "{error}");
}

#[test]
fn a_file_that_is_replaced_keeps_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    for mode in [0o600, 0o444, 0o640] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn a_pipe_is_written_into_and_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (pipe, link) = (folder.path().join("pipe.json"), folder.path().join("link"));
    fifo(&pipe);
    symlink(&pipe, &link).unwrap();
    for path in [&pipe, &link] {
        assert!(is_stream(path));
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_atomically(path, b"bytes").unwrap();
        assert_eq!(reader.join().unwrap(), b"bytes");
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    }
    write_atomically(Path::new("/dev/null"), b"x").unwrap();
    create(Path::new("/dev/null")).unwrap().write_all(b"x").unwrap();
    assert!(Path::new("/dev/null").metadata().unwrap().file_type().is_char_device());
}

#[test]
fn descriptors_are_streams_and_files_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fd");
    fs::write(&file, "x").unwrap();
    for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/dev/null"] {
        assert!(is_stream(Path::new(path)), "{path}");
    }
    for path in [&file, folder.path(), &folder.path().join("none"), Path::new("/dev/shm/softalign-none")] {
        assert!(!is_stream(path), "{}", path.display());
    }
}

/// `--json` and the like, of every command that has a model, to what the shell has open.
#[test]
fn results_go_where_the_shell_sends_them() {
    let work = Work::new();
    work.trained();
    fs::write(work.path("in"), "12\n\n345\n").unwrap();
    let shell = |line: &str| {
        let line = format!("softalign() {{ {} -q \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_softalign"));
        let output = Command::new("bash").args(["-c", &line]).current_dir(work.path("")).output().unwrap();
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{line}: {stderr}");
        stdout
    };
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) };
    // After the results, wherever those go.
    for form in ["", "> out; cat out"] {
        let text = shell(&format!("softalign score model valid.tsv --json /dev/stdout {form}"));
        let (_, object) = text.split_once('{').unwrap();
        assert!(json(&format!("{{{object}"))["log_probabilities"].is_array(), "{text}");
    }
    let text = shell("softalign evaluate model valid.tsv --bootstrap 0 --json >(cat > e.json); sleep 0.5; cat e.json");
    let (scores, object) = text.split_once('{').unwrap();
    assert!(scores.starts_with("pairs") && json(&format!("{{{object}"))["bleu"].is_number(), "{text}");
    shell("exec 3>> third; softalign evaluate model valid.tsv --bootstrap 0 --json /dev/fd/3 > scores; echo >&3 end");
    assert!(fs::read_to_string(work.path("third")).unwrap().ends_with("}\nend\n"));
    let page = shell("softalign report model --out /dev/stdout");
    assert!(page.starts_with("<!") && page.ends_with("</html>\n/dev/stdout\n"), "{}", &page[page.len() - 99..]);
    // Lines of both stand side by side, and none is lost.
    let beside = shell("softalign generate model --alignments /dev/stdout < in");
    assert_eq!(beside.lines().count(), 6);
    for form in ["--alignments /dev/stdout > out; cat out", "--alignments out > out; cat out"] {
        assert_eq!(shell(&format!("softalign generate model < in {form}")), beside, "{form}");
    }
    let lines = shell("softalign generate model --alignments >(cat > lines) < in > out; sleep 0.5; cat out lines");
    assert_eq!(lines.lines().count(), 6);
    let pipe = work.path("page.html");
    fifo(&pipe);
    let reader = thread::spawn(move || {
        let mut page = String::new();
        fs::File::open(pipe).unwrap().read_to_string(&mut page).unwrap();
        page
    });
    shell("softalign report model --out page.html");
    assert!(reader.join().unwrap().ends_with("</html>\n"));
}
