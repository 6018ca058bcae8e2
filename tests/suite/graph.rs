//! Graphs: shapes checked when they are built, gradients, memory shared where it may be, replays that make nothing.

use crate::common;
use approx::assert_relative_eq;
use softalign::{
    Error, Gpu, GpuOptions,
    gpu::{Counters, Dtype},
    graph::{DecoderInputs, Epilogue, Graph, GruInput, GruWeights, Parameters, Program, ProgramOptions, Value},
    kernels::{Step, matmul::Activation},
};

fn compile(graph: &Graph, outputs: &[Value]) -> Program {
    let options = ProgramOptions { label: "test".into(), outputs, ..ProgramOptions::default() };
    Program::compile(common::gpu(), graph, &options).unwrap()
}

#[test]
fn errors_name_operation_argument_wanted_and_got() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3], Dtype::F32);
    let weight = graph.input("weight", [5, 4], Dtype::F32);
    let tokens = graph.input("tokens", [2], Dtype::U32);
    let error = graph.linear(x, weight, Epilogue::default()).unwrap_err().to_string();
    assert_eq!(error, "matmul: b: wanted 3 rows after transposition, to match a [2, 3], got [5, 4]");
    let error = graph.add(x, weight).unwrap_err().to_string();
    assert_eq!(error, "pointwise: b: wanted f32 [2, 3], got f32 [5, 4]");
    let error = graph.embedding(x, x).unwrap_err().to_string();
    assert_eq!(error, "embedding: tokens: wanted u32 [_, _], got f32 [2, 3]");
    let error = graph.cross_entropy(x, weight, 0.0).unwrap_err().to_string();
    assert_eq!(error, "cross_entropy: targets: wanted u32, 2 tokens, got f32 [5, 4]");
    assert!(matches!(graph.dropout(x, 1.0), Err(Error::Shape { argument: "rate", .. })));
    assert!(matches!(graph.select(x, 2), Err(Error::Shape { argument: "index", .. })));
    assert!(matches!(graph.reshape(x, [7]), Err(Error::Shape { argument: "shape", .. })));
    // Tokens have the size of floats, and their bits would pass for some.
    let error = graph.add(tokens, tokens).unwrap_err().to_string();
    assert_eq!(error, "pointwise: a: wanted floats, at least one element, got u32 [2]");
    assert!(matches!(graph.tanh(tokens), Err(Error::Shape { argument: "a", .. })));
    assert!(matches!(graph.sigmoid(tokens), Err(Error::Shape { argument: "a", .. })));
    assert!(matches!(graph.sum(tokens), Err(Error::Shape { argument: "x", .. })));
    assert!(matches!(graph.reshape(tokens, [2, 1]), Err(Error::Shape { argument: "x", .. })));
    assert!(matches!(graph.gradients_from(&[(x, weight)], &[x]), Err(Error::Shape { argument: "upstream", .. })));
}

/// What is made of activations has their type; an upstream gradient has its value's.
#[test]
fn a_graph_of_f16_keeps_activations_in_f16() {
    let mut graph = Graph::with_precision(Dtype::F16);
    let x = graph.input("x", [3], Dtype::F16);
    let single = graph.input("single", [3], Dtype::F32);
    let y = graph.tanh(x).unwrap();
    let y = graph.dropout(y, 0.5).unwrap();
    let y = graph.reshape(y, [1, 3]).unwrap();
    assert_eq!([x, y].map(|value| graph.dtype(value)), [Dtype::F16; 2]);
    let doubled = graph.add(single, single).unwrap();
    assert_eq!(graph.dtype(doubled), Dtype::F32);
    let error = graph.add(x, single).unwrap_err().to_string();
    assert_eq!(error, "pointwise: b: wanted f16 [3], got f32 [3]");
    assert!(matches!(graph.gradients_from(&[(x, single)], &[x]), Err(Error::Shape { argument: "upstream", .. })));
}

/// An odd number of f16 does not fill its last word, which copies move as a whole.
#[test]
fn odd_numbers_of_f16_are_written_and_read() {
    let gpu = common::gpu();
    if !gpu.tiles().f16 {
        return;
    }
    let mut graph = Graph::with_precision(Dtype::F16);
    let x = graph.input("x", [2, 3, 1], Dtype::F16);
    let second = graph.select(x, 1).unwrap();
    let two = graph.filled([3, 1], 2.0);
    let y = graph.multiply(second, two).unwrap();
    let d_y = graph.filled([3, 1], 0.75);
    let gradients = graph.gradients_from(&[(y, d_y)], &[x]).unwrap();
    let mut program = compile(&graph, &[y, gradients[0]]);
    let values = [9.0, 9.0, 9.0, 0.1, -3.0, 1e5].map(|value| half::f16::from_f32(value).to_bits());
    program.write("x", &values).unwrap();
    assert!(program.write("x", &[0.0_f32; 6]).is_err(), "twice as many bytes");
    program.run(Step::default()).unwrap();
    let floats = |value| gpu.read_floats(program.tensor(value).unwrap()).unwrap();
    assert_eq!(floats(y), [0.199_951_17, -6.0, f32::INFINITY]);
    assert_eq!(floats(gradients[0]), [0.0, 0.0, 0.0, 1.5, 1.5, 1.5]);
    assert!(program.read::<f32>(y).is_err(), "elements are smaller");
}

#[test]
fn a_gradient_is_never_dropped_silently() {
    let mut graph = Graph::new();
    let x = graph.input("x", [3], Dtype::F32);
    let unused = graph.input("unused", [3], Dtype::F32);
    let loss = graph.sum(x).unwrap();
    let error = graph.gradients(loss, &[unused]).unwrap_err().to_string();
    assert!(error.contains("`unused`, which it does not use"), "{error}");
    assert!(graph.gradients(x, &[x]).is_err(), "a vector is no loss");
    // Nodes of a backward pass have no derivative of their own, and say so.
    let y = graph.tanh(x).unwrap();
    let loss = graph.sum(y).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    let again = graph.sum(gradient).unwrap();
    assert!(graph.gradients(again, &[x]).unwrap_err().to_string().contains("has no derivative here"));
}

/// d/dx of the sum of tanh(x·x + x), x used in three places.
#[test]
fn gradients_of_values_that_are_used_often_add_up() {
    let mut graph = Graph::new();
    let x = graph.input("x", [5], Dtype::F32);
    let square = graph.multiply(x, x).unwrap();
    let sum = graph.add(square, x).unwrap();
    let y = graph.tanh(sum).unwrap();
    let loss = graph.sum(y).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    let mut program = compile(&graph, &[loss, gradient]);
    let values = [-1.5_f32, -0.3, 0.0, 0.4, 2.0];
    program.write("x", &values).unwrap();
    program.run(Step::default()).unwrap();
    let found: Vec<f32> = program.read(gradient).unwrap();
    for (x, found) in values.iter().zip(found) {
        let tanh = (x * x + x).tanh();
        assert_relative_eq!(found, (1.0 - tanh * tanh) * (2.0 * x + 1.0), epsilon = 2e-6);
    }
}

/// A product adds itself to a gradient that is there already; not where that is one of its factors, as in x + M x. The loss is the sum of
/// the squares of x + M x, or of A x + B x, with x = tanh p.
#[test]
fn products_are_added_to_gradients_that_are_there() {
    let (p, m): (_, [f32; 4]) = ([0.5_f32, -0.25], [1.0, 2.0, -3.0, 0.5]);
    let x = p.map(f32::tanh);
    for (residual, wanted) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut graph = Graph::new();
        let (p_value, m_value) = (graph.input("p", [2, 1], Dtype::F32), graph.input("m", [2, 2], Dtype::F32));
        let x_value = graph.tanh(p_value).unwrap();
        let product = graph.matmul(m_value, false, x_value, false, Epilogue::default()).unwrap();
        let other = match residual {
            true => x_value,
            false => graph.matmul(m_value, true, x_value, false, Epilogue::default()).unwrap(),
        };
        let sum = graph.add(other, product).unwrap();
        let square = graph.multiply(sum, sum).unwrap();
        let loss = graph.sum(square).unwrap();
        let wanted = if wanted { vec![p_value, m_value] } else { vec![p_value] };
        let gradients = graph.gradients(loss, &wanted).unwrap();
        let mut program = compile(&graph, &gradients);
        program.write("p", &p).unwrap();
        program.write("m", &m).unwrap();
        program.run(Step::default()).unwrap();
        // All together one matrix: I + M, or its transpose's sum with it.
        let all = match residual {
            true => [m[0] + 1.0, m[1], m[2], m[3] + 1.0],
            false => [2.0 * m[0], m[1] + m[2], m[2] + m[1], 2.0 * m[3]],
        };
        let d_sum = [all[0] * x[0] + all[1] * x[1], all[2] * x[0] + all[3] * x[1]].map(|sum| 2.0 * sum);
        let d_x = [all[0] * d_sum[0] + all[2] * d_sum[1], all[1] * d_sum[0] + all[3] * d_sum[1]];
        for (at, found) in program.read::<f32>(gradients[0]).unwrap().into_iter().enumerate() {
            assert_relative_eq!(found, d_x[at] * (1.0 - x[at] * x[at]), max_relative = 2e-6);
        }
    }
}

/// The backward of the cross-entropy works in place on the logits; where they are kept, it works on a copy.
#[test]
fn a_kept_value_survives_an_operation_in_place() {
    let mut graph = Graph::new();
    let x = graph.input("x", [4, 3], Dtype::F32);
    let targets = graph.input("targets", [4], Dtype::U32);
    let logits = graph.multiply(x, x).unwrap();
    let loss = graph.cross_entropy(logits, targets, 0.1).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    let values: Vec<f32> = (0..12).map(|i| (i as f32 * 0.7).sin()).collect();
    let run = |outputs: &[Value]| -> Vec<f32> {
        let mut program = compile(&graph, outputs);
        program.write("x", &values).unwrap();
        program.write("targets", &[1_u32, 2, 0, 1]).unwrap();
        program.run(Step { loss_scale: 1.0, ..Step::default() }).unwrap();
        if outputs.len() > 1 {
            let kept: Vec<f32> = program.read(logits).unwrap();
            assert!(kept.iter().zip(&values).all(|(kept, x)| (kept - x * x).abs() < 1e-6));
        }
        program.read(gradient).unwrap()
    };
    assert_eq!(run(&[gradient]), run(&[gradient, logits]));
}

#[test]
fn a_replay_makes_nothing_and_is_one_submit() {
    // A device of its own: the counters of the shared one are moved by the other tests of this file.
    let gpu = &Gpu::open(&GpuOptions::default()).unwrap();
    let mut graph = Graph::new();
    let x = graph.input("x", [8, 16], Dtype::F32);
    let weight = graph.parameter("weight", [16, 16]);
    let mut y = x;
    for _ in 0..6 {
        let epilogue = Epilogue { activation: Activation::Tanh, ..Epilogue::default() };
        y = graph.linear(y, weight, epilogue).unwrap();
    }
    let loss = graph.sum(y).unwrap();
    let gradient = graph.gradients(loss, &[weight]).unwrap()[0];
    let parameters = Parameters::new(gpu, [("weight".to_owned(), [16, 16].into())]).unwrap();
    let options = ProgramOptions {
        label: "replay".into(),
        parameters: Some(&parameters),
        outputs: &[loss, gradient],
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    let memory = program.memory();
    assert!(memory.slots < memory.unshared, "{memory:?}");
    let mut before = gpu.counters();
    for step in 1..=7 {
        program.write("x", &[0.1_f32; 128]).unwrap();
        program.run(Step { step, ..Step::default() }).unwrap();
        let after = gpu.counters();
        assert_eq!(after.submits, before.submits + 1, "run {step}");
        assert_eq!(after.dispatches, before.dispatches + program.recording().dispatches() as u64, "run {step}");
        if step > 2 {
            // Two runs are under way, and the third waits for the first of them.
            let made = |counters: Counters| Counters { submits: 0, dispatches: 0, waits: 0, ..counters };
            assert_eq!(made(after), made(before), "run {step}");
            assert_eq!(after.waits, before.waits + 1, "run {step}");
        }
        before = after;
    }
    assert!(program.write("y", &[0.0_f32]).is_err() && program.write("x", &[0.0_f32]).is_err());
    assert!(matches!(program.tensor(y), Err(Error::Shape { .. })), "its memory is shared");
}

/// d/da and d/db of the sum of a + b are one value of the graph, and d/dc of c is a constant: all are written where they
/// are wanted.
#[test]
fn gradients_that_share_a_value_or_are_constant_reach_every_buffer() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let (a, b) = (graph.parameter("a", [3]), graph.parameter("b", [3]));
    let sum = graph.add(a, b).unwrap();
    let loss = graph.sum(sum).unwrap();
    let mut named: Vec<_> =
        ["a".to_owned(), "b".to_owned()].into_iter().zip(graph.gradients(loss, &[a, b]).unwrap()).collect();
    assert_eq!(named[0].1, named[1].1);
    let c = graph.parameter("c", [1]);
    named.push(("c".to_owned(), graph.gradients(c, &[c]).unwrap()[0]));
    let shapes = [("a".to_owned(), [3].into()), ("b".to_owned(), [3].into()), ("c".to_owned(), [1].into())];
    let parameters = Parameters::new(gpu, shapes).unwrap();
    let gradients = parameters.like(gpu, "gradients").unwrap();
    let options = ProgramOptions {
        parameters: Some(&parameters),
        gradients: Some((&gradients, &named)),
        outputs: &[loss],
        ..ProgramOptions::default()
    };
    Program::compile(gpu, &graph, &options).unwrap().run(Step::default()).unwrap();
    for name in gradients.names() {
        let found: Vec<f32> = gpu.read(&gradients.tensor(name).unwrap()).unwrap();
        assert!(found.iter().all(|value| *value == 1.0), "{name}: {found:?}");
    }
}

/// d/db is read on the way to d/dw, and both lie in one buffer, which no dispatch can read and write at once.
#[test]
fn a_gradient_that_another_one_needs_is_not_read_from_the_common_buffer() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3], Dtype::F32);
    let (w, b) = (graph.parameter("w", [4, 3]), graph.parameter("b", [2, 4]));
    let product = graph.linear(x, w, Epilogue::default()).unwrap();
    let sum = graph.add(product, b).unwrap();
    let loss = graph.sum(sum).unwrap();
    let names = ["w".to_owned(), "b".to_owned()];
    let named: Vec<_> = names.into_iter().zip(graph.gradients(loss, &[w, b]).unwrap()).collect();
    let shapes = [("w".to_owned(), [4, 3].into()), ("b".to_owned(), [2, 4].into())];
    let parameters = Parameters::new(gpu, shapes).unwrap();
    let gradients = parameters.like(gpu, "gradients").unwrap();
    let options = ProgramOptions {
        parameters: Some(&parameters),
        gradients: Some((&gradients, &named)),
        ..ProgramOptions::default()
    };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    program.write("x", &[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    program.run(Step::default()).unwrap();
    let read = |name| gpu.read::<f32>(&gradients.tensor(name).unwrap()).unwrap();
    assert_eq!(read("b"), [1.0; 8]);
    assert_eq!(read("w"), [5.0, 7.0, 9.0].repeat(4));
}

/// A product folds all but the last extent of its operands into rows; their gradients unfold again.
#[test]
fn gradients_of_folded_operands_have_their_shapes() {
    let mut graph = Graph::new();
    let a = graph.input("a", [2, 3, 4], Dtype::F32);
    let b = graph.input("b", [3, 2, 5], Dtype::F32);
    let product = graph.matmul(a, true, b, false, Epilogue::default()).unwrap();
    assert_eq!(graph.dims(product), [4, 5]);
    let loss = graph.sum(product).unwrap();
    let gradients = graph.gradients(loss, &[a, b]).unwrap();
    assert_eq!(graph.dims(gradients[0]), [2, 3, 4]);
    assert_eq!(graph.dims(gradients[1]), [3, 2, 5]);
    let mut program = compile(&graph, &gradients);
    program.write("a", &(0..24).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    program.write("b", &(0..30).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    program.run(Step::default()).unwrap();
    // d_a[k, m] is the sum of row k of b, d_b[k, n] the sum of row k of a.
    let d_a: Vec<f32> = program.read(gradients[0]).unwrap();
    let d_b: Vec<f32> = program.read(gradients[1]).unwrap();
    assert!(d_a.iter().enumerate().all(|(i, value)| *value == (25 * (i / 4) + 10) as f32), "{d_a:?}");
    assert!(d_b.iter().enumerate().all(|(i, value)| *value == (16 * (i / 5) + 6) as f32), "{d_b:?}");
}

#[test]
fn parameters_that_are_missing_or_of_another_shape_are_refused() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let weight = graph.parameter("weight", [2, 2]);
    let loss = graph.sum(weight).unwrap();
    for shape in [None, Some([2, 3])] {
        let parameters = shape.map(|shape| Parameters::new(gpu, [("weight".to_owned(), shape.into())]).unwrap());
        let options = ProgramOptions { parameters: parameters.as_ref(), outputs: &[loss], ..ProgramOptions::default() };
        let error = Program::compile(gpu, &graph, &options).unwrap_err().to_string();
        assert_eq!(error, "program: parameters: wanted `weight` f32 [2, 2], got none of that name, type and shape");
    }
}

/// The table's products, picked by token, are what the picked rows' products would be: outputs, and every gradient.
/// Features and the gradients of all parameters of a small model whose words are named by tokens or are rows, with a mask on the
/// encoder's states and losses of the attention's weights.
fn small_model(precision: Dtype, by_token: bool) -> Vec<Vec<f32>> {
    let [batch, steps, vocabulary, word, hidden] = [3, 4, 6, 8, 12];
    let mut graph = Graph::with_precision(precision);
    let shapes: [&[usize]; 12] = [
        &[vocabulary, word],
        &[3 * hidden, word],
        &[3 * hidden, hidden],
        &[3 * hidden],
        &[3 * hidden],
        &[hidden, hidden],
        &[hidden],
        &[3 * hidden, word + hidden],
        &[3 * hidden, hidden],
        &[3 * hidden],
        &[3 * hidden],
        &[hidden, hidden],
    ];
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("p{i}")).collect();
    let p: Vec<Value> = names.iter().zip(shapes).map(|(name, shape)| graph.input(name, shape, Dtype::F32)).collect();
    let tokens = graph.input("tokens", [batch, steps], Dtype::U32);
    let lengths = graph.input("lengths", [batch], Dtype::U32);
    let expected = graph.input("expected", [batch, steps, steps], Dtype::F32);
    let cell = |p: &[Value]| GruWeights { weight_ih: p[0], weight_hh: p[1], bias_ih: p[2], bias_hh: p[3] };
    let ones = graph.filled([1, batch, hidden], 1.0);
    let mask = graph.dropout(ones, 0.25).unwrap();
    let h0 = graph.filled([1, batch, hidden], 0.25);
    let words = graph.embedding(p[0], tokens).unwrap();
    let x = if by_token { GruInput::Tokens { table: p[0], tokens } } else { GruInput::Rows(words) };
    let (annotation, last) = graph.gru(x, h0, lengths, &[cell(&p[1..5])], Some(mask)).unwrap();
    let inputs = DecoderInputs {
        words: x,
        state0: graph.reshape(last[0], [batch, hidden]).unwrap(),
        key: graph.linear(annotation, p[11], Epilogue::default()).unwrap(),
        annotation,
        lengths,
        query_weight: p[5],
        energy: p[6],
        cell: cell(&p[7..11]),
        mask: None,
    };
    let outputs = graph.attentional_decoder(&inputs).unwrap();
    assert_eq!([outputs.features, outputs.weights].map(|value| graph.dtype(value)), [precision, Dtype::F32]);
    let features = graph.tanh(outputs.features).unwrap();
    let mut loss = graph.sum(features).unwrap();
    for term in [
        graph.alignment_loss(outputs.weights, expected, 2.0).unwrap(),
        graph.coverage_loss(outputs.weights, tokens, 3.0).unwrap(),
    ] {
        loss = graph.add(loss, term).unwrap();
    }
    let mut kept = vec![outputs.features];
    kept.extend(graph.gradients(loss, &[p.as_slice(), &[outputs.features]].concat()).unwrap());
    let mut program = compile(&graph, &kept);
    for (i, (name, shape)) in names.iter().zip(shapes).enumerate() {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|j: usize| ((i + j * 37) % 19) as f32 / 30.0 - 0.3).collect();
        program.write(name, &values).unwrap();
    }
    program.write("tokens", &[0_u32, 5, 2, 2, 1, 5, 5, 0, 3, 3, 3, 3]).unwrap();
    program.write("lengths", &[4_u32, 2, 3]).unwrap();
    let expected: Vec<f32> = (0..batch * steps * steps).map(|i| if i % steps == 1 { 1.0 } else { 0.0 }).collect();
    program.write("expected", &expected).unwrap();
    program.run(Step { seed: 7, loss_scale: 0.25, alignment_scale: 0.25, ..Step::default() }).unwrap();
    kept.iter().map(|value| common::gpu().read_floats(program.tensor(*value).unwrap()).unwrap()).collect()
}

/// Each tensor within `tolerance` of its largest value.
fn assert_close(tensors: &[Vec<f32>], others: &[Vec<f32>], tolerance: f32) {
    for (index, (tensor, other)) in tensors.iter().zip(others).enumerate() {
        let largest = tensor.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert!(largest > 0.0, "tensor {index} is all zeros");
        for (a, b) in tensor.iter().zip(other) {
            assert!((a - b).abs() <= tolerance * largest, "tensor {index}: {a} {b}, largest {largest}");
        }
    }
}

/// The decoder's backward takes over the gradient of the features; where that is kept, it must be as it was.
#[test]
fn a_gradient_that_is_kept_is_not_taken_over() {
    for by_token in [false, true] {
        let tensors = small_model(Dtype::F32, by_token);
        let (features, gradient) = (&tensors[0], &tensors[tensors.len() - 1]);
        for (feature, gradient) in features.iter().zip(gradient) {
            assert!((gradient - (1.0 - feature.tanh().powi(2))).abs() < 1e-6, "{gradient} of {feature}");
        }
    }
}

/// Last states lie among all, a decoder's first ones where its own begin, and gradients of the last where those of the first go, if they
/// can begin there. Wherever they lie, they are the same bits.
#[test]
fn states_are_the_same_wherever_they_lie() {
    let sizes = [(4, 16, 2), (3, 5, 2), (4, 16, 1), (1, 7, 1), (1, 16, 2), (1, 4, 2)];
    for ((batch, hidden, directions), of_part) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let mut graph = Graph::new();
        // The last states of the first direction then begin at a multiple of 256 bytes.
        let (steps, input) = (if batch * hidden < 64 { 64 / (batch * hidden) } else { 3 }, 2);
        let mut inputs = Vec::new();
        let mut value = |graph: &mut Graph, shape: &[usize]| {
            let name = format!("p{}", inputs.len());
            inputs.push((name.clone(), shape.iter().product::<usize>()));
            graph.input(name, shape, Dtype::F32)
        };
        let x = value(&mut graph, &[batch, steps, input]);
        let mut cell = |graph: &mut Graph, input: usize| GruWeights {
            weight_ih: value(graph, &[3 * hidden, input]),
            weight_hh: value(graph, &[3 * hidden, hidden]),
            bias_ih: value(graph, &[3 * hidden]),
            bias_hh: value(graph, &[3 * hidden]),
        };
        let cells: Vec<_> = (0..directions).map(|_| cell(&mut graph, input)).collect();
        let upper = cell(&mut graph, directions * hidden);
        let lengths = graph.counts([batch], steps as u32);
        let zeros = graph.filled([directions, batch, hidden], 0.0);
        let (y, last) = graph.gru(x, zeros, lengths, &cells, None).unwrap();
        // Its own output is read again, by its gradient; a part of others is where it would overwrite what lies behind it.
        let first = match of_part {
            true => last[0],
            false => graph.tanh(*last.last().unwrap()).unwrap(),
        };
        let (y, top) = graph.gru(y, first, lengths, &[upper], None).unwrap();
        let all = graph.stacked(&[&last[..], &top].concat()).unwrap();
        let terms = [y, all].map(|value| {
            let square = graph.multiply(value, value).unwrap();
            graph.sum(square).unwrap()
        });
        let loss = graph.add(terms[0], terms[1]).unwrap();
        let wanted = [x, cells[0].weight_hh, cells[directions - 1].bias_ih, upper.weight_hh];
        let gradients = graph.gradients(loss, &wanted).unwrap();
        let kept = [&last[..], &[first], &top].concat();
        let found = [false, true].map(|keep| {
            let outputs = if keep { [&gradients[..], &kept].concat() } else { gradients.clone() };
            let mut program = compile(&graph, &outputs);
            for (name, elements) in &inputs {
                let values: Vec<f32> = (0..*elements).map(|i| ((i * 7 + elements) % 11) as f32 / 16.0 - 0.3).collect();
                program.write(name, &values).unwrap();
            }
            program.run(Step::default()).unwrap();
            program.run(Step::default()).unwrap();
            let bits = |value: &Value| program.read::<u32>(*value).unwrap();
            (program.recording().dispatches(), gradients.iter().map(bits).collect::<Vec<_>>())
        });
        assert_eq!(found[0].1, found[1].1, "{batch} x {hidden}, {directions} directions, of a part: {of_part}");
        assert!(found[0].0 < found[1].0 || (batch * hidden) % 64 > 0, "copies where there need be none");
    }
}

/// A loss makes the gradient of its logits at once; a second gradient, and one of the gradient, know nothing of that.
#[test]
fn a_loss_may_be_differentiated_twice_and_its_gradient_not() {
    let mut graph = Graph::new();
    let logits = graph.input("logits", [4, 5], Dtype::F32);
    let targets = graph.input("targets", [4], Dtype::U32);
    let x = graph.scale(logits, 1.0).unwrap();
    let loss = graph.cross_entropy(x, targets, 0.1).unwrap();
    let first = graph.gradients(loss, &[logits]).unwrap()[0];
    let second = graph.gradients(loss, &[logits]).unwrap()[0];
    let mut program = compile(&graph, &[loss, first, second]);
    program.write("logits", &(0..20).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>()).unwrap();
    program.write("targets", &[1_u32, 4, 0, 2]).unwrap();
    program.run(Step { loss_scale: 1.0, ..Step::default() }).unwrap();
    let [first_found, second_found] = [first, second].map(|value| program.read::<f32>(value).unwrap());
    for (first, second) in first_found.iter().zip(&second_found) {
        assert_relative_eq!(*first, *second, epsilon = 1e-6);
    }
    assert!(first_found.iter().any(|gradient| gradient.abs() > 0.1));
    let square = graph.multiply(first, first).unwrap();
    let penalty = graph.sum(square).unwrap();
    assert!(matches!(graph.gradients(penalty, &[logits]), Err(Error::Shape { argument: "gradient", .. })));
}

#[test]
fn a_gradient_that_is_read_twice_is_not_taken_over() {
    let found = [true, false].map(|one_value| {
        let mut graph = Graph::new();
        let shapes: [&[usize]; 6] = [&[1, 1, 3], &[1, 1, 4], &[12, 3], &[12, 4], &[12], &[12]];
        let names: Vec<String> = (0..6).map(|i| format!("p{i}")).collect();
        let p: Vec<Value> =
            names.iter().zip(shapes).map(|(name, shape)| graph.input(name, shape, Dtype::F32)).collect();
        let lengths = graph.counts([1], 1);
        let weights = GruWeights { weight_ih: p[2], weight_hh: p[3], bias_ih: p[4], bias_hh: p[5] };
        let (mut y, last) = graph.gru(p[0], p[1], lengths, &[weights], None).unwrap();
        let mut last = last[0];
        if !one_value {
            (y, last) = (graph.scale(y, 1.0).unwrap(), graph.scale(last, 1.0).unwrap());
        }
        let sum = graph.add(y, last).unwrap();
        let square = graph.multiply(sum, sum).unwrap();
        let loss = graph.sum(square).unwrap();
        let gradients = graph.gradients(loss, &p).unwrap();
        let mut program = compile(&graph, &gradients);
        for (name, shape) in names.iter().zip(shapes) {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| ((i * 5) % 7) as f32 / 7.0 - 0.4).collect();
            program.write(name, &values).unwrap();
        }
        program.run(Step::default()).unwrap();
        gradients.iter().map(|value| program.read::<f32>(*value).unwrap()).collect::<Vec<_>>()
    });
    assert_close(&found[0], &found[1], 1e-6);
}

#[test]
fn words_by_token_are_words_by_row() {
    assert_close(&small_model(Dtype::F32, false), &small_model(Dtype::F32, true), 1e-5);
}

#[test]
fn gradients_in_f16_are_those_in_f32() {
    if !common::gpu().tiles().f16 {
        return;
    }
    for by_token in [false, true] {
        assert_close(&small_model(Dtype::F32, by_token), &small_model(Dtype::F16, by_token), 1e-2);
    }
}

#[test]
fn what_is_split_and_concatenated_is_the_same_and_so_is_its_gradient() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 2, 7], Dtype::F32);
    let parts = graph.split(x, &[2, 1, 4]).unwrap();
    let swapped = graph.concatenate(&[parts[2], parts[0]]).unwrap();
    let square = graph.multiply(swapped, swapped).unwrap();
    let loss = graph.sum(square).unwrap();
    let gradient = graph.gradients(loss, &[x]).unwrap()[0];
    assert_eq!(
        [parts[1], swapped, gradient].map(|value| graph.dims(value).to_vec()),
        [vec![2, 2, 1], vec![2, 2, 6], vec![2, 2, 7]]
    );
    let mut program = compile(&graph, &[swapped, gradient]);
    let values: Vec<f32> = (0..28).map(|i| i as f32).collect();
    program.write("x", &values).unwrap();
    program.run(Step::default()).unwrap();
    let of_row = |row: &[f32]| [&row[3..], &row[..2]].concat();
    assert_eq!(program.read::<f32>(swapped).unwrap(), values.chunks(7).flat_map(of_row).collect::<Vec<_>>());
    // Nothing depends on the part in the middle.
    let expected = values.iter().enumerate().map(|(i, x)| if i % 7 == 2 { 0.0 } else { 2.0 * x });
    assert_eq!(program.read::<f32>(gradient).unwrap(), expected.collect::<Vec<_>>());
}

#[test]
fn pairs_of_matrices_are_multiplied_and_differentiated_in_every_order() {
    use softalign::reference::matmul;
    let [batch, m, n, k] = [3, 2, 5, 4];
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut graph = Graph::new();
        let a = graph.input("a", if transpose_a { [batch, k, m] } else { [batch, m, k] }, Dtype::F32);
        let b = graph.input("b", if transpose_b { [batch, n, k] } else { [batch, k, n] }, Dtype::F32);
        let c = graph.batched_matmul([a, b], [transpose_a, transpose_b], Dtype::F32).unwrap();
        let up = graph.input("up", [batch, m, n], Dtype::F32);
        let gradients = graph.gradients_from(&[(c, up)], &[a, b]).unwrap();
        let mut program = compile(&graph, &[c, gradients[0], gradients[1]]);
        let draw = |count: usize, factor: f64| (0..count).map(|i| (i as f64 * factor).sin()).collect::<Vec<_>>();
        let (of_a, of_b, of_c) = (draw(batch * m * k, 0.7), draw(batch * k * n, 1.3), draw(batch * m * n, 2.1));
        for (name, values) in [("a", &of_a), ("b", &of_b), ("up", &of_c)] {
            program.write(name, &values.iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap();
        }
        program.run(Step::default()).unwrap();
        let activation = matmul::Activation::None;
        let reference = matmul::Matmul { m, n, k, batch, transpose_a, transpose_b, activation };
        let expected = reference.backward(&of_a, &of_b, None, &of_c);
        let product = reference.forward(&of_a, &of_b, None);
        for (value, expected) in [(c, product), (gradients[0], expected.a), (gradients[1], expected.b)] {
            let found: Vec<f32> = program.read(value).unwrap();
            assert!(found.iter().zip(&expected).all(|(found, expected)| (f64::from(*found) - expected).abs() < 1e-5));
            assert_eq!(found.len(), expected.len());
        }
    }
}

#[test]
fn parts_and_pairs_that_do_not_fit_are_refused() {
    let mut graph = Graph::new();
    let a = graph.input("a", [2, 3, 4], Dtype::F32);
    let b = graph.input("b", [3, 2, 4], Dtype::F32);
    let tokens = graph.input("tokens", [2, 3, 4], Dtype::U32);
    for (result, argument) in [
        (graph.concatenate(&[]), "parts"),
        (graph.concatenate(&[a, b]), "parts"),
        (graph.concatenate(&[a, tokens]), "parts"),
        (graph.split(a, &[1, 2]).map(|parts| parts[0]), "sizes"),
        (graph.split(a, &[4, 0]).map(|parts| parts[0]), "sizes"),
        (graph.split_at(a, 5).map(|[part, _]| part), "sizes"),
        (graph.batched_matmul([a, b], [false, true], Dtype::F32), "b"),
        (graph.batched_matmul([a, a], [false, false], Dtype::F32), "b"),
        (graph.batched_matmul([a, a], [false, true], Dtype::F16), "dtype"),
    ] {
        assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
    }
}
