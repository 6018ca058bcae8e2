//! The forward passes of the large kernels, from submit to the end of the work, at a small shape and at one of the default
//! model's: `cargo bench -- --quick`. The output at the small shape is compared with the reference before anything is timed.
//! `softalign bench` measures more, and against the adapter's limits.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use softalign::{
    Gpu, GpuOptions, Result, Tensor,
    gpu::{Cost, Dtype, Recorder, Recording},
    kernels::{
        additive_attention::{self, AdditiveAttention},
        dot_product_attention::{self, DotProductAttention},
        gru::{self, Gru},
        matmul::{self, Matmul, Matrix},
        softmax::Softmax,
    },
    reference,
    validate::relative_error,
};

/// Any of these kernels at any of these shapes stays well below.
const TOLERANCE: f64 = 1e-5;

/// Values in (-1, 1) without a pattern, as the reference takes them and on the device.
struct Values {
    host: Vec<f64>,
    tensor: Tensor,
}

fn values(gpu: &Gpu, shape: &[usize], scale: f32) -> Values {
    let elements: usize = shape.iter().product();
    let host: Vec<f32> =
        (0..elements).map(|i| ((i.wrapping_mul(2_654_435_761) >> 7) % 2003) as f32 / 1001.5 - 1.0).collect();
    let host: Vec<f32> = host.into_iter().map(|value| value * scale).collect();
    let tensor = gpu.tensor("input", shape, Dtype::F32, &host).expect("a tensor");
    Values { host: host.into_iter().map(f64::from).collect(), tensor }
}

fn output(gpu: &Gpu, shape: &[usize]) -> Tensor {
    gpu.tensor("output", shape, Dtype::F32, &vec![f32::NAN; shape.iter().product()]).expect("a tensor")
}

/// Half of the rows are full, the others three quarters.
fn lengths(gpu: &Gpu, rows: usize, steps: usize) -> (Vec<u32>, Tensor) {
    let host: Vec<u32> = (0..rows).map(|row| (if row % 2 == 0 { steps } else { steps * 3 / 4 }) as u32).collect();
    let tensor = gpu.tensor("lengths", [rows], Dtype::U32, &host).expect("a tensor");
    (host, tensor)
}

/// A recorded forward pass, where it leaves its result, and what that should be.
struct Bench<'a> {
    recording: Recording,
    output: Tensor,
    expected: Box<dyn Fn() -> Vec<f64> + 'a>,
}

fn record(gpu: &Gpu, record: impl FnOnce(&mut Recorder) -> Result<()>) -> Recording {
    let mut recorder = Recorder::new(gpu, "bench");
    record(&mut recorder).and_then(|()| recorder.finish()).unwrap_or_else(|error| panic!("{error}"))
}

fn run(gpu: &Gpu, recording: &Recording) {
    let submission = recording.submit(0).and_then(|submission| gpu.wait(Some(submission)));
    submission.unwrap_or_else(|error| panic!("{error}"));
}

/// Times `named` after `small` has been found right and timed.
fn compare<'a>(criterion: &mut Criterion, gpu: &Gpu, kernel: &str, shapes: [(&str, Bench<'a>); 2]) {
    let (_, small) = &shapes[0];
    run(gpu, &small.recording);
    let got: Vec<f32> = gpu.read(&small.output).expect("a result");
    let error = relative_error(&got, &(small.expected)(), 0.0);
    assert!(error < TOLERANCE, "{kernel} is wrong by {error}");
    let mut group = criterion.benchmark_group(kernel);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(10);
    for (name, bench) in &shapes {
        let Cost { operations, transcendental, .. } = bench.recording.cost();
        group.throughput(Throughput::Elements((operations + transcendental) as u64));
        group.bench_function(*name, |bencher| bencher.iter(|| run(black_box(gpu), black_box(&bench.recording))));
    }
    group.finish();
}

fn matmul(gpu: &Gpu, [m, n, k]: [usize; 3]) -> Bench<'_> {
    let (a, b) = (values(gpu, &[m, k], 1.0), values(gpu, &[n, k], 1.0));
    let c = output(gpu, &[m, n]);
    let recording = record(gpu, |recorder| {
        let product = Matmul { m, n, k, batch: 1, transpose_b: true, ..Matmul::default() };
        let tile = matmul::Tile::choose(gpu, m);
        product.record(recorder, tile, Matrix::rows(&a.tensor), Matrix::rows(&b.tensor), None, Matrix::rows(&c))
    });
    let product = reference::matmul::Matmul {
        m,
        n,
        k,
        batch: 1,
        transpose_a: false,
        transpose_b: true,
        activation: reference::matmul::Activation::None,
    };
    Bench { recording, output: c, expected: Box::new(move || product.forward(&a.host, &b.host, None)) }
}

fn softmax(gpu: &Gpu, [rows, columns]: [usize; 2]) -> Bench<'_> {
    let (x, y) = (values(gpu, &[rows, columns], 5.0), output(gpu, &[rows, columns]));
    let recording = record(gpu, |recorder| Softmax { rows, columns }.record(recorder, &x.tensor, None, &y));
    let softmax = reference::softmax::Softmax { rows, columns };
    Bench { recording, output: y, expected: Box::new(move || softmax.forward(&x.host, None)) }
}

fn additive_attention(gpu: &Gpu, [batch, queries, keys, size, value_size]: [usize; 5]) -> Bench<'_> {
    let (query, key) = (values(gpu, &[batch, queries, size], 2.0), values(gpu, &[batch, keys, size], 2.0));
    let (energy, value) = (values(gpu, &[size], 0.3), values(gpu, &[batch, keys, value_size], 1.0));
    let (lengths, lengths_gpu) = lengths(gpu, batch, keys);
    let context = output(gpu, &[batch, queries, value_size]);
    let attention = AdditiveAttention { batch, queries, keys, size, value_size };
    let recording = record(gpu, |recorder| {
        let inputs = additive_attention::Inputs {
            query: Matrix::batch(&query.tensor),
            key: &key.tensor,
            energy: &energy.tensor,
            value: &value.tensor,
            lengths: &lengths_gpu,
        };
        let tile = additive_attention::Tile::choose(gpu, &attention);
        attention.record(recorder, tile, &inputs, Matrix::batch(&context), None)
    });
    let attention = reference::additive_attention::AdditiveAttention { batch, queries, keys, size, value_size };
    let expected = move || {
        let inputs = reference::additive_attention::AdditiveInputs {
            query: &query.host,
            key: &key.host,
            energy: &energy.host,
            value: &value.host,
            lengths: &lengths,
        };
        attention.forward(&inputs).0
    };
    Bench { recording, output: context, expected: Box::new(expected) }
}

fn dot_product_attention(gpu: &Gpu, [batch, heads, queries, keys, size]: [usize; 5]) -> Bench<'_> {
    let query = values(gpu, &[batch, heads, queries, size], 1.0);
    let (key, value) = (values(gpu, &[batch, heads, keys, size], 1.5), values(gpu, &[batch, heads, keys, size], 0.7));
    let (lengths, lengths_gpu) = lengths(gpu, batch, keys);
    let (context, log_sum_exp) = (output(gpu, &[batch, heads, queries, size]), output(gpu, &[batch, heads, queries]));
    let attention = DotProductAttention { batch, heads, queries, keys, size, causal: false };
    let recording = record(gpu, |recorder| {
        let inputs = dot_product_attention::Inputs {
            query: &query.tensor,
            key: &key.tensor,
            value: &value.tensor,
            lengths: &lengths_gpu,
        };
        let tile = dot_product_attention::Tile::choose(gpu, size);
        attention.record(recorder, tile, &inputs, &context, &log_sum_exp)
    });
    let attention =
        reference::dot_product_attention::DotProductAttention { batch, heads, queries, keys, size, causal: false };
    let expected = move || {
        let inputs = reference::dot_product_attention::DotProductInputs {
            query: &query.host,
            key: &key.host,
            value: &value.host,
            lengths: &lengths,
        };
        attention.forward(&inputs).0
    };
    Bench { recording, output: context, expected: Box::new(expected) }
}

fn gru(gpu: &Gpu, [batch, steps, input, hidden]: [usize; 4]) -> Bench<'_> {
    let (x, h0) = (values(gpu, &[batch, steps, input], 1.0), values(gpu, &[1, batch, hidden], 0.5));
    let scale = 1.0 / (hidden as f32).sqrt();
    let cell = [
        values(gpu, &[3 * hidden, input], scale),
        values(gpu, &[3 * hidden, hidden], scale),
        values(gpu, &[3 * hidden], 0.1),
        values(gpu, &[3 * hidden], 0.2),
    ];
    let (lengths, lengths_gpu) = lengths(gpu, batch, steps);
    let (y, hn) = (output(gpu, &[batch, steps, hidden]), output(gpu, &[1, batch, hidden]));
    let layer = Gru { batch, steps, input, hidden, directions: 1 };
    let (states, gates) = (output(gpu, &layer.states_shape()), output(gpu, &layer.gates_shape()));
    let scratch = output(gpu, &[layer.scratch()]);
    let recording = record(gpu, |recorder| {
        let [weight_ih, weight_hh, bias_ih, bias_hh] = cell.each_ref().map(|values| &values.tensor);
        let weights = [gru::Weights { weight_ih, weight_hh, bias_ih, bias_hh }];
        let inputs =
            gru::Inputs { x: gru::Input::Rows(&x.tensor), h0: &h0.tensor, lengths: &lengths_gpu, weights: &weights };
        let outputs = gru::Outputs { y: &y, hn: &hn };
        let saved = gru::Saved { states: &states, gates: &gates };
        layer.record(recorder, gru::Tile::choose(gpu, batch), &inputs, &outputs, &saved, &scratch)
    });
    let layer = reference::gru::Gru { batch, steps, input, hidden, directions: 1 };
    let expected = move || {
        let [weight_ih, weight_hh, bias_ih, bias_hh] = cell.each_ref().map(|values| values.host.clone());
        let weights = [reference::gru::GruWeights { weight_ih, weight_hh, bias_ih, bias_hh }];
        layer.forward(&x.host, &h0.host, &lengths, &weights).y
    };
    Bench { recording, output: y, expected: Box::new(expected) }
}

fn kernels(criterion: &mut Criterion) {
    let gpu = &Gpu::open(&GpuOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    let shapes = [("33x30x28", matmul(gpu, [33, 30, 28])), ("vocabulary", matmul(gpu, [1024, 1024, 256]))];
    compare(criterion, gpu, "matmul", shapes);
    let shapes = [("7x129", softmax(gpu, [7, 129])), ("vocabulary", softmax(gpu, [1024, 4096]))];
    compare(criterion, gpu, "softmax", shapes);
    let small = additive_attention(gpu, [2, 5, 19, 24, 20]);
    let shapes = [("2x5x19", small), ("sentences", additive_attention(gpu, [16, 32, 32, 256, 512]))];
    compare(criterion, gpu, "additive_attention", shapes);
    let small = dot_product_attention(gpu, [2, 2, 9, 19, 20]);
    let shapes = [("2x2x9x19", small), ("sentences", dot_product_attention(gpu, [8, 4, 128, 128, 64]))];
    compare(criterion, gpu, "dot_product_attention", shapes);
    let shapes = [("5x3", gru(gpu, [5, 3, 12, 20])), ("sentences", gru(gpu, [64, 16, 128, 256]))];
    compare(criterion, gpu, "gru", shapes);
}

// Plots would want a font, and machines without one panic.
criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = kernels
}
criterion_main!(benches);
