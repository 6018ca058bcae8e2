//! A Luong model beside its training step: the centres of its windows, and what it writes when it takes the best token each time.

use super::{
    File, GoldenRow, among,
    generated::{Begun, by_passes, by_steps},
    model::{fill, pairs, training_step},
};
use crate::{
    Gpu, Result,
    batch::Batch,
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{
        Layers, Network,
        luong::{Config, Luong, Score, Window},
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

pub(super) fn luong(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let luong = Luong::new(config(file)?)?;
    let (network, batch): (Network, _) = (luong.clone(), pairs(file)?);
    let mut found = training_step(file, gpu, network.clone())?;
    let parameters = zeros(gpu, &network.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    found.extend(centres(file, gpu, &luong, &parameters, &batch)?);
    let texts = Begun::translations(file, "in.source", &batch.lengths, &network)?;
    found.push(by_passes(file, gpu, &network, &parameters, &texts)?);
    found.push(by_steps(file, gpu, &network, &parameters, &texts)?);
    Ok(found)
}

/// The centres of the windows, if there are any; they mean something only where the target is not padding.
fn centres(
    file: &File,
    gpu: &Gpu,
    network: &Luong,
    parameters: &Parameters,
    batch: &Batch,
) -> Result<Option<GoldenRow>> {
    const NAME: &str = "out.positions";
    let mut layers = Layers::new();
    let Some(centres) = network.teacher_forced(&mut layers, batch.shape)?.alignment.centres else { return Ok(None) };
    let options = ProgramOptions {
        label: file.stem.clone(),
        parameters: Some(parameters),
        outputs: &[centres],
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &layers.graph, &options)?;
    program.stage(batch)?;
    program.run(Step::default())?;
    let kept = batch.target_out.iter().map(|token| *token != 0);
    let (values, reference) = among(program.read(centres)?, &file.float(NAME)?.1, kept);
    Ok(Some(file.row(NAME, &values, &reference)))
}
