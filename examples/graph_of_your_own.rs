//! Door three: a small graph of one's own, differentiated and trained. It learns exclusive or.
//!
//!     cargo run --release --example graph_of_your_own

use softalign::{
    Gpu, GpuOptions, Result,
    gpu::Dtype,
    graph::{Epilogue, Graph, Parameters, Program, ProgramOptions},
    kernels::{Step, matmul::Activation},
    train::{Optimizer, State},
};

fn main() -> Result<()> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let hidden = 8;
    let shapes = [("hidden.weight", [hidden, 2]), ("output.weight", [3, hidden])];
    let biases = [("hidden.bias", [hidden]), ("output.bias", [3])];

    // The graph: two layers and a cross-entropy. Class 0 is padding, so the answers are classes 1 and 2 of 3.
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 2], Dtype::F32);
    let targets = graph.input("targets", [4], Dtype::U32);
    let matrices = shapes.map(|(name, shape)| graph.parameter(name, shape));
    let vectors = biases.map(|(name, shape)| graph.parameter(name, shape));
    let layer = |bias, activation| Epilogue { bias: Some(bias), activation };
    let h = graph.linear(x, matrices[0], layer(vectors[0], Activation::Tanh))?;
    let logits = graph.linear(h, matrices[1], layer(vectors[1], Activation::None))?;
    let loss = graph.cross_entropy(logits, targets, 0.0)?;
    let wanted = [matrices, vectors].concat();
    let gradients = graph.gradients(loss, &wanted)?;

    // Parameters and their gradients lie in flat buffers, which Adam updates as a whole.
    let names = shapes.iter().map(|(name, shape)| ((*name).to_owned(), (*shape).into()));
    let all = names.chain(biases.iter().map(|(name, shape)| ((*name).to_owned(), (*shape).into())));
    let parameters = Parameters::new(&gpu, all)?;
    for (number, name) in parameters.names().iter().enumerate() {
        let tensor = parameters.tensor(name).expect("it was named above");
        let values: Vec<f32> = (0..tensor.elements()).map(|i| ((i * 7 + number * 3) as f32).sin()).collect();
        gpu.write(&tensor, &values)?;
    }
    let state = State::new(&gpu, &parameters)?;
    let named: Vec<_> = parameters.names().iter().cloned().zip(gradients).collect();

    // Compiled once: memory planned, bind groups made; Adam follows the backward pass in the same submit.
    let options = ProgramOptions {
        label: "exclusive or".into(),
        parameters: Some(&parameters),
        gradients: Some((&state.gradients, &named)),
        outputs: &[loss],
        ..Default::default()
    };
    let mut program = Program::compile_with(&gpu, &graph, &options, |recorder, finish| {
        Optimizer::default().record(recorder, &state, finish.step, Some(finish.tensor(loss)?))
    })?;
    program.write("x", &[0.0_f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
    program.write("targets", &[1_u32, 2, 2, 1])?;
    for step in 1..=300 {
        program.run(Step { step, seed: 1, learning_rate: 0.03, loss_scale: 0.25, ..Step::default() })?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.4}", program.read::<f32>(loss)?[0]);
        }
    }
    assert!(program.read::<f32>(loss)?[0] < 0.05, "exclusive or was not learned");
    Ok(())
}
