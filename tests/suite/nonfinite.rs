//! Infinities and NaN in the input of every kernel and in every parameter of a model: the loss or a gradient shows them, so that
//! the finite flag stops the update.

use crate::common::{
    self,
    training::{Setting, tiny},
};
use half::f16;
use softalign::{
    Gpu,
    gpu::Dtype,
    graph::{
        ChunkedAttention, DecoderInputs, Epilogue, Graph, GruWeights, MultiHeadAttention, Program, ProgramOptions,
        RelativeQueries, SpanQueries, Value, Window,
    },
    kernels::{Step, conv1d::Padding, local_attention, matmul::Activation, pointwise::Gelu},
    model::Regularisation,
    train::{Optimizer, Trainer},
};

/// What is f32 whatever activations are.
const SINGLE: [&str; 13] = [
    "position",
    "spans",
    "table",
    "weight",
    "weights",
    "bias",
    "gain",
    "energy",
    "query_weight",
    CELL[0].0,
    CELL[1].0,
    CELL[2].0,
    CELL[3].0,
];

/// A kernel's inputs, floats with their extents, and what it makes of them; tokens and lengths come last.
struct Kind {
    name: &'static str,
    floats: &'static [(&'static str, &'static [usize])],
    words: &'static [(&'static str, &'static [usize], &'static [u32])],
    build: fn(&mut Graph, &[Value]) -> Value,
}

const LENGTHS: (&str, &[usize], &[u32]) = ("lengths", &[2], &[3, 2]);
const CELL: [(&str, &[usize]); 4] =
    [("weight_ih", &[24, 8]), ("weight_hh", &[24, 8]), ("bias_ih", &[24]), ("bias_hh", &[24])];

fn cell(x: &[Value]) -> GruWeights {
    GruWeights { weight_ih: x[0], weight_hh: x[1], bias_ih: x[2], bias_hh: x[3] }
}

fn layer(graph: &mut Graph, x: &[Value], activation: Activation) -> Value {
    graph.linear(x[0], x[1], Epilogue { bias: Some(x[2]), activation }).unwrap()
}

const LAYER: &[(&str, &[usize])] = &[("x", &[5, 8]), ("weight", &[7, 8]), ("bias", &[7])];

const KINDS: &[Kind] = &[
    Kind { name: "add", floats: &[("a", &[9]), ("b", &[9])], words: &[], build: |g, x| g.add(x[0], x[1]).unwrap() },
    Kind {
        name: "multiply",
        floats: &[("a", &[9]), ("b", &[9])],
        words: &[],
        build: |g, x| g.multiply(x[0], x[1]).unwrap(),
    },
    Kind { name: "tanh", floats: &[("a", &[9])], words: &[], build: |g, x| g.tanh(x[0]).unwrap() },
    Kind { name: "sigmoid", floats: &[("a", &[9])], words: &[], build: |g, x| g.sigmoid(x[0]).unwrap() },
    Kind { name: "relu", floats: &[("a", &[9])], words: &[], build: |g, x| g.relu(x[0]).unwrap() },
    Kind { name: "gelu", floats: &[("a", &[9])], words: &[], build: |g, x| g.gelu(x[0], Gelu::Erf).unwrap() },
    Kind { name: "gelu, tanh", floats: &[("a", &[9])], words: &[], build: |g, x| g.gelu(x[0], Gelu::Tanh).unwrap() },
    Kind { name: "swish", floats: &[("a", &[9])], words: &[], build: |g, x| g.swish(x[0]).unwrap() },
    Kind { name: "sum", floats: &[("x", &[300])], words: &[], build: |g, x| g.sum(x[0]).unwrap() },
    Kind { name: "column_sum", floats: &[("x", &[9, 5])], words: &[], build: |g, x| g.column_sum(x[0]).unwrap() },
    Kind { name: "dropout", floats: &[("x", &[9])], words: &[], build: |g, x| g.dropout(x[0], 0.1).unwrap() },
    Kind {
        name: "embedding",
        floats: &[("table", &[4, 8])],
        words: &[("tokens", &[5], &[3, 0, 1, 1, 2])],
        build: |g, x| g.embedding(x[0], x[1]).unwrap(),
    },
    Kind { name: "matmul", floats: LAYER, words: &[], build: |g, x| layer(g, x, Activation::None) },
    Kind { name: "matmul, tanh", floats: LAYER, words: &[], build: |g, x| layer(g, x, Activation::Tanh) },
    Kind { name: "matmul, sigmoid", floats: LAYER, words: &[], build: |g, x| layer(g, x, Activation::Sigmoid) },
    Kind {
        name: "softmax",
        floats: &[("x", &[2, 3])],
        words: &[LENGTHS],
        build: |g, x| g.softmax(x[0], Some(x[1])).unwrap(),
    },
    Kind {
        name: "layer_norm",
        floats: &[("x", &[2, 5]), ("gain", &[5]), ("bias", &[5])],
        words: &[],
        build: |g, x| g.layer_norm(x[0], x[1], Some(x[2]), 1e-5).unwrap(),
    },
    Kind {
        name: "rms_norm",
        floats: &[("x", &[2, 8]), ("gain", &[8])],
        words: &[],
        build: |g, x| g.rms_norm(x[0], x[1], 1e-5).unwrap(),
    },
    Kind { name: "glu", floats: &[("x", &[2, 6])], words: &[], build: |g, x| g.glu(x[0]).unwrap() },
    Kind {
        name: "conv1d",
        floats: &[("x", &[2, 3, 4]), ("weight", &[5, 4, 3]), ("bias", &[5])],
        words: &[],
        build: |g, x| g.conv1d(x[0], x[1], Some(x[2]), Padding::Same).unwrap(),
    },
    Kind {
        name: "length_mask",
        floats: &[("x", &[2, 3, 4])],
        words: &[("lengths", &[2], &[3, 3])],
        build: |g, x| g.length_mask(x[0], x[1], true).unwrap(),
    },
    Kind {
        name: "relative_attention",
        floats: &[("queries", &[2, 2, 16]), ("key", &[2, 3, 8]), ("value", &[2, 3, 8]), ("relative", &[3, 8])],
        words: &[("lengths", &[2], &[3, 3])],
        build: |g, x| {
            let queries = RelativeQueries { queries: x[0], heads: 2, scale: 0.5 };
            g.relative_attention(queries, [x[1], x[2]], x[3], x[4]).unwrap()
        },
    },
    Kind {
        name: "span_attention",
        floats: &[
            ("query", &[2, 2, 8]),
            ("key", &[2, 3, 8]),
            ("value", &[2, 3, 8]),
            ("position", &[3, 4]),
            ("spans", &[2]),
        ],
        words: &[],
        build: |g, x| {
            let queries = SpanQueries { query: x[0], spans: x[4], ramp: 2.0, scale: 0.5 };
            g.span_attention(queries, [x[1], x[2]], x[3]).unwrap()
        },
    },
    Kind {
        name: "permute and slice",
        floats: &[("x", &[2, 3, 4])],
        words: &[],
        build: |g, x| {
            let permuted = g.permute(x[0], &[2, 0, 1]).unwrap();
            g.slice(permuted, 0, 0..2).unwrap()
        },
    },
    Kind {
        name: "cross_entropy",
        floats: &[("logits", &[2, 5])],
        words: &[("targets", &[2], &[1, 4])],
        build: |g, x| g.cross_entropy(x[0], x[1], 0.1).unwrap(),
    },
    Kind {
        name: "coverage_loss",
        floats: &[("weights", &[2, 2, 3])],
        words: &[("targets", &[2, 2], &[1, 4, 2, 3])],
        build: |g, x| g.coverage_loss(x[0], x[1], 1.0).unwrap(),
    },
    Kind {
        name: "alignment_loss",
        floats: &[("weights", &[2, 2, 3])],
        words: &[],
        build: |g, x| {
            let expected = g.filled([2, 2, 3], 0.25);
            g.alignment_loss(x[0], expected, 1.0).unwrap()
        },
    },
    Kind {
        name: "dot_product_attention",
        floats: &[("query", &[2, 2, 4, 8]), ("key", &[2, 2, 3, 8]), ("value", &[2, 2, 3, 8])],
        words: &[LENGTHS],
        build: |g, x| g.dot_product_attention(x[0], x[1], x[2], x[3], false).unwrap(),
    },
    Kind {
        name: "sliding_window_attention",
        floats: &[("query", &[2, 3, 16]), ("key", &[2, 3, 16]), ("value", &[2, 3, 16])],
        words: &[LENGTHS, ("globals", &[2, 1], &[1, 3])],
        build: |g, x| {
            let window = Some(Window { globals: Some(x[4]), ..Window::of(1) });
            let attention = MultiHeadAttention { window, ..MultiHeadAttention::new(x[0], x[1], x[2], x[3], 2) };
            g.multi_head_attention(&attention).unwrap().context
        },
    },
    Kind {
        name: "lsh_attention",
        floats: &[("query", &[2, 4, 8]), ("value", &[2, 4, 8])],
        words: &[("lengths", &[2], &[4, 4])],
        build: |g, x| {
            let [query, value, lengths] = [x[0], x[1], x[2]];
            let attention = ChunkedAttention {
                query,
                key: None,
                value,
                lengths,
                buckets: None,
                heads: 2,
                chunk: 2,
                before: 1,
                after: 0,
                causal: true,
                padding: None,
                dropout: 0.0,
            };
            g.lsh_attention(&attention).unwrap()
        },
    },
    Kind {
        name: "listed_rows",
        floats: &[("x", &[2, 3, 8])],
        words: &[("positions", &[2, 2], &[0, 2, 1, 3])],
        build: |g, x| {
            let rows = g.listed_rows(x[0], x[1]).unwrap();
            g.put_listed_rows(x[0], rows, x[1]).unwrap()
        },
    },
    Kind {
        name: "additive_attention",
        floats: &[("query", &[2, 9, 8]), ("key", &[2, 3, 8]), ("energy", &[8]), ("value", &[2, 3, 8])],
        words: &[LENGTHS],
        build: |g, x| g.additive_attention(x[0], x[1], x[2], x[3], x[4]).unwrap().0,
    },
    Kind {
        name: "additive_attention, one query",
        floats: &[("query", &[2, 1, 8]), ("key", &[2, 3, 8]), ("energy", &[8]), ("value", &[2, 3, 8])],
        words: &[LENGTHS],
        build: |g, x| g.additive_attention(x[0], x[1], x[2], x[3], x[4]).unwrap().0,
    },
    Kind {
        name: "additive_score",
        floats: &[("query", &[2, 9, 8]), ("key", &[2, 3, 8]), ("energy", &[8])],
        words: &[LENGTHS],
        build: |g, x| g.additive_score(x[0], x[1], x[2], x[3]).unwrap(),
    },
    Kind {
        name: "local_attention",
        floats: &[("scores", &[2, 4, 3])],
        words: &[LENGTHS],
        build: |g, x| g.local_attention(x[0], x[1], None, 3, local_attention::Window::Global).unwrap().weights,
    },
    Kind {
        name: "local_attention, predicted",
        floats: &[("scores", &[2, 4, 3]), ("shares", &[2, 4])],
        words: &[LENGTHS],
        build: |g, x| {
            g.local_attention(x[0], x[2], Some(x[1]), 3, local_attention::Window::Predicted { half_width: 2.0 })
                .unwrap()
                .weights
        },
    },
    Kind {
        name: "batched_matmul",
        floats: &[("weights", &[2, 4, 3]), ("value", &[2, 3, 8])],
        words: &[],
        build: |g, x| g.batched_matmul([x[0], x[1]], [false, false], g.dtype(x[1])).unwrap(),
    },
    Kind {
        name: "concatenate and split",
        floats: &[("a", &[2, 3]), ("b", &[2, 5])],
        words: &[],
        build: |g, x| {
            let whole = g.concatenate(&[x[0], x[1]]).unwrap();
            let [left, right] = g.split_at(whole, 4).unwrap();
            g.multiply(left, right).unwrap()
        },
    },
    Kind {
        name: "gru",
        floats: &[("x", &[2, 3, 8]), ("h0", &[1, 2, 8]), CELL[0], CELL[1], CELL[2], CELL[3]],
        words: &[LENGTHS],
        build: |g, x| g.gru(x[0], x[1], x[6], &[cell(&x[2..])], None).unwrap().0,
    },
    Kind {
        name: "gru, one row",
        floats: &[("x", &[1, 3, 8]), ("h0", &[1, 1, 8]), CELL[0], CELL[1], CELL[2], CELL[3]],
        words: &[("lengths", &[1], &[3])],
        build: |g, x| g.gru(x[0], x[1], x[6], &[cell(&x[2..])], None).unwrap().0,
    },
    Kind {
        name: "attentional_decoder",
        floats: &[
            ("words", &[2, 3, 4]),
            ("state0", &[2, 8]),
            ("key", &[2, 3, 8]),
            ("annotation", &[2, 3, 4]),
            ("query_weight", &[8, 8]),
            ("energy", &[8]),
            CELL[0],
            CELL[1],
            CELL[2],
            CELL[3],
        ],
        words: &[LENGTHS],
        build: |g, x| {
            let inputs = DecoderInputs {
                words: x[0].into(),
                state0: x[1],
                key: x[2],
                annotation: x[3],
                lengths: x[10],
                query_weight: x[4],
                energy: x[5],
                cell: cell(&x[6..]),
                mask: None,
            };
            g.attentional_decoder(&inputs).unwrap().features
        },
    },
];

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

#[test]
fn what_is_not_finite_shows() {
    let hidden: Vec<String> = common::forms().into_iter().flat_map(|(gpu, dtype)| hidden(gpu, dtype)).collect();
    assert!(hidden.is_empty(), "hidden:\n{}", hidden.join("\n"));
}

fn is_softmax(kind: &Kind) -> bool {
    kind.name == "softmax" || kind.name.starts_with("local_attention")
}

/// What of all that is bad does not show, with activations of `dtype`.
fn hidden(gpu: &Gpu, dtype: Dtype) -> Vec<String> {
    let mut hidden = Vec::new();
    let type_of = |name: &str| if SINGLE.contains(&name) { Dtype::F32 } else { dtype };
    for kind in KINDS {
        let mut graph = Graph::new();
        let mut inputs: Vec<Value> =
            kind.floats.iter().map(|(name, shape)| graph.input(*name, *shape, type_of(name))).collect();
        inputs.extend(kind.words.iter().map(|(name, shape, _)| graph.input(*name, *shape, Dtype::U32)));
        let y = (kind.build)(&mut graph, &inputs);
        let square = graph.multiply(y, y).unwrap();
        let loss = graph.sum(square).unwrap();
        let mut outputs = vec![loss];
        outputs.extend(graph.gradients(loss, &inputs[..kind.floats.len()]).unwrap());
        let options = ProgramOptions { label: kind.name.into(), outputs: &outputs, ..ProgramOptions::default() };
        let mut program = Program::compile(gpu, &graph, &options).unwrap();
        for (name, _, tokens) in kind.words {
            program.write(name, tokens).unwrap();
        }
        let mut shows = |poison: Option<(usize, f32)>| {
            for (input, (name, shape)) in kind.floats.iter().enumerate() {
                let count = shape.iter().product();
                let mut values: Vec<f32> = (0..count).map(|i| 0.1 + ((i + input) % 7) as f32 / 10.0).collect();
                if let Some((_, value)) = poison.filter(|(poisoned, _)| *poisoned == input) {
                    values[1] = value;
                }
                match type_of(name) {
                    Dtype::F16 => {
                        let bits: Vec<u16> = values.into_iter().map(|value| f16::from_f32(value).to_bits()).collect();
                        program.write(name, &bits).unwrap();
                    }
                    _ => program.write(name, &values).unwrap(),
                }
            }
            program.run(Step { step: 1, seed: 1, loss_scale: 1.0, alignment_scale: 1.0, ..Step::default() }).unwrap();
            let not_finite = |output: &Value| {
                let found = gpu.read_floats(program.tensor(*output).unwrap()).unwrap();
                found.iter().any(|value| !value.is_finite())
            };
            outputs.iter().any(not_finite)
        };
        assert!(!shows(None), "{}, {dtype}: not finite without a cause", kind.name);
        for (input, (name, _)) in kind.floats.iter().enumerate() {
            for value in BAD {
                // That weighs nothing, and is no error.
                let masks = ["x", "scores"].contains(name) && is_softmax(kind) && value == f32::NEG_INFINITY;
                if !masks && !shows(Some((input, value))) {
                    hidden.push(format!("{}, {dtype}: {value} in {name}", kind.name));
                }
            }
        }
    }
    hidden
}

#[test]
fn a_parameter_that_is_not_finite_stops_the_update_and_is_reported() {
    for (gpu, precision) in common::forms() {
        updates_stop(gpu, precision);
    }
}

fn updates_stop(gpu: &Gpu, precision: Dtype) {
    let setting = Setting::new();
    let tiny = tiny(gpu, &setting, 16);
    let optimizer = Optimizer { clip_norm: Some(1.0), precision, ..Optimizer::default() };
    let (network, parameters) = (tiny.model.network.clone(), &tiny.model.parameters);
    let mut trainer = Trainer::new(gpu, network, parameters, optimizer, Regularisation::default()).unwrap();
    if let Some(scaling) = &trainer.state.scaling {
        // With a larger one a step that is not finite is tried again, and is no fault.
        gpu.write(scaling, &[1.0_f32, 0.0]).unwrap();
    }
    let batch = tiny.batch();
    let (mut step, mut skipped, mut hidden) = (0, 0, Vec::new());
    for name in tiny.model.parameters.names() {
        let tensor = tiny.model.parameters.tensor(name).unwrap();
        let values: Vec<f32> = gpu.read(&tensor).unwrap();
        // One of a vector; of a matrix a column, since not every word of a table occurs.
        let every = if tensor.shape().dims().len() > 1 { tensor.shape().last() } else { values.len() };
        for value in BAD {
            let mut poisoned = values.clone();
            poisoned.iter_mut().skip(every / 2).step_by(every).for_each(|x| *x = value);
            gpu.write(&tensor, &poisoned).unwrap();
            step += 1;
            trainer.step(&batch, step, 1, 1e-3).unwrap();
            let report = trainer.state.read_report(gpu).unwrap();
            if (report.skipped, report.last_skipped) == (skipped + 1, step) {
                skipped += 1;
                assert!(common::bits(gpu, &tensor) == poisoned.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            } else {
                hidden.push(format!("{precision}: {value} in {name}"));
            }
        }
        gpu.write(&tensor, &values).unwrap();
    }
    assert!(hidden.is_empty(), "hidden:\n{}", hidden.join("\n"));
    trainer.step(&batch, step + 1, 1, 1e-3).unwrap();
    let report = trainer.state.read_report(gpu).unwrap();
    assert_eq!((report.skipped, report.last_skipped), (skipped, step), "repaired, it goes on");
}
