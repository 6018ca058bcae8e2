//! Pictures of alignments: what is drawn, how large it gets, and what is refused.

use std::path::Path;

use softalign::{Error, generate::draw_alignment};

fn tokens(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Weights like those of a trained model: a ridge along the diagonal, each row summing to 1.
fn ridge(rows: usize, columns: usize) -> Vec<f32> {
    let mut weights = Vec::new();
    for row in 0..rows {
        let centre = (row as f32 + 0.5) / rows as f32 * columns as f32 - 0.5;
        let unscaled: Vec<f32> = (0..columns).map(|column| (-(column as f32 - centre).powi(2)).exp()).collect();
        let sum: f32 = unscaled.iter().sum();
        weights.extend(unscaled.iter().map(|weight| weight / sum));
    }
    weights
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

fn png_size(path: &Path) -> (u32, u32) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    (reader.info().width, reader.info().height)
}

/// A folder for pictures: one that is kept and can be looked at if `PICTURES` names it.
fn folder() -> tempfile::TempDir {
    let mut folder = match std::env::var_os("PICTURES") {
        Some(kept) => tempfile::tempdir_in(kept).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    folder.disable_cleanup(std::env::var_os("PICTURES").is_some());
    folder
}

#[test]
fn draws_words_letters_and_phones() {
    let folder = folder();
    let cases = [
        ("number", "1 9 8 7", "one thousand nine hundred eighty - seven <eos>"),
        ("word", "s o f t e n i n g <eos>", "s ɔ f ə n ɪ ŋ <eos>"),
        (
            "sentence",
            "the cat sat on the mat , internationalization notwithstanding .",
            "кошка сидела на коврике < & > .",
        ),
        ("single", "a", "b"),
    ];
    for (name, source, target) in cases {
        let (source, target) = (tokens(source), tokens(target));
        let weights = ridge(target.len(), source.len());
        for extension in ["png", "svg"] {
            let path = folder.path().join(format!("{name}.{extension}"));
            draw_alignment(&path, &source, &target, &weights).unwrap();
            if extension == "png" {
                let (width, height) = png_size(&path);
                assert!((300..1600).contains(&width) && (300..1600).contains(&height), "{name}: {width} x {height}");
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{name}");
                let escaped = target.last().unwrap().replace('<', "&lt;").replace('>', "&gt;");
                assert!(text.contains(&escaped), "{name}: a target token is missing");
            }
        }
    }
}

#[test]
fn long_sequences_stay_within_bounds() {
    let folder = folder();
    let mut last = 0;
    for count in [10, 60, 200, 700] {
        let (source, target) = (numbered("source", count), numbered("t", count / 2));
        let path = folder.path().join(format!("long{count}.png"));
        draw_alignment(&path, &source, &target, &ridge(target.len(), source.len())).unwrap();
        let (width, height) = png_size(&path);
        assert!(width > last && width > height && width < 7000, "{count} tokens: {width} x {height}");
        last = width;
    }
}

fn refusal(path: &Path, source: &[String], target: &[String], weights: &[f32]) -> String {
    match draw_alignment(path, source, target, weights) {
        Err(Error::Data { message, .. }) => message,
        other => panic!("wanted a refusal, got {other:?}"),
    }
}

#[test]
fn refuses_what_it_cannot_draw() {
    let folder = folder();
    let path = folder.path().join("picture.png");
    let (source, target) = (tokens("a b"), tokens("x"));
    for name in ["picture.gif", "picture"] {
        let message = refusal(&folder.path().join(name), &source, &target, &[0.5, 0.5]);
        assert!(message.contains(".png or .svg"), "{message}");
    }
    assert!(refusal(&path, &source, &target, &[0.5]).starts_with("1 weights for 1 target and 2 source tokens"));
    assert!(refusal(&path, &[], &target, &[]).contains("no source tokens"));
    assert!(refusal(&path, &source, &[], &[]).contains("no target tokens"));
    assert!(refusal(&path, &source, &target, &[0.5, f32::NAN]).contains("target token 0 on source token 1"));
    assert!(!path.exists());
    let nowhere = folder.path().join("missing").join("picture.svg");
    assert!(matches!(draw_alignment(&nowhere, &source, &target, &[0.5, 0.5]), Err(Error::Io { .. })));
}

#[test]
fn a_character_without_a_font_names_svg_as_the_way_out() {
    let folder = folder();
    // A code point that no font assigns.
    let (source, target) = (tokens("\u{10fffd}"), tokens("x"));
    let message = refusal(&folder.path().join("picture.png"), &source, &target, &[1.0]);
    assert!(message.contains(".svg") && message.contains('\u{10fffd}'), "{message}");
    draw_alignment(&folder.path().join("picture.svg"), &source, &target, &[1.0]).unwrap();
}
