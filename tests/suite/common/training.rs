//! Runs and models that are small enough to train in a test.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use softalign::{
    Error, Gpu, Result,
    model::{
        Model, Regularisation,
        bahdanau::{Bahdanau, Config},
        read_tensors,
    },
    text::{Batch, BatchSize, Buckets, TokenUnit, Tokenizer, encode_pairs, numbers::number_words, read_tsv},
    train::{Budget, Data, Destination, Optimizer, Outcome, TrainOptions, Trainer, train},
};
use tempfile::TempDir;

/// Numbers below 1,000, of which few tests need many: 60 to learn from, 6 to check with.
pub struct Setting {
    pub folder: TempDir,
    pub options: TrainOptions,
}

/// A line for each number.
pub fn lines(numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|n| format!("{n}\t{}\n", number_words(n))).collect()
}

impl Setting {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (train, valid) = (folder.path().join("train.tsv"), folder.path().join("valid.tsv"));
        fs::write(&train, lines((0..60).map(|i| i * 37 % 1000))).unwrap();
        fs::write(&valid, lines((0..6).map(|i| (i * 191 + 5) % 1000))).unwrap();
        let options = TrainOptions {
            target_unit: TokenUnit::Words,
            max_length: 8,
            batch: 16,
            embedding: 8,
            hidden: 16,
            dropout: 0.2,
            label_smoothing: 0.1,
            ..TrainOptions::new(Data::Files { train, valid })
        };
        Self { folder, options }
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// So many steps and no other limit.
pub fn steps(steps: u64) -> Budget {
    Budget { steps: Some(steps), ..Budget::default() }
}

/// So many epochs and no other limit.
pub fn epochs(epochs: u64) -> Budget {
    Budget { epochs: Some(epochs), ..Budget::default() }
}

/// Trains to its end.
pub fn run(options: &TrainOptions, steps_wanted: u64, out: &Path) -> Result<Outcome> {
    train(
        super::gpu(),
        options,
        steps(steps_wanted),
        Destination { folder: out, overwrite: false },
        &|| false,
        &mut |_| {},
    )
}

/// As [`run`], but told to stop after `after` steps.
pub fn stopped(options: &TrainOptions, steps_wanted: u64, out: &Path, after: u64) -> Outcome {
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() == after
    };
    train(super::gpu(), options, steps(steps_wanted), Destination { folder: out, overwrite: false }, &stop, &mut |_| {})
        .unwrap()
}

/// Shape and bits of each tensor by name.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<u32>)>;

/// The bits of every tensor of a file.
pub fn bits(path: &Path) -> Tensors {
    let tensors = read_tensors(path).unwrap();
    tensors
        .into_iter()
        .map(|(name, (shape, values))| (name, (shape, values.into_iter().map(f32::to_bits).collect())))
        .collect()
}

/// Those of the model and of the checkpoint.
pub fn state(out: &Path) -> [Tensors; 2] {
    ["model.safetensors", "checkpoint.safetensors"].map(|name| bits(&out.join(name)))
}

/// Writes parameters anew without metadata, as other programs do: what stands beside them may then change.
pub fn forget_checksums(model: &Path) {
    let path = model.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    fs::write(&path, safetensors::serialize(file.tensors(), None).unwrap()).unwrap();
}

/// The error of a file or folder that cannot be used, in words.
pub fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(error @ (Error::Data { .. } | Error::Io { .. })) => error.to_string(),
        other => panic!("not refused as bad data: {other:?}"),
    }
}

/// A model and batches, without a folder.
pub struct Tiny {
    pub model: Model,
    pub buckets: Buckets,
}

/// A model and batches of `rows` rows, without a folder.
pub fn tiny(gpu: &Gpu, setting: &Setting, rows: usize) -> Tiny {
    let Data::Files { train, .. } = &setting.options.data else { unreachable!() };
    let pairs = read_tsv(train).unwrap();
    let source = Tokenizer::train(&TokenUnit::Chars, pairs.iter().map(|pair| pair.source.as_str()), None).unwrap();
    let target = Tokenizer::train(&TokenUnit::Words, pairs.iter().map(|pair| pair.target.as_str()), None).unwrap();
    let examples = encode_pairs("numbers", &pairs, &source, &target, 8).unwrap();
    let buckets = Buckets::new(examples, BatchSize::Sentences(rows), 2).unwrap();
    let config = Config {
        embedding: 8,
        hidden: 16,
        attention: 16,
        readout_size: 16,
        max_length: 8,
        ..Config::new(source.size(), target.size())
    };
    Tiny { model: Model::new(gpu, Bahdanau::new(config).unwrap(), source, target, 1).unwrap(), buckets }
}

impl Tiny {
    pub fn trainer(&self) -> Trainer {
        let optimizer = Optimizer { clip_norm: Some(1.0), ..Optimizer::default() };
        let Model { gpu, network, parameters, .. } = &self.model;
        Trainer::new(gpu, network.clone(), parameters, optimizer, Regularisation::default()).unwrap()
    }

    pub fn batch(&self) -> Batch {
        self.buckets.batch(&self.buckets.in_order()[0])
    }
}
