//! `state_dict`s of PyTorch's: cases that PyTorch has made, read and applied; written and read again; and what is none.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use softalign::{
    batch::{BatchShape, Specials},
    generate::{Generator, SearchOptions},
    graph::{Program, ProgramOptions},
    kernels::Step,
    model::{
        Kind, Layers, Model, Readout, TokenModel, network_of_state_dict, read_tensors,
        stack::{Config, Module, Stack},
        sutskever::{self, Sutskever},
    },
    text::{TokenUnit, Tokenizer},
};
use tempfile::TempDir;

use crate::{
    cli::{softalign, texts},
    common::{
        self,
        generation::{model, sources},
        training::{bits, refusal},
    },
};

/// The names of the cases in a folder, and the map of each.
fn cases(folder: &Path) -> Vec<(String, Option<PathBuf>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files.filter_map(|file| Some(file.strip_suffix(".case.safetensors")?.to_owned())).collect();
    names.sort();
    let map = |name: &String| Some(folder.join(format!("{name}.json"))).filter(|path| path.is_file());
    names.iter().map(|name| (name.clone(), map(name))).collect()
}

/// Reads each `state_dict` of a folder, holds what it gives to what PyTorch says, and writes it again, `NAME.back.safetensors` in `out`.
fn assert_read_applied_and_written(folder: &Path, out: &Path) {
    let cases = cases(folder);
    assert_eq!(cases.len(), 7);
    for (name, map) in cases {
        let file = folder.join(format!("{name}.safetensors"));
        let model = TokenModel::import_state_dict(common::gpu(), &file, map.as_deref())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let network = network_of_state_dict(&file, map.as_deref()).unwrap();
        assert_eq!(network.parameters(), model.network.parameters(), "{name}");
        assert_gives(&name, &model, &fs::read(folder.join(format!("{name}.case.safetensors"))).unwrap());
        let back = out.join(format!("{name}.back.safetensors"));
        model.export_state_dict(&back, map.as_deref()).unwrap();
        let [theirs, ours] = [&file, &back].map(|path| bits(path));
        assert!(ours == theirs, "{name}: {:?}, read from {:?}", ours.keys(), theirs.keys());
        let again = model.export_state_dict(&back, None);
        assert!(refusal(again).contains("is there already"), "{name}");
    }
}

/// Holds a model to a case: the logits of its targets, or the states of its sources as far as they go.
fn assert_gives(name: &str, model: &TokenModel, case: &[u8]) {
    let case = SafeTensors::deserialize(case).unwrap();
    let shape = |tensor: &str| case.tensor(tensor).unwrap().shape().to_vec();
    let words = |tensor: &str| case.tensor(tensor).unwrap().data().as_chunks::<4>().0.to_vec();
    let lengths: Vec<u32> = words("lengths").into_iter().map(u32::from_le_bytes).collect();
    let pairs = case.names().contains(&"target_in");
    let source = shape(if case.names().contains(&"source") { "source" } else { "features" })[1];
    let target = if pairs { shape("target_in")[1] } else { 0 };
    let mut layers = Layers::new();
    let shape_of_batch = BatchShape::new(lengths.len(), source, target);
    let given = match pairs {
        true => model.network.forward(&mut layers, shape_of_batch).unwrap().logits,
        false => model.network.states(&mut layers, shape_of_batch).unwrap(),
    };
    let options =
        ProgramOptions { parameters: Some(&model.parameters), outputs: &[given], ..ProgramOptions::default() };
    let mut program = Program::compile(&model.gpu, &layers.graph, &options).unwrap();
    for input in case.names().into_iter().filter(|input| *input != "out") {
        program.write(input, &words(input).into_iter().map(u32::from_le_bytes).collect::<Vec<_>>()).unwrap();
    }
    program.run(Step::default()).unwrap();
    let found: Vec<f32> = program.read(given).unwrap();
    let expected: Vec<f64> = words("out").into_iter().map(|word| f32::from_le_bytes(word).into()).collect();
    assert_eq!(found.len(), expected.len(), "{name}");
    let [_, steps, features] = shape("out")[..] else { panic!("{name}") };
    for (row, length) in lengths.iter().enumerate() {
        let valid = row * steps * features..(row * steps + if pairs { steps } else { *length as usize }) * features;
        common::assert_close("given", &(name, row), &found[valid.clone()], &expected[valid], 2e-5);
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/state_dict")
}

#[test]
fn what_pytorch_has_written_is_read_applied_and_written() {
    let out = tempfile::tempdir().unwrap();
    assert_read_applied_and_written(&golden(), out.path());
}

/// PyTorch itself makes cases of other values, and loads what comes back with `strict=True`.
#[test]
#[ignore = "SOFTALIGN_PYTORCH must name a Python that has torch, numpy and safetensors"]
fn pytorch_loads_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/on_demand/state_dict.py");
    let python = std::env::var("SOFTALIGN_PYTORCH").expect("SOFTALIGN_PYTORCH names no Python");
    let run = |command: &str| {
        let output = Command::new(&python).arg(&script).args([command]).arg(folder.path()).arg("7").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run("make");
    assert_read_applied_and_written(folder.path(), folder.path());
    assert_eq!(run("check").lines().count(), 7);
}

/// The parameters of a model folder are such a file already, and what stands beside them says the rest.
#[test]
fn a_default_model_comes_back_whole() {
    for (readout, layers) in [(Readout::Tanh, 2), (Readout::None, 1)] {
        let own = model(14, 9, 100, readout, layers, 3);
        let folder = tempfile::tempdir().unwrap();
        own.save(folder.path()).unwrap();
        let file = folder.path().join("weights.safetensors");
        own.export_state_dict(&file, None).unwrap();
        let again = Model::import_state_dict(common::gpu(), &file, None).unwrap();
        assert_eq!(again.network.parameters(), own.network.parameters());
        again.save(folder.path().join("again")).unwrap();
        let [before, after] = ["", "again"].map(|name| bits(&folder.path().join(name).join("model.safetensors")));
        assert!(before == after);
        assert!(again.source.is_same(&own.source) && again.target.is_same(&own.target));
        fs::remove_file(folder.path().join("target.tokenizer.json")).unwrap();
        let message = refusal(Model::import_state_dict(common::gpu(), &file, None));
        assert!(message.contains("target.tokenizer.json"), "{message}");
    }
}

/// What a link leads to was there before it, and is nobody's to write over.
#[cfg(unix)]
#[test]
fn what_is_there_is_not_written_over() {
    let own = model(14, 9, 100, Readout::None, 1, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("kept.txt"), "kept").unwrap();
    fs::create_dir(path("folder.safetensors")).unwrap();
    for (to, link) in [("kept.txt", "link.safetensors"), ("nothing", "loose.safetensors")] {
        std::os::unix::fs::symlink(path(to), path(link)).unwrap();
    }
    for name in ["kept.txt", "folder.safetensors", "link.safetensors", "loose.safetensors"] {
        let message = refusal(own.export_state_dict(path(name), None));
        assert!(message.contains(name) && message.contains("is there already"), "{message}");
    }
    assert_eq!(fs::read_to_string(path("kept.txt")).unwrap(), "kept");
    assert!(!path("nothing").exists());
    own.export_state_dict("/dev/null", None).unwrap();
}

/// An encoder-decoder whose vocabularies number their special tokens in two ways, as a map says, in a folder with it.
struct Mapped {
    folder: TempDir,
    map: Value,
}

impl Mapped {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = sutskever::Config { embedding: 5, hidden: 7, ..sutskever::Config::new(6, 7) };
        let letters = ["<pad>", "<unk>", "</s>", "a", "b", "c"];
        let sounds = ["<pad>", "<unk>", "<s>", "</s>", "AA", "B", "K"];
        let list = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect();
        let none = u32::MAX;
        let of_source = Specials { pad: 0, unk: 1, eos: 2, bos: none };
        let of_target = Specials { pad: 0, unk: 1, bos: 2, eos: 3 };
        let source = Tokenizer::listed(&TokenUnit::Chars, list(&letters), of_source).unwrap();
        let target = Tokenizer::listed(&TokenUnit::Words, list(&sounds), of_target).unwrap();
        let model = Model::new(common::gpu(), Sutskever::new(config).unwrap(), source, target, 4).unwrap();
        let map = json!({
            "architecture": "sutskever",
            "max_length": 40,
            "names": {"encoder": "enc", "encoder.gru": "reader", "output.bias": "b"},
            "source": {"unit": "chars", "tokens": letters, "eos": "</s>"},
            "target": {"unit": "words", "tokens": sounds, "bos": "<s>", "eos": "</s>"},
        });
        fs::write(folder.path().join("map.json"), map.to_string()).unwrap();
        model
            .export_state_dict(folder.path().join("weights.safetensors"), Some(&folder.path().join("map.json")))
            .unwrap();
        Self { folder, map }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is said of the file with another map.
    fn refused(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut map = self.map.clone();
        change(&mut map);
        fs::write(self.path("other.json"), map.to_string()).unwrap();
        let file = self.path("weights.safetensors");
        refusal(Model::import_state_dict(common::gpu(), file, Some(&self.path("other.json"))))
    }
}

#[test]
fn a_map_gives_names_and_vocabularies() {
    let case = Mapped::new();
    let (file, map) = (case.path("weights.safetensors"), case.path("map.json"));
    let names: Vec<_> = bits(&file).into_keys().collect();
    for name in ["enc.embedding.weight", "reader.weight_ih_l0", "decoder.gru.bias_hh_l0", "output.weight", "b"] {
        assert!(names.iter().any(|one| one == name), "{name} is not among {names:?}");
    }
    let model = Model::import_state_dict(common::gpu(), &file, Some(&map)).unwrap();
    assert_eq!(model.network.limits().max_length, 40);
    // Past the limit of a character, `<s>` in a text is text.
    assert_eq!(model.encode("abz").unwrap(), [3, 4, 1, 2]);
    assert_eq!(model.target.encode("AA K </s> Z").unwrap(), [4, 6, 1, 1]);
    assert_eq!(model.target.decode(&[2, 4, 6, 3]), "AA K");
    let sources = sources(3, 6, 9);
    let options = SearchOptions { max_length: Some(12), ..SearchOptions::default() };
    let texts = Generator::new(&model).generate(&sources, &options).unwrap();
    model.save(case.path("kept")).unwrap();
    let kept = Model::load(common::gpu(), case.path("kept")).unwrap();
    assert_eq!(Generator::new(&kept).generate(&sources, &options).unwrap(), texts);
    assert_eq!(kept.encode("abz").unwrap(), [3, 4, 1, 2]);
    let out = case.path("own.safetensors");
    kept.export_state_dict(&out, None).unwrap();
    let own: Vec<_> = model.network.parameters().into_iter().map(|one| one.name).collect();
    assert!(own.iter().all(|name| read_tensors(&out).unwrap().contains_key(name)));
}

/// One vocabulary for both sides brings its special tokens to both, also through a folder.
#[test]
fn a_map_of_one_vocabulary_gives_it_to_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let tokens = ["<pad>", "<unk>", "<s>", "</s>", "AA", "B"];
    let specials = Specials { pad: 0, unk: 1, bos: 2, eos: 3 };
    let words = Tokenizer::listed(&TokenUnit::Words, tokens.map(str::to_owned).to_vec(), specials).unwrap();
    let config = sutskever::Config { embedding: 5, hidden: 7, specials, ..sutskever::Config::new(6, 6) };
    let own = Model::new(common::gpu(), Sutskever::new(config).unwrap(), words.clone(), words, 4).unwrap();
    own.export_state_dict(path("one.safetensors"), None).unwrap();
    let map = json!({
        "architecture": "sutskever",
        "target": {"unit": "words", "tokens": tokens, "bos": "<s>", "eos": "</s>"},
    });
    fs::write(path("one.json"), map.to_string()).unwrap();
    let model = Model::import_state_dict(common::gpu(), path("one.safetensors"), Some(&path("one.json"))).unwrap();
    model.save(path("one")).unwrap();
    let kept = Model::load(common::gpu(), path("one")).unwrap();
    assert_eq!(kept.encode("AA B").unwrap(), [4, 5, 3]);
    let options = SearchOptions { max_length: Some(6), ..SearchOptions::default() };
    let [wanted, found] = [&own, &kept].map(|model| Generator::new(model).generate(&[vec![4, 5, 3]], &options));
    assert_eq!(found.unwrap(), wanted.unwrap());
}

#[test]
fn what_is_wrong_with_a_map_is_said() {
    let case = Mapped::new();
    type Change = fn(&mut Value);
    let changes: [(Change, &[&str]); 14] = [
        (|map| map["architecture"] = json!("bahdanau"), &["other.json", "special tokens", "as 0 to 3"]),
        (|map| map["architecture"] = json!("perceptron"), &["other.json", "`perceptron`", "sutskever"]),
        (|map| map["hiden"] = json!(7), &["other.json", "`hiden`"]),
        (|map| map["max_length"] = json!(0), &["other.json", "max_length is 0"]),
        (|map| map["hidden"] = json!(9), &["weights.safetensors", "has shape", "the model asks for [27, 5]"]),
        (|map| map["names"] = json!({}), &["weights.safetensors", "`encoder.embedding.weight` is missing"]),
        (|map| map["names"]["encoder.gru"] = json!("writer"), &["weights.safetensors", "writer.weight_ih_l0"]),
        (|map| map["source"]["tokens"] = json!(["<pad>", "a", "a"]), &["other.json", "`</s>` is not among the tokens"]),
        (|map| map["source"]["tokens"][4] = json!("a"), &["other.json", "`a` is there twice"]),
        (
            |map| map["source"]["tokens"].as_array_mut().unwrap().push(json!("d")),
            &["weights.safetensors", "6 tokens", "has 7"],
        ),
        (|map| map["source"]["unit"] = json!("bpe:9"), &["other.json", "`bpe:9`"]),
        (|map| map["target"]["eos"] = json!("<end>"), &["other.json", "`<end>`"]),
        (|map| map["target"] = json!({"unit": "words"}), &["other.json", "tokenizer.json", "`tokens`"]),
        (|map| map["target"] = json!({"tokenizer": "none.json"}), &["none.json"]),
    ];
    for (change, parts) in changes {
        let message = case.refused(change);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }
    let names: [(Change, &str); 3] = [
        (|map| map["names"]["decoder.gru"] = json!("reader"), "`names` calls two parameters `reader.weight_ih_l0`"),
        (|map| map["names"]["decoder.embedding"] = json!("enc.embedding"), "two parameters `enc.embedding.weight`"),
        (|map| map["names"]["encoder.gr"] = json!("reader"), "`names` has `encoder.gr`, which is no parameter"),
    ];
    let model = Model::import_state_dict(common::gpu(), case.path("weights.safetensors"), Some(&case.path("map.json")))
        .unwrap();
    for (change, part) in names {
        let read = case.refused(change);
        let written = refusal(model.export_state_dict(case.path("none.safetensors"), Some(&case.path("other.json"))));
        for message in [read, written] {
            assert!(message.contains("other.json") && message.contains(part), "{part}: {message}");
        }
    }
    let message = case.refused(|map| {
        let map = map.as_object_mut().unwrap();
        map.remove("source");
        map.remove("target");
    });
    assert!(message.contains("other.json") && message.contains("says nothing of tokens"), "{message}");
    // An architecture whose sizes no shapes tell is told all, as its configuration has it.
    let message = case.refused(|map| map["architecture"] = json!("luong"));
    assert!(message.contains("other.json") && message.contains("`source_specials`"), "{message}");
    let file = case.path("weights.safetensors");
    for (name, bytes) in
        [("half.safetensors", fs::read(&file).unwrap()[..900].to_vec()), ("text.safetensors", b"{}".to_vec())]
    {
        fs::write(case.path(name), bytes).unwrap();
        let message = refusal(Model::import_state_dict(common::gpu(), case.path(name), Some(&case.path("map.json"))));
        assert!(message.contains(name) && message.contains("not a whole safetensors file"), "{message}");
    }
    fs::write(case.path("model.pt"), b"PK\x03\x04 and what else torch.save writes").unwrap();
    let message = refusal(Model::import_state_dict(common::gpu(), case.path("model.pt"), Some(&case.path("map.json"))));
    assert!(message.contains("model.pt") && message.contains("zip") && message.contains("save_file"), "{message}");
    fs::write(case.path("other.json"), "{").unwrap();
    let message = refusal(Model::import_state_dict(common::gpu(), &file, Some(&case.path("other.json"))));
    assert!(message.contains("other.json") && message.contains("not a map"), "{message}");
}

#[test]
fn the_commands_do_it() {
    let case = Mapped::new();
    let path = |name: &str| case.path(name).display().to_string();
    let run = |arguments: &[&str]| softalign(arguments).output().unwrap();
    let output = run(&["import", &path("weights.safetensors"), "--map", &path("map.json"), "--out", &path("model")]);
    assert!(output.status.success() && texts(&output).1.contains("sutskever of"), "{output:?}");
    let output = run(&["generate", &path("model"), "--max-length", "5", "-q", "abc"]);
    assert!(output.status.success() && texts(&output).0.lines().count() == 1, "{output:?}");
    let output = run(&["export", &path("model"), "--map", &path("map.json"), "--out", &path("back.safetensors")]);
    assert!(output.status.success(), "{output:?}");
    assert!(bits(&case.path("back.safetensors")) == bits(&case.path("weights.safetensors")));
    for (arguments, part) in [
        (
            vec!["import", &path("weights.safetensors"), "--out", &path("none")],
            "`encoder.embedding.weight` is missing; without --map it is read as the default model's",
        ),
        (vec!["import", &path("model"), "--map", &path("map.json"), "--out", &path("none")], "is a folder"),
        (
            vec!["import", &path("nothing.safetensors"), "--map", &path("map.json"), "--out", &path("none")],
            "nothing.safetensors",
        ),
        (vec!["export", &path("model"), "--map", &path("map.json"), "--out", &path("none")], "--map"),
        (vec!["export", &path("model"), "--out", &path("none")], "has no counterpart"),
    ] {
        let output = run(&arguments);
        assert!(!output.status.success() && texts(&output).1.contains(part), "{part}: {output:?}");
        assert!(!case.path("none").exists());
    }
}

/// A stack of modules is a folder too: of an encoder alone where it reads tokens.
#[test]
fn stacks_are_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let of_golden = |name: &str| golden().join(name).display().to_string();
    let run = |arguments: &[&str]| softalign(arguments).output().unwrap();
    let map = fs::read_to_string(golden().join("stack_of_tokens.json")).unwrap();
    let mut map: Value = serde_json::from_str(&map).unwrap();
    let tokens = ["<pad>", "<bos>", "<eos>", "<unk>", "a", "b", "c", "d", "e", "f", "g"];
    map["source"] = json!({"unit": "chars", "tokens": tokens});
    fs::write(path("map.json"), map.to_string()).unwrap();
    let file = of_golden("stack_of_tokens.safetensors");
    assert!(run(&["import", &file, "--map", &path("map.json"), "--out", &path("tokens")]).status.success());
    let output = run(&["embed", &path("tokens"), "-q", "abc", "gz"]);
    let numbers = texts(&output).0.lines().map(|line| line.split(' ').count()).collect::<Vec<_>>();
    assert_eq!(numbers, [5, 5], "{output:?}");
    let output = run(&["generate", &path("tokens"), "abc"]);
    assert!(!output.status.success() && texts(&output).1.contains("writes no text"), "{output:?}");

    let [file, map] = ["bare_gru.safetensors", "bare_gru.json"].map(of_golden);
    let output = run(&["import", &file, "--map", &map, "--out", &path("features")]);
    assert!(output.status.success() && texts(&output).1.contains("0 tokens"), "{output:?}");
    assert!(run(&["export", &path("features"), "--map", &map, "--out", &path("back.safetensors")]).status.success());
    assert!(bits(Path::new(&file)) == bits(Path::new(&path("back.safetensors"))));
    let refused = Model::import_state_dict(common::gpu(), &file, Some(Path::new(&map)));
    assert!(refusal(refused).contains("of features and not of tokens"));
}

#[test]
fn stacks_that_are_none_are_refused() {
    let linear = |name: &str, inputs, outputs| Module::Linear {
        name: name.to_owned(),
        in_features: inputs,
        out_features: outputs,
        bias: true,
    };
    let words = |name: &str| Module::Embedding { name: name.to_owned(), num_embeddings: 9, embedding_dim: 4 };
    let attention = Module::MultiheadAttention { name: "a".into(), embed_dim: 4, num_heads: 3, bias: true };
    for (layers, parts) in [
        (vec![], ["number of layers", "0"]),
        (vec![words("a"), linear("b", 5, 4)], ["`b` reads 5 features", "`a` below it gives 4"]),
        (vec![linear("a", 5, 4), words("b")], ["`b` reads tokens", "`a`"]),
        (vec![linear("a", 4, 4), linear("a", 4, 4)], ["two layers", "`a`"]),
        (vec![attention], ["heads", "divide"]),
        (vec![linear("a", 4, 0)], ["out_features", "0"]),
    ] {
        let message = refusal(Stack::new(Config::new(layers)));
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let stack = Stack::new(Config::new(vec![words("a"), linear("b", 4, 3)])).unwrap();
    let network: softalign::model::Network = stack;
    let again = Kind::read(&network.config().unwrap(), "config.json").unwrap();
    assert_eq!(again.parameters(), network.parameters());
    assert!(
        refusal(network.forward(&mut Layers::new(), BatchShape::new(1, 1, 1))).contains("learns and answers nothing")
    );
    let made = Kind::named("stack").unwrap().make(&Default::default(), [9, 9]);
    assert!(refusal(made).contains("is not trained here"));
    let message = refusal(TokenModel::import_state_dict(
        common::gpu(),
        golden().join("bare_gru.safetensors"),
        Some(&golden().join("default_tied.json")),
    ));
    assert!(
        message.contains("bare_gru.safetensors") && message.contains("`encoder.embedding.weight` is missing"),
        "{message}"
    );
}

/// The phonemes that the PyPI package g2p-en writes, and how sure it is of them.
#[test]
#[ignore = "SOFTALIGN_G2P_EN must name checkpoint20.npz of the PyPI package g2p-en 2.1.0 as a safetensors file, made as the guide says"]
fn spells_words_as_g2p_en_does() {
    let file = PathBuf::from(std::env::var_os("SOFTALIGN_G2P_EN").expect("SOFTALIGN_G2P_EN names no file"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = Model::import_state_dict(common::gpu(), &file, Some(&root.join("examples/g2p-en.json"))).unwrap();
    let table = fs::read_to_string(root.join("tests/golden/on_demand/g2p_en.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 250);
    let sources: Vec<_> = rows.iter().map(|row| model.encode(row[0]).unwrap()).collect();
    let options = SearchOptions { max_length: Some(20), ..SearchOptions::default() };
    for (row, found) in rows.iter().zip(Generator::new(&model).generate(&sources, &options).unwrap()) {
        let expected: f32 = row[2].parse().unwrap();
        assert_eq!(model.target.decode(&found[0].tokens), row[1], "{}", row[0]);
        assert!((found[0].score - expected).abs() < 2e-4, "{}: {}, expected {expected}", row[0], found[0].score);
    }
}
