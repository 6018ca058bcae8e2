//! A convolutional model: the weights of each layer's attention beside logits, loss, gradients and texts.

use super::{
    File, GoldenRow, among,
    generated::{Begun, by_passes, by_steps},
    model::{fill, pairs, step},
};
use crate::{
    Gpu, Result,
    batch::Batch,
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{
        Architecture as _, Layers, Network,
        convs2s::{Config, ConvS2S, TeacherForced},
        zeros,
    },
};

/// The sizes that a case's tensors state.
fn config(file: &File) -> Result<Config> {
    let [source_vocabulary, embedding] = file.shape("param.encoder.word.weight")?;
    let [target_vocabulary, output_size] = file.shape("param.decoder.output.weight")?;
    let [hidden, _] = file.shape("param.encoder.into.weight")?;
    let [max_length, _] = file.shape("param.encoder.position.weight")?;
    let widths = |side: &str| -> Result<Vec<usize>> {
        let names = (0..).map(|layer| format!("param.{side}.convolutions.{layer}.weight"));
        names
            .take_while(|name| file.floats.contains_key(name))
            .map(|name| file.shape::<3>(&name).map(|[_, _, width]| width))
            .collect()
    };
    let (encoder_widths, decoder_widths) = (widths("encoder")?, widths("decoder")?);
    let new = Config::new(source_vocabulary, target_vocabulary);
    Ok(Config { embedding, hidden, output_size, encoder_widths, decoder_widths, max_length, ..new })
}

pub(super) fn convs2s(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let model = ConvS2S::new(config(file)?)?;
    let network: Network = model.clone();
    let parameters = zeros(gpu, &model.parameters())?;
    fill(file, gpu, &parameters, "param")?;
    let batch = pairs(file)?;
    let mut found = outputs(file, gpu, &model, &parameters, &batch)?;
    let texts = Begun::translations(file, "in.source", &batch.lengths, &network)?;
    found.push(by_passes(file, gpu, &network, &parameters, &texts)?);
    found.push(by_steps(file, gpu, &network, &parameters, &texts)?);
    // Last: a step changes the parameters.
    found.extend(step(file, gpu, network, &parameters, &batch)?);
    Ok(found)
}

/// Logits and weights where the target is not padding.
fn outputs(
    file: &File,
    gpu: &Gpu,
    network: &ConvS2S,
    parameters: &Parameters,
    batch: &Batch,
) -> Result<Vec<GoldenRow>> {
    let mut layers = Layers::new();
    let TeacherForced { logits, weights, .. } = network.teacher_forced(&mut layers, batch.shape)?;
    let kept: Vec<_> = [logits].into_iter().chain(weights.iter().copied()).collect();
    let options = ProgramOptions {
        label: file.stem.clone(),
        parameters: Some(parameters),
        outputs: &kept,
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &layers.graph, &options)?;
    program.stage(batch)?;
    program.run(Step::default())?;
    let row = |name: &str, values: Vec<f32>, reference: &[f64]| {
        let width = values.len() / batch.target_out.len();
        let kept = batch.target_out.iter().flat_map(|token| std::iter::repeat_n(*token != 0, width));
        let (values, reference) = among(values, reference, kept);
        file.row(name, &values, &reference)
    };
    let mut found = vec![row("out.logits", program.read(logits)?, &file.float("out.logits")?.1)];
    // [B, layers, T, S]
    let [_, layers, target, source] = file.shape("out.weights")?;
    let all = &file.float("out.weights")?.1;
    for (number, value) in weights.into_iter().enumerate() {
        let of_layer = all.chunks(target * source).skip(number).step_by(layers).flatten().copied();
        let reference: Vec<f64> = of_layer.collect();
        found.push(row(&format!("out.weights#{number}"), program.read(value)?, &reference));
    }
    Ok(found)
}
