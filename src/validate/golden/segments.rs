//! Models over two consecutive segments: the second one sees what the first has left as constants. The loss is the sum of both.

use super::{File, GoldenRow};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{Parameters, Program, ProgramOptions, Targets, Value},
    kernels::Step,
    model::{Architecture, Layers},
};

/// No token: there is nothing to predict.
pub(super) const NONE: u32 = u32::MAX;

/// The nodes of a segment.
pub(super) struct Nodes {
    pub logits: Value,
    /// What each layer remembers then.
    pub memory: Vec<Value>,
    /// What else is looked at.
    pub others: Vec<Value>,
}

/// Makes the nodes of a segment from its tokens `[B, T]` and what each layer remembers, `[B, M, D]`.
type MakeSegment<'a> = dyn Fn(&mut Layers, Value, &[Value]) -> Result<Nodes> + 'a;

/// A model, and what its layers remember.
pub(super) struct Case<'a> {
    pub file: &'a File,
    pub gpu: &'a Gpu,
    pub network: &'a dyn Architecture,
    pub segment: &'a MakeSegment<'a>,
    pub parameters: &'a Parameters,
    /// Size of what is remembered of a step.
    pub hidden: usize,
}

/// Tokens of a segment, and those to predict.
pub(super) struct Text {
    pub tokens: Vec<u32>,
    pub targets: Vec<u32>,
}

/// Values of a segment's nodes.
pub(super) struct Found {
    pub logits: Vec<f32>,
    /// The mean cross-entropy.
    pub nll: Vec<f32>,
    /// That and the model's penalty.
    pub loss: Vec<f32>,
    pub memory: Vec<Vec<f32>>,
    pub others: Vec<Vec<f32>>,
}

/// A segment's forward pass and gradients, compiled.
struct Pass {
    program: Program,
    nodes: Nodes,
    losses: [Value; 2],
    gradients: Vec<(String, Value)>,
}

fn name_of(layer: usize) -> String {
    format!("memory.{layer}")
}

impl Pass {
    /// For `rows` of `steps` behind these memories.
    fn new(case: &Case<'_>, [rows, steps]: [usize; 2], memory: &[Vec<f32>]) -> Result<Self> {
        let mut layers = Layers::new();
        let [tokens, targets] = ["tokens", "targets"].map(|name| layers.graph.input(name, [rows, steps], Dtype::U32));
        let before = memory.iter().enumerate().map(|(layer, values)| {
            let remembered = values.len() / (rows * case.hidden);
            layers.graph.input(name_of(layer), [rows, remembered, case.hidden], Dtype::F32)
        });
        let before: Vec<_> = before.collect();
        let nodes = (case.segment)(&mut layers, tokens, &before)?;
        let penalty = case.network.penalty(&mut layers)?;
        let (names, used): (Vec<_>, Vec<_>) = layers.used().iter().cloned().unzip();
        let graph = &mut layers.graph;
        let nll = graph.cross_entropy(nodes.logits, Targets::new(targets, NONE), 0.0)?;
        let loss = match penalty {
            Some(penalty) => graph.add(nll, penalty)?,
            None => nll,
        };
        let gradients = graph.gradients(loss, &used)?;
        let kept = [&[nodes.logits, nll, loss], gradients.as_slice(), &nodes.memory, &nodes.others].concat();
        let options = ProgramOptions {
            label: case.file.stem.clone(),
            parameters: Some(case.parameters),
            outputs: &kept,
            ..ProgramOptions::default()
        };
        let program = Program::compile(case.gpu, graph, &options)?;
        Ok(Self { program, nodes, losses: [nll, loss], gradients: names.into_iter().zip(gradients).collect() })
    }

    fn run(&mut self, text: &Text, memory: &[Vec<f32>]) -> Result<Found> {
        let Self { program, nodes, losses: [nll, loss], .. } = self;
        let predicted = text.targets.iter().filter(|token| **token != NONE).count();
        program.write("tokens", &text.tokens)?;
        program.write("targets", &text.targets)?;
        for (layer, values) in memory.iter().enumerate() {
            program.write(&name_of(layer), values)?;
        }
        program.run(Step { loss_scale: 1.0 / predicted.max(1) as f32, ..Step::default() })?;
        let each = |values: &[Value]| values.iter().map(|value| program.read(*value)).collect::<Result<_>>();
        Ok(Found {
            logits: program.read(nodes.logits)?,
            nll: program.read(*nll)?,
            loss: program.read(*loss)?,
            memory: each(&nodes.memory)?,
            others: each(&nodes.others)?,
        })
    }
}

impl Case<'_> {
    /// What both segments of `rows` of `steps` find, the first behind `memory`; and the sum of their gradients beside the file's.
    pub fn segments(
        &self,
        shape: [usize; 2],
        texts: [Text; 2],
        mut memory: Vec<Vec<f32>>,
    ) -> Result<(Vec<Found>, Vec<GoldenRow>)> {
        let mut all = Vec::new();
        let mut sums: Vec<(String, Vec<f32>)> = Vec::new();
        for text in texts {
            let mut pass = Pass::new(self, shape, &memory)?;
            let found = pass.run(&text, &memory)?;
            for (name, value) in &pass.gradients {
                let gradient: Vec<f32> = pass.program.read(*value)?;
                match sums.iter_mut().find(|(other, _)| other == name) {
                    Some((_, sum)) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
                    None => sums.push((name.clone(), gradient)),
                }
            }
            memory.clone_from(&found.memory);
            all.push(found);
        }
        let rows = sums.into_iter().map(|(name, gradient)| {
            let name = format!("grad.{name}");
            Ok(self.file.row(&name, &gradient, &self.file.float(&name)?.1))
        });
        Ok((all, rows.collect::<Result<_>>()?))
    }

    /// Each row of tokens `[B, T]`, the first segment, continued by the best token of each step, memories carried along from `memory`.
    pub fn generated(&self, tokens: &[u32], steps: usize, memory: &[Vec<f32>]) -> Result<GoldenRow> {
        const NAME: &str = "out.generated";
        let [_, continued] = self.file.shape(NAME)?;
        let mut made = Vec::new();
        let (mut first, mut further) = (Pass::new(self, [1, steps], memory)?, None);
        for row in tokens.chunks(steps) {
            let mut found = first.run(&Text { tokens: row.to_vec(), targets: vec![NONE; steps] }, memory)?;
            let classes = found.logits.len() / steps;
            for number in 0..continued {
                let last = found.logits.chunks(classes).last().unwrap_or_default();
                let best = last.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
                let best = best.map_or(0, |(token, _)| token as u32);
                made.push(best as f32);
                if number + 1 < continued {
                    let pass = match &mut further {
                        Some(pass) => pass,
                        none => none.insert(Pass::new(self, [1, 1], &found.memory)?),
                    };
                    found = pass.run(&Text { tokens: vec![best], targets: vec![NONE] }, &found.memory)?;
                }
            }
        }
        let reference: Vec<f64> = self.file.integer(NAME)?.1.iter().map(|token| f64::from(*token)).collect();
        Ok(self.file.row(NAME, &made, &reference))
    }

    /// The losses of both segments.
    pub fn losses(&self, name: &str, losses: impl Iterator<Item = f32>) -> Result<GoldenRow> {
        Ok(self.file.row(name, &losses.collect::<Vec<_>>(), &self.file.float(name)?.1))
    }
}
