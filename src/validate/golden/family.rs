//! The small kernels of Transformers and their relatives.

use super::{File, GoldenRow};
use crate::{
    Gpu, Result,
    graph::Graph,
    kernels::{
        conv1d::Padding,
        pointwise::Gelu,
        positions::{Order, sinusoids},
    },
};

pub(super) fn layer_norm(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let x = file.value(&mut graph, "in.x")?;
    let [gain, bias] = ["param.weight", "param.bias"].map(|name| file.value(&mut graph, name));
    let (gain, bias) = (gain?, bias?);
    let y = graph.layer_norm(x, gain, Some(bias), file.setting("eps", 1e-5)?)?;
    let upstream = [(y, file.value(&mut graph, "up.y")?)];
    let inputs = [("in.x".into(), x), ("param.weight".into(), gain), ("param.bias".into(), bias)];
    file.compare(gpu, graph, &[("out.y", y)], &upstream, &inputs)
}

pub(super) fn rms_norm(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let x = file.value(&mut graph, "in.x")?;
    let gain = file.value(&mut graph, "param.weight")?;
    let y = graph.rms_norm(x, gain, file.setting("eps", 1e-6)?)?;
    let upstream = [(y, file.value(&mut graph, "up.y")?)];
    let inputs = [("in.x".into(), x), ("param.weight".into(), gain)];
    file.compare(gpu, graph, &[("out.y", y)], &upstream, &inputs)
}

pub(super) fn gelu(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let x = file.value(&mut graph, "in.x")?;
    let form = match file.setting("approximate", "none".to_owned())?.as_str() {
        "tanh" => Gelu::Tanh,
        _ => Gelu::Erf,
    };
    let y = graph.gelu(x, form)?;
    let upstream = [(y, file.value(&mut graph, "up.y")?)];
    file.compare(gpu, graph, &[("out.y", y)], &upstream, &[("in.x".into(), x)])
}

pub(super) fn glu(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let x = file.value(&mut graph, "in.x")?;
    let y = graph.glu(x)?;
    let upstream = [(y, file.value(&mut graph, "up.y")?)];
    file.compare(gpu, graph, &[("out.y", y)], &upstream, &[("in.x".into(), x)])
}

pub(super) fn conv1d(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut graph = Graph::new();
    let x = file.value(&mut graph, "in.x")?;
    let [weight, bias] = ["param.weight", "param.bias"].map(|name| file.value(&mut graph, name));
    let (weight, bias) = (weight?, bias?);
    let padding = match file.setting("padding", "same".to_owned())?.as_str() {
        "causal" => Padding::Causal,
        _ => Padding::Same,
    };
    let y = graph.conv1d(x, weight, Some(bias), padding)?;
    let upstream = [(y, file.value(&mut graph, "up.y")?)];
    let inputs = [("in.x".into(), x), ("param.weight".into(), weight), ("param.bias".into(), bias)];
    file.compare(gpu, graph, &[("out.y", y)], &upstream, &inputs)
}

/// What is added to vectors of zeros.
pub(super) fn sinusoidal_positions(file: &File, gpu: &Gpu) -> Result<Vec<GoldenRow>> {
    let mut rows = Vec::new();
    for (name, order) in [("out.interleaved", Order::InTurn), ("out.halves", Order::SinesFirst)] {
        let [places, size] = file.shape(name)?;
        let mut graph = Graph::new();
        let table = graph.constant([places, size], sinusoids(places, size, order))?;
        let x = graph.constant([1, places, size], vec![0.0; places * size])?;
        let y = graph.positions(x, table, 0, 1.0)?;
        rows.extend(file.compare(gpu, graph, &[(name, y)], &[], &[])?);
    }
    Ok(rows)
}
