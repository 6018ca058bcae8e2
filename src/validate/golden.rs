//! Cases that another engine computed: safetensors files with inputs (`in.*`), parameters (`param.*`), outputs (`out.*`),
//! upstream gradients (`up.*`) and gradients (`grad.*`), as PyTorch in f64 made those in this crate's tests. A file's name
//! up to its first suffix is the operation.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod adaptive_span;
mod attention;
mod convs2s;
mod family;
mod generated;
mod hugging_face;
mod luong;
mod model;
mod reformer;
mod relative_position_bias;
mod segments;
mod sliding_window_attention;
mod transformer_xl;

use std::{collections::HashMap, path::Path};

use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

use super::relative_error;
use crate::{
    Error, Gpu, Result, files,
    gpu::Dtype,
    graph::{Epilogue, Graph, GruWeights, Program, ProgramOptions, Value},
    kernels::Step,
    model::bahdanau::{Bahdanau, Config, Readout},
};
use model::training_step;

/// The comparison of one tensor of a file. With feature `train` as well.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenRow {
    /// The file's stem.
    pub file: String,
    /// The tensor's name in the file.
    pub tensor: String,
    /// The largest difference, relative to the tensor's largest value.
    pub error: f64,
    /// The largest error that passes.
    pub tolerance: f64,
    /// Whether it passes.
    pub passed: bool,
}

/// What the cases of a folder gave. With feature `train` as well.
#[derive(Debug)]
pub struct Golden {
    /// The tensors of all files that are cases, in the order of names.
    pub rows: Vec<GoldenRow>,
    /// Why the others are none, an [`Error::Data`] for each: it is damaged, incomplete, of an unknown operation, or of shapes and settings
    /// that its operation does not take.
    pub refused: Vec<Error>,
}

impl Golden {
    /// Whether every file is a case, and all its tensors agree.
    pub fn passed(&self) -> bool {
        self.refused.is_empty() && self.rows.iter().all(|row| row.passed)
    }
}

/// Relative to the tensor's largest value. The files hold f32, so 6e-8 is the least that can be asked; what is computed passes
/// through up to a few hundred f32 operations in a row.
const TOLERANCE: f64 = 1e-5;

/// For the bias of the keys' projection: its gradient sums what the softmax's backward has made, which cancels to about a
/// hundredth of its terms (a bias common to all scores changes nothing), so rounding weighs as much more.
const KEY_BIAS_TOLERANCE: f64 = 5e-5;

/// For the gradients of models whose scores nothing scales, by the beginnings of their files' names. In f64 parameters off by an ulp,
/// which is all that f32 knows of them, move those of T5's cases, whose scores reach 39, by up to 5.5e-6, and those of the
/// convolutional model's, whose scores reach 59, by 3.5e-5; and a pass rounds several times as often.
const UNSCALED: [(&str, f64); 2] = [("convs2s", 1e-4), ("t5", 3e-5)];

/// Runs every `*.safetensors` file of a folder, in the order of names. With feature `train` as well.
///
/// # Errors
/// [`Error::Data`] for a folder without such files, and what else the device or the disk reports. A wrong result is a row that has not
/// passed, and a file that is no case is among those refused.
pub fn golden(gpu: &Gpu, folder: &Path) -> Result<Golden> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(Error::io(folder))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    if paths.is_empty() {
        return Err(Error::data(folder.display().to_string(), "holds no .safetensors files"));
    }
    let mut golden = Golden { rows: Vec::new(), refused: Vec::new() };
    for path in paths {
        let name = path.display().to_string();
        match case(gpu, &path) {
            Ok(rows) => golden.rows.extend(rows),
            Err(error @ Error::Data { .. }) if error.to_string().starts_with(&name) => golden.refused.push(error),
            // Operations and models do not know of which file they are.
            Err(error @ (Error::Data { .. } | Error::Shape { .. } | Error::Limit { .. })) => {
                golden.refused.push(Error::data(name, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(golden)
}

/// The tensors of one file.
fn case(gpu: &Gpu, path: &Path) -> Result<Vec<GoldenRow>> {
    let file = File::read(path)?;
    let operation = OPERATIONS.iter().find(|(name, _)| file.stem.starts_with(name));
    let (_, run) = operation.ok_or_else(|| file.wrong("no operation is called like the beginning of its name"))?;
    run(&file, gpu)
}

/// Runs one file's case.
type Operation = fn(&File, &Gpu) -> Result<Vec<GoldenRow>>;

/// Operations and models by the beginning of their files' names.
const OPERATIONS: &[(&str, Operation)] = &[
    ("adaptive_span", adaptive_span::adaptive_span),
    ("additive_attention", additive_attention),
    ("bart", hugging_face::hugging_face),
    ("bert", hugging_face::hugging_face),
    ("cached_attention", attention::cached_attention),
    ("conv1d", family::conv1d),
    ("convs2s", convs2s::convs2s),
    ("dot_product_attention", dot_product_attention),
    ("gelu", family::gelu),
    ("glu", family::glu),
    ("gpt2", hugging_face::hugging_face),
    ("gru", gru),
    ("layer_norm", family::layer_norm),
    ("longformer", hugging_face::hugging_face),
    ("lsh_attention", attention::lsh_attention),
    ("luong", luong::luong),
    ("marian", hugging_face::hugging_face),
    ("matmul", matmul),
    ("reformer", reformer::reformer),
    ("relative_attention", attention::relative_attention),
    ("relative_position_bias", relative_position_bias::relative_position_bias),
    ("rms_norm", family::rms_norm),
    ("roberta", hugging_face::hugging_face),
    ("seq2seq_step", seq2seq_step),
    ("sinusoidal_positions", family::sinusoidal_positions),
    ("sliding_window_attention", sliding_window_attention::sliding_window_attention),
    ("span_attention", attention::span_attention),
    ("t5", hugging_face::hugging_face),
    ("transformer_xl", transformer_xl::transformer_xl),
];

struct File {
    stem: String,
    path: String,
    metadata: HashMap<String, String>,
    floats: HashMap<String, (Vec<usize>, Vec<f64>)>,
    integers: HashMap<String, (Vec<usize>, Vec<u32>)>,
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path)?;
        let name = path.display().to_string();
        let damaged =
            |error: safetensors::SafeTensorError| Error::data(&name, format!("not a whole safetensors file ({error})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let mut file = Self {
            stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            metadata: header.metadata().clone().unwrap_or_default(),
            floats: HashMap::new(),
            integers: HashMap::new(),
            path: name.clone(),
        };
        for (tensor, view) in SafeTensors::deserialize(&bytes).map_err(damaged)?.tensors() {
            let (words, _) = view.data().as_chunks::<4>();
            let shape = view.shape().to_vec();
            match view.dtype() {
                safetensors::Dtype::F32 => {
                    let values = words.iter().map(|word| f64::from(f32::from_le_bytes(*word))).collect();
                    file.floats.insert(tensor, (shape, values));
                }
                safetensors::Dtype::I32 => {
                    let values = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
                    file.integers.insert(tensor, (shape, values));
                }
                other => return Err(file.wrong(&format!("tensor `{tensor}` is {other:?}; cases hold F32 and I32"))),
            }
        }
        Ok(file)
    }

    fn wrong(&self, message: &str) -> Error {
        Error::data(&self.path, message)
    }

    fn float(&self, name: &str) -> Result<&(Vec<usize>, Vec<f64>)> {
        self.floats.get(name).ok_or_else(|| self.wrong(&format!("tensor `{name}` is missing")))
    }

    fn integer(&self, name: &str) -> Result<&(Vec<usize>, Vec<u32>)> {
        self.integers.get(name).ok_or_else(|| self.wrong(&format!("tensor `{name}` is missing")))
    }

    fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let shape = match self.floats.get(name) {
            Some((shape, _)) => shape,
            None => &self.integer(name)?.0,
        };
        let found =
            <[usize; N]>::try_from(shape.as_slice()).ok().filter(|shape| shape.iter().all(|extent| *extent > 0));
        found.ok_or_else(|| self.wrong(&format!("tensor `{name}` has shape {shape:?}; {N} extents are wanted")))
    }

    fn setting<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.metadata.get(name) else { return Ok(default) };
        // Python writes True and False.
        text.to_lowercase().parse().map_err(|_| self.wrong(&format!("setting `{name}` is `{text}`")))
    }

    /// A setting that is one of an enumeration's names.
    fn named<T: DeserializeOwned>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.metadata.get(name) else { return Ok(default) };
        serde_json::from_value(text.as_str().into()).map_err(|_| self.wrong(&format!("setting `{name}` is `{text}`")))
    }

    fn row(&self, tensor: &str, values: &[f32], reference: &[f64]) -> GoldenRow {
        self.row_beside(tensor, values, reference, 0.0)
    }

    /// The row of a tensor whose errors are those of terms as large as `terms`, if it has none so large itself.
    fn row_beside(&self, tensor: &str, values: &[f32], reference: &[f64], terms: f64) -> GoldenRow {
        let error =
            if values.len() == reference.len() { relative_error(values, reference, terms) } else { f64::INFINITY };
        let unscaled = UNSCALED.iter().find(|(name, _)| self.stem.starts_with(name));
        let tolerance = match (tensor.strip_prefix("grad."), unscaled) {
            (Some(_), Some((_, tolerance))) => *tolerance,
            (Some(name), None) if name.ends_with("key.bias") => KEY_BIAS_TOLERANCE,
            _ => TOLERANCE,
        };
        let passed = error <= tolerance;
        GoldenRow { file: self.stem.clone(), tensor: tensor.into(), error, tolerance, passed }
    }

    /// Makes an input or a parameter of the graph for a tensor of the file.
    fn value(&self, graph: &mut Graph, name: &str) -> Result<Value> {
        match self.integers.get(name) {
            Some((shape, _)) => Ok(graph.input(name, shape.as_slice(), Dtype::U32)),
            None => Ok(graph.input(name, self.float(name)?.0.as_slice(), Dtype::F32)),
        }
    }

    /// Runs a graph of this file's tensors and compares `outputs` and the gradients of `inputs` under upstream gradients.
    fn compare(
        &self,
        gpu: &Gpu,
        mut graph: Graph,
        outputs: &[(&str, Value)],
        upstream: &[(Value, Value)],
        inputs: &[(String, Value)],
    ) -> Result<Vec<GoldenRow>> {
        let wanted: Vec<_> = inputs.iter().map(|(_, value)| *value).collect();
        let gradients = graph.gradients_from(upstream, &wanted)?;
        let mut kept: Vec<_> = outputs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let names = inputs.iter().map(|(name, _)| match name.split_once('.') {
            Some((_, rest)) => format!("grad.{rest}"),
            None => name.clone(),
        });
        kept.extend(names.zip(gradients));
        let values: Vec<_> = kept.iter().map(|(_, value)| *value).collect();
        let options = ProgramOptions { label: self.stem.clone(), outputs: &values, ..ProgramOptions::default() };
        let mut program = Program::compile(gpu, &graph, &options)?;
        for name in program.inputs().map(str::to_owned).collect::<Vec<_>>() {
            match self.integers.get(&name) {
                Some((_, values)) => program.write(&name, values)?,
                None => program.write(&name, &narrow(&self.float(&name)?.1))?,
            }
        }
        program.run(Step::default())?;
        let mut rows = Vec::new();
        for (name, value) in kept {
            // A value that stands for a part of a tensor names it `tensor#part`.
            let (tensor, part) = name.split_once('#').unwrap_or((&name, "0"));
            let values: Vec<f32> = program.read(value)?;
            let reference = &self.float(tensor)?.1;
            let start = part.parse::<usize>().unwrap_or(0) * values.len();
            rows.push(self.row(&name, &values, reference.get(start..start + values.len()).unwrap_or(&[])));
        }
        Ok(rows)
    }
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// The values and the reference where `kept` says so. If they are not as many, all of them, which then differ.
fn among(values: Vec<f32>, reference: &[f64], kept: impl Iterator<Item = bool>) -> (Vec<f32>, Vec<f64>) {
    let kept: Vec<_> = kept.collect();
    if values.len() != reference.len() || values.len() != kept.len() {
        return (values, Vec::new());
    }
    let pairs = values.into_iter().zip(reference.iter().copied()).zip(kept);
    pairs.filter_map(|(pair, kept)| kept.then_some(pair)).unzip()
}

fn matmul(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let [a, b, bias, up] = ["in.a", "in.b", "in.bias", "up.y"].map(|name| file.value(&mut graph, name));
    let (a, b, bias, up) = (a?, b?, bias?, up?);
    let y = graph.matmul(a, false, b, false, Epilogue { bias: Some(bias), ..Epilogue::default() })?;
    let inputs = [("in.a".into(), a), ("in.b".into(), b), ("in.bias".into(), bias)];
    file.compare(gpu, graph, &[("out.y", y)], &[(y, up)], &inputs)
}

fn gru(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let [batch, _, _] = file.shape("in.x")?;
    let [states, _, hidden] = file.shape("in.h0")?;
    let mut graph = Graph::new();
    let x = file.value(&mut graph, "in.x")?;
    let h0 = file.value(&mut graph, "in.h0")?;
    let lengths = file.value(&mut graph, "in.lengths")?;
    let up_hn = file.value(&mut graph, "up.hn")?;
    let mut inputs = vec![("in.x".to_owned(), x), ("in.h0".to_owned(), h0)];
    let (mut y, mut outputs, mut upstream) = (x, Vec::new(), Vec::new());
    const LAST: [&str; 4] = ["out.hn#0", "out.hn#1", "out.hn#2", "out.hn#3"];
    let layered = graph.reshape(h0, [states / 2, 2, batch, hidden])?;
    let up_layered = graph.reshape(up_hn, [states / 2, 2, batch, hidden])?;
    for layer in 0..states / 2 {
        let mut weights = Vec::new();
        for direction in ["", "_reverse"] {
            let mut parameter = |part: &str| -> Result<Value> {
                let name = format!("param.{part}_l{layer}{direction}");
                let value = file.value(&mut graph, &name)?;
                inputs.push((name, value));
                Ok(value)
            };
            weights.push(GruWeights {
                weight_ih: parameter("weight_ih")?,
                weight_hh: parameter("weight_hh")?,
                bias_ih: parameter("bias_ih")?,
                bias_hh: parameter("bias_hh")?,
            });
        }
        let start = graph.select(layered, layer)?;
        let (states, last) = graph.gru(y, start, lengths, &weights, None)?;
        y = states;
        let name = LAST.get(layer).ok_or_else(|| file.wrong("cases have at most four layers"))?;
        let last = graph.stacked(&last)?;
        outputs.push((*name, last));
        upstream.push((last, graph.select(up_layered, layer)?));
    }
    outputs.push(("out.y", y));
    upstream.push((y, file.value(&mut graph, "up.y")?));
    file.compare(gpu, graph, &outputs, &upstream, &inputs)
}

fn additive_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let names = [
        "in.query",
        "in.keys",
        "in.values",
        "param.query.weight",
        "param.key.weight",
        "param.key.bias",
        "param.energy.weight",
    ];
    let inputs = names.map(|name| Ok((name.to_owned(), file.value(&mut graph, name)?)));
    let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
    let values: Vec<_> = inputs.iter().map(|(_, value)| *value).collect();
    let [query, keys, annotation, query_weight, key_weight, key_bias, energy] = values[..] else {
        unreachable!("seven names make seven values")
    };
    let lengths = file.value(&mut graph, "in.lengths")?;
    let query = graph.linear(query, query_weight, Epilogue::default())?;
    let key = graph.linear(keys, key_weight, Epilogue { bias: Some(key_bias), ..Epilogue::default() })?;
    let (context, weights) = graph.additive_attention(query, key, energy, annotation, lengths)?;
    let mut upstream = vec![(context, file.value(&mut graph, "up.context")?)];
    if file.floats.contains_key("up.weights") {
        upstream.push((weights, file.value(&mut graph, "up.weights")?));
    }
    file.compare(gpu, graph, &[("out.context", context), ("out.weights", weights)], &upstream, &inputs)
}

fn dot_product_attention(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let query = file.value(&mut graph, "in.query")?;
    let key = file.value(&mut graph, "in.keys")?;
    let value = file.value(&mut graph, "in.values")?;
    let lengths = file.value(&mut graph, "in.lengths")?;
    let context = graph.dot_product_attention(query, key, value, lengths, file.setting("causal", false)?)?;
    let upstream = [(context, file.value(&mut graph, "up.context")?)];
    let inputs = [("in.query".into(), query), ("in.keys".into(), key), ("in.values".into(), value)];
    file.compare(gpu, graph, &[("out.context", context)], &upstream, &inputs)
}

/// The model of 2015 with its readout, or without.
fn seq2seq_step(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let [source_vocabulary, embedding] = file.shape("param.encoder.embedding.weight")?;
    let [target_vocabulary, output_input] = file.shape("param.output.weight")?;
    let [attention, hidden] = file.shape("param.attention.query.weight")?;
    let readout = match file.setting("readout", "tanh".to_owned())?.as_str() {
        "none" => Readout::None,
        _ => Readout::Tanh,
    };
    let network = Bahdanau::new(Config {
        embedding,
        hidden,
        attention,
        readout,
        readout_size: output_input,
        encoder_layers: file.setting("encoder_layers", 1)?,
        ..Config::new(source_vocabulary, target_vocabulary)
    })?;
    training_step(file, gpu, network)
}
