//! A Luong model beside its training step: the centres of its windows, and what it writes when it takes the best token each time.

use super::{
    File, GoldenRow, among,
    model::{fill, training_step},
};
use crate::{
    Gpu, Result,
    batch::{BatchShape, Specials},
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{
        Architecture as _, Layers,
        luong::{Config, Luong, Score, TeacherForced, Window},
        zeros,
    },
};

/// The sizes and kinds that a case's tensors and metadata state.
fn config(file: &File) -> Result<Config> {
    let [source_vocabulary, embedding] = file.shape("param.encoder.embedding.weight")?;
    let [target_vocabulary, hidden] = file.shape("param.output.weight")?;
    let mut config = Config {
        embedding,
        hidden,
        encoder_layers: file.setting("encoder_layers", 1)?,
        bidirectional: file.setting("bidirectional", false)?,
        score: file.named("score", Score::General)?,
        window: file.named("window", Window::Global)?,
        half_width: file.setting("D", 10)?,
        input_feeding: file.setting("input_feeding", false)?,
        ..Config::new(source_vocabulary, target_vocabulary)
    };
    if config.score == Score::Concat {
        [_, config.attention] = file.shape("param.attention.energy.weight")?;
    }
    if config.score == Score::Location {
        [config.location_rows, _] = file.shape("param.attention.location.weight")?;
    }
    if config.window == Window::LocalP {
        [_, config.position] = file.shape("param.attention.position_energy.weight")?;
    }
    Ok(config)
}

/// A Program of the forward pass, and what it keeps.
struct Forced {
    program: Program,
    outputs: TeacherForced,
}

impl Forced {
    fn new(file: &File, gpu: &Gpu, network: &Luong, parameters: &Parameters, shape: BatchShape) -> Result<Self> {
        let mut layers = Layers::new();
        let outputs = network.teacher_forced(&mut layers, shape)?;
        let kept: Vec<_> = [outputs.logits].into_iter().chain(outputs.alignment.centres).collect();
        let options = ProgramOptions {
            label: file.stem.clone(),
            parameters: Some(parameters),
            outputs: &kept,
            ..ProgramOptions::default()
        };
        let mut program = Program::compile(gpu, &layers.graph, &options)?;
        for name in ["source", "lengths"] {
            program.write(name, &file.integer(&format!("in.{name}"))?.1)?;
        }
        Ok(Self { program, outputs })
    }

    /// Runs it for targets `[B, T]` from `<bos>` on.
    fn run(&mut self, target_in: &[u32]) -> Result<()> {
        self.program.write("target_in", target_in)?;
        self.program.run(Step::default())
    }
}

pub(super) fn luong(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let [rows, source] = file.shape("in.source")?;
    let [_, target] = file.shape("in.target_in")?;
    let network = Luong::new(config(file)?)?;
    let mut found = training_step(file, gpu, network.clone())?;
    let parameters = zeros(gpu, &network.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    found.extend(centres(file, gpu, &network, &parameters, BatchShape { rows, source, target })?);
    found.push(generated(file, gpu, &network, &parameters, BatchShape { rows, source, target: 0 })?);
    Ok(found)
}

/// The centres of the windows, if there are any; they mean something only where the target is not padding.
fn centres(
    file: &File,
    gpu: &Gpu,
    network: &Luong,
    parameters: &Parameters,
    shape: BatchShape,
) -> Result<Option<GoldenRow>> {
    const NAME: &str = "out.positions";
    let mut forced = Forced::new(file, gpu, network, parameters, shape)?;
    let Some(centres) = forced.outputs.alignment.centres else { return Ok(None) };
    forced.run(&file.integer("in.target_in")?.1)?;
    let kept = file.integer("in.target_out")?.1.iter().map(|token| *token != 0);
    let (values, reference) = among(forced.program.read(centres)?, &file.float(NAME)?.1, kept);
    Ok(Some(file.row(NAME, &values, &reference)))
}

/// The model's text by the best token of each step, ends included.
fn generated(file: &File, gpu: &Gpu, network: &Luong, parameters: &Parameters, shape: BatchShape) -> Result<GoldenRow> {
    const NAME: &str = "out.generated";
    let [_, steps] = file.shape(NAME)?;
    let (rows, classes) = (shape.rows, network.limits().target_vocabulary);
    let mut forced = Forced::new(file, gpu, network, parameters, BatchShape { target: steps, ..shape })?;
    let mut target_in = vec![0_u32; rows * steps];
    let mut tokens = vec![0.0_f32; rows * steps];
    target_in.iter_mut().step_by(steps).for_each(|token| *token = Specials::default().bos);
    for step in 0..steps {
        forced.run(&target_in)?;
        let logits: Vec<f32> = forced.program.read(forced.outputs.logits)?;
        let of_row = logits.chunks(steps * classes);
        for (row, logits) in of_row.enumerate() {
            let of_step = logits.chunks(classes).nth(step).unwrap_or_default();
            let best = of_step.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(0, |(token, _)| token);
            if let Some(token) = tokens.get_mut(row * steps + step) {
                *token = best as f32;
            }
            if let Some(token) = target_in.get_mut(row * steps + step + 1).filter(|_| step + 1 < steps) {
                *token = best as u32;
            }
        }
    }
    let reference: Vec<f64> = file.integer(NAME)?.1.iter().map(|token| f64::from(*token)).collect();
    Ok(file.row(NAME, &tokens, &reference))
}
