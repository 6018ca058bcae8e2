//! The reader of every text.

use std::{fs, io::BufReader, path::PathBuf};

use crate::common;
use softalign::{
    Error,
    model::Model,
    text::{Example, Lines, Pair, Tokenizer, escaped, is_blank, read_alignment, read_lines, read_text, read_tsv},
};

fn lines(bytes: &[u8]) -> Vec<String> {
    Lines::new("x", bytes).collect::<Result<_, _>>().unwrap()
}

#[test]
fn lines_end_with_lf_or_crlf_or_all_of_them_with_cr() {
    for (text, wanted) in [
        ("", &[][..]),
        ("\u{feff}", &[]),
        ("\n", &[""]),
        ("a\nb\n", &["a", "b"]),
        ("a\nb", &["a", "b"]),
        ("a\r\nb\r\n", &["a", "b"]),
        ("a\r\r\nb\r", &["a", "b"]),
        ("a\rb\rc\r", &["a", "b", "c"]),
        ("a\r", &["a"]),
        ("\r", &[""]),
        ("a\r\rb", &["a", "", "b"]),
        // Only where nothing else ends a line.
        ("a\rb\nc\rd", &["a\rb", "c\rd"]),
        // Files one behind the other and side by side have more than one mark; within a text it is a character.
        ("\u{feff}a\n\u{feff}b\n\n", &["a", "b", ""]),
        ("\u{feff}a\t\u{feff}b\n\u{feff}\n\u{feff}", &["a\tb", ""]),
        ("\u{feff}a\r\u{feff}b\t\u{feff}\r", &["a", "b\t"]),
        ("a\u{feff}b \u{feff}c\n", &["a\u{feff}b \u{feff}c"]),
        ("a\0b\u{2028}c\u{85}d\u{b}e\u{c}f\u{1e}\u{3000}\tg\n", &["a\0b\u{2028}c\u{85}d\u{b}e\u{c}f\u{1e}\u{3000}\tg"]),
    ] {
        assert_eq!(lines(text.as_bytes()), wanted, "{text:?}");
        // However few bytes are read at once.
        let slow = Lines::new("x", BufReader::with_capacity(1, text.as_bytes()));
        assert_eq!(slow.collect::<Result<Vec<_>, _>>().unwrap(), wanted, "{text:?}");
    }
}

#[test]
fn what_is_not_utf_8_is_named_by_line_and_byte() {
    for (bytes, place) in [
        (&b"ab\xffc\n"[..], "line 1, byte 3"),
        (b"ab\n\ncd\n\xc3\n", "line 4, byte 1"),
        (b"\xef\xbb\xbfa\r\nb\x80", "line 2, byte 2"),
        (b"\xff\xfea\0\n\0", "line 1, byte 1"),
        (b"a\xed\xa0\x80", "line 1, byte 2"),
    ] {
        let mut lines = Lines::new("some name", bytes);
        let error = lines.find_map(Result::err).unwrap().to_string();
        assert_eq!(error, format!("some name: {place}: not UTF-8; convert the file to UTF-8"));
    }
    // What stands before is not lost.
    let before: Vec<_> = Lines::new("x", &b"a\nb\n\xff\n"[..]).map_while(Result::ok).collect();
    assert_eq!(before, ["a", "b"]);
    // Nor what stands behind, each under its number.
    let all: Vec<_> =
        Lines::new("x", &b"a\n\xff\nb\n\xff\n"[..]).map(|line| line.map_err(|error| error.to_string())).collect();
    let wrong = |line: usize| Err(format!("x: line {line}, byte 1: not UTF-8; convert the file to UTF-8"));
    assert_eq!(all, [Ok("a".into()), wrong(2), Ok("b".into()), wrong(4)]);
}

#[test]
fn a_reader_knows_whether_it_would_wait() {
    let mut lines = Lines::new("x", BufReader::new(&b"a\nb\nc"[..]));
    assert!(lines.is_drained());
    lines.next().unwrap().unwrap();
    assert!(!lines.is_drained());
    lines.next().unwrap().unwrap();
    // Of the third line there is a part: its end may be long in coming.
    assert!(lines.is_drained() && lines.next().unwrap().unwrap() == "c");
    assert!(lines.is_drained() && lines.next().is_none());
}

#[test]
fn what_cannot_be_seen_is_blank_and_shown_escaped() {
    for blank in ["", " ", "\t", "\u{3000}", "\u{a0}\u{2028}\r", "\0", "\u{200b}\u{feff}", "\u{ad}\u{2066}\u{3164}"] {
        assert!(is_blank(blank), "{blank:?}");
    }
    for text in ["a", "\u{301}", "\u{e000}", "。", "\u{10ffff}", "-"] {
        assert!(!is_blank(text), "{text:?}");
    }
    let hidden = "a b\u{a0}c\u{200b}d\0e\tf\u{3000}g\u{202e}h\u{feff}i\u{1b}[31m";
    assert_eq!(escaped(hidden), r"a b\u{a0}c\u{200b}d\0e\tf\u{3000}g\u{202e}h\u{feff}i\u{1b}[31m");
    let plain = "\"don't\" \\ né e\u{301} हिन्दी 日本 😀 مرحبا";
    assert_eq!(escaped(plain), plain);
    // Joiners are text where they stand between letters or pictures, and nowhere else.
    let joined = "می\u{200c}خواهم क्\u{200d}ष क्\u{200c}ष 👩\u{200d}🚀 ❤\u{fe0f}\u{200d}🔥";
    assert_eq!(escaped(joined), joined);
    assert_eq!(
        escaped("\u{200d}ب 1\u{200d}2 ا\u{200c} ب\u{200c}\u{200c}ب"),
        r"\u{200d}ب 1\u{200d}2 ا\u{200c} ب\u{200c}\u{200c}ب"
    );
    assert_eq!(escaped("a\u{3164}b\u{2066}c\u{2069}"), r"a\u{3164}b\u{2066}c\u{2069}");
}

/// Pairs, alignments and configuration, with the marks and line ends of other systems.
#[test]
fn every_file_is_read_alike() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let pairs = vec![Pair::new("a", "b c"), Pair::new("d\u{2028}", "e\u{3000}f")];
    for text in [
        "a\tb c\nd\u{2028}\te\u{3000}f\n",
        "\u{feff}a\tb c\r\nd\u{2028}\te\u{3000}f",
        "a\tb c\rd\u{2028}\te\u{3000}f\r",
    ] {
        assert_eq!(read_tsv(write("pairs.tsv", text.as_bytes())).unwrap(), pairs, "{text:?}");
    }
    for (text, part) in [
        ("a\tb\n\u{3000}\n", "line 2: the line is blank"),
        ("a\t\u{200b}\n", "line 1: the target"),
        ("\0\tb\n", "line 1: the source"),
    ] {
        let error = read_tsv(write("pairs.tsv", text.as_bytes())).unwrap_err().to_string();
        assert!(error.contains(part), "{text:?}: {error}");
    }
    let example = |source: usize, target: usize| Example::new(vec![4; source + 1], vec![4; target]);
    let examples = [example(2, 1), example(1, 3)];
    let wanted = read_alignment(write("links", b"0-0 1-0\n0-2\n"), &examples).unwrap();
    for text in ["\u{feff}0-0 1-0\r\n0-2", "0-0\t1-0\r0-2\r", "0-0\u{3000}1-0\n0-2\n"] {
        assert_eq!(read_alignment(write("links", text.as_bytes()), &examples).unwrap(), wanted, "{text:?}");
    }
    let error = read_alignment(write("links", b"0-0\n0\xff-2\n"), &examples).unwrap_err().to_string();
    assert!(error.contains("links: line 2, byte 2: not UTF-8"), "{error}");
    let error = read_alignment(write("links", "0-0\u{200b}\n0-2\n".as_bytes()), &examples).unwrap_err().to_string();
    assert!(error.contains(r"line 1: `0-0\u{200b}` is no link"), "{error}");

    assert_eq!(read_text(write("a.json", "\u{feff}{}\r\n".as_bytes())).unwrap(), "{}\r\n");
    assert_eq!(read_lines(write("a", b"x\r\ny")).unwrap(), ["x", "y"]);
    assert!(matches!(read_lines(folder.path().join("none")), Err(Error::Io { .. })));

    // A model whose configuration an editor has put a mark before.
    let model = common::generation::model(14, 9, 6, softalign::model::Readout::Tanh, 1, 3);
    model.save(folder.path()).unwrap();
    for name in ["config.json", "source.tokenizer.json"] {
        let path = folder.path().join(name);
        let text = format!("\u{feff}{}", fs::read_to_string(&path).unwrap());
        fs::write(&path, &text).unwrap();
        if name == "config.json" {
            // The parameters know the file that was saved with them.
            let error = Model::load(common::gpu(), folder.path()).unwrap_err().to_string();
            assert!(error.contains("config.json") && error.contains("not the file"), "{error}");
        } else {
            Tokenizer::load(&path).unwrap();
        }
    }
}
