//! A whole Luong model: logits, weights, centres, loss and every gradient, and what it writes when it takes the best token each time.

use super::{File, GoldenRow, among, narrow};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{Graph, Parameters, Program, ProgramOptions},
    kernels::Step,
    model::luong::{Config, Forward, Layers, Luong, Score, Window},
    text::BOS,
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
struct Forwarded {
    program: Program,
    forward: Forward,
}

impl Forwarded {
    fn new(file: &File, gpu: &Gpu, model: &Luong, parameters: &Parameters, shape: [usize; 3]) -> Result<Self> {
        let (mut graph, mut layers) = (Graph::new(), Layers::new(model.config().parameters()));
        let forward = model.forward(&mut graph, &mut layers, shape, 0.0)?;
        let outputs: Vec<_> = [forward.logits, forward.weights].into_iter().chain(forward.centres).collect();
        let options = ProgramOptions {
            label: file.stem.clone(),
            parameters: Some(parameters),
            outputs: &outputs,
            ..ProgramOptions::default()
        };
        let mut program = Program::compile(gpu, &graph, &options)?;
        for name in ["source", "lengths"] {
            program.write(name, &file.integer(&format!("in.{name}"))?.1)?;
        }
        Ok(Self { program, forward })
    }

    /// Runs it for targets `[B, T]` from `<bos>` on.
    fn run(&mut self, target_in: &[u32]) -> Result<()> {
        self.program.write("target_in", target_in)?;
        self.program.run(Step::default())
    }
}

pub(super) fn luong(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let [rows, source_steps] = file.shape("in.source")?;
    let [_, target_steps] = file.shape("in.target_in")?;
    let model = Luong::new(config(file)?)?;
    let parameters = Parameters::new(gpu, model.config().parameters())?;
    for name in parameters.names() {
        let (shape, values) = file.float(&format!("param.{name}"))?;
        let tensor = parameters.tensor(name).filter(|tensor| tensor.shape().dims() == shape.as_slice());
        let tensor = tensor.ok_or_else(|| file.wrong(&format!("`param.{name}` has shape {shape:?}")))?;
        gpu.write(&tensor, &narrow(values))?;
    }
    let mut found = outputs(file, gpu, &model, &parameters, [rows, source_steps, target_steps])?;
    found.extend(gradients(file, gpu, &model, &parameters, [rows, source_steps, target_steps])?);
    found.push(generated(file, gpu, &model, &parameters, [rows, source_steps])?);
    Ok(found)
}

/// Logits, weights and centres; they mean something only where the target is not padding.
fn outputs(
    file: &File,
    gpu: &Gpu,
    model: &Luong,
    parameters: &Parameters,
    shape: [usize; 3],
) -> Result<Vec<GoldenRow>> {
    let mut forwarded = Forwarded::new(file, gpu, model, parameters, shape)?;
    forwarded.run(&file.integer("in.target_in")?.1)?;
    let Forward { logits, weights, centres } = forwarded.forward;
    let target_out = &file.integer("in.target_out")?.1;
    let wanted = [("out.logits", logits), ("out.weights", weights)];
    let wanted = wanted.into_iter().chain(centres.map(|centres| ("out.positions", centres)));
    let row = |(name, value)| {
        let values: Vec<f32> = forwarded.program.read(value)?;
        let width = values.len() / target_out.len().max(1);
        let kept = target_out.iter().flat_map(|token| std::iter::repeat_n(*token != 0, width));
        let (values, reference) = among(values, &file.float(name)?.1, kept);
        Ok(file.row(name, &values, &reference))
    };
    wanted.map(row).collect()
}

/// The loss, and the gradient of every parameter.
fn gradients(
    file: &File,
    gpu: &Gpu,
    model: &Luong,
    parameters: &Parameters,
    shape: [usize; 3],
) -> Result<Vec<GoldenRow>> {
    let [rows, _, target_steps] = shape;
    let target_out = &file.integer("in.target_out")?.1;
    let tokens = target_out.iter().filter(|token| **token != 0).count();
    let (mut graph, mut layers) = (Graph::new(), Layers::new(model.config().parameters()));
    let forward = model.forward(&mut graph, &mut layers, shape, 0.0)?;
    let targets = graph.input("target_out", [rows, target_steps], Dtype::U32);
    let loss = graph.cross_entropy(forward.logits, targets, 0.0)?;
    let (names, values): (Vec<_>, Vec<_>) = layers.into_used().into_iter().unzip();
    let gradients = graph.gradients(loss, &values)?;
    let outputs = [&[loss], gradients.as_slice()].concat();
    let options = ProgramOptions {
        label: file.stem.clone(),
        parameters: Some(parameters),
        outputs: &outputs,
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &graph, &options)?;
    for name in ["source", "lengths", "target_in", "target_out"] {
        program.write(name, &file.integer(&format!("in.{name}"))?.1)?;
    }
    program.run(Step { loss_scale: 1.0 / tokens as f32, ..Step::default() })?;
    let named = names.into_iter().map(|name| format!("grad.{name}")).zip(gradients);
    let all = std::iter::once(("out.loss".to_owned(), loss)).chain(named);
    all.map(|(name, value)| Ok(file.row(&name, &program.read(value)?, &file.float(&name)?.1))).collect()
}

/// What the model writes by the best token of each step, ends or not.
fn generated(
    file: &File,
    gpu: &Gpu,
    model: &Luong,
    parameters: &Parameters,
    [rows, source_steps]: [usize; 2],
) -> Result<GoldenRow> {
    const NAME: &str = "out.generated";
    let [_, steps] = file.shape(NAME)?;
    let mut forwarded = Forwarded::new(file, gpu, model, parameters, [rows, source_steps, steps])?;
    let mut target_in = vec![0_u32; rows * steps];
    let mut tokens = vec![0.0_f32; rows * steps];
    target_in.iter_mut().step_by(steps).for_each(|token| *token = BOS);
    for step in 0..steps {
        forwarded.run(&target_in)?;
        let logits: Vec<f32> = forwarded.program.read(forwarded.forward.logits)?;
        let of_row = logits.chunks(steps * model.config().target_vocabulary);
        for (row, logits) in of_row.enumerate() {
            let of_step = logits.chunks(model.config().target_vocabulary).nth(step).unwrap_or_default();
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
