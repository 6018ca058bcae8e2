//! A safe caller cannot make a shader read or write outside a tensor: whatever is wrong about tiles, windows, shapes, offsets or a
//! shader of one's own is an error when it is recorded, and what memory holds never leads a kernel astray.

use crate::common::{gpu, portable, run, upload, upload_u32};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use softalign::{
    Error, Gpu, GpuOptions, Result, Tensor,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Shape, Specialisation},
    kernels::{
        Step,
        additive_attention::{self, AdditiveAttention},
        beam_search::{Adjust, Adjusted, Attend, Attended, BeamSearch, BeamState, Feed, Rule, SearchStep},
        copy::Copy,
        dot_product_attention::{self, DotProductAttention, Heads},
        dropout::{Draw, Dropout},
        embedding::Embedding,
        gru::{self, Cell, CellStep},
        matmul::{self, Matmul, Matrix, Operands},
        pointwise::Pointwise,
        softmax::Softmax,
    },
    wgpu,
};

/// What is left of a recording that must not come about.
#[track_caller]
fn refused(gpu: &Gpu, argument: &str, record: impl FnOnce(&mut Recorder) -> Result<()>) {
    let mut recorder = Recorder::new(gpu, "refused");
    let error = record(&mut recorder).expect_err(argument);
    match &error {
        Error::Shape { argument: found, .. } => assert_eq!(*found, argument, "{error}"),
        Error::Limit { .. } => {}
        other => panic!("{other}"),
    }
    assert_eq!(recorder.finish().unwrap().dispatches(), 0, "{error}");
}

fn zeros(gpu: &Gpu, shape: impl Into<Shape>) -> Tensor {
    gpu.zeros("zeros", shape, Dtype::F32).unwrap()
}

#[test]
fn a_tensor_lies_inside_its_buffer_with_its_padding() {
    let gpu = gpu();
    let tensor = |bytes: u64, offset, shape: &[usize]| {
        let usage = wgpu::BufferUsages::STORAGE;
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        Tensor::new(gpu, gpu.device().create_buffer(&descriptor), offset, shape, Dtype::F32)
    };
    assert!(tensor(512, 256, &[64]).is_ok());
    assert!(tensor(512, 128, &[4]).is_err(), "the start is no multiple of 256");
    assert!(tensor(512, 256, &[65]).is_err(), "it ends behind the buffer");
    assert!(tensor(12, 0, &[3]).is_err(), "no room for 16 bytes");
    assert!(tensor(16, 0, &[3]).is_ok());
    assert!(tensor(512, u64::MAX - 255, &[4]).is_err(), "the end overflows");
    assert!(tensor(512, 0, &[usize::MAX, 2]).is_err(), "the number of elements overflows");
    assert!(tensor(512, 0, &[(1 << 61) + 1, 8]).is_err(), "the number of elements wraps round to 8");
    assert!(tensor(512, 0, &[1 << 33]).is_err(), "32 bits do not count its elements");
}

#[test]
fn windows_and_shapes_stay_inside_their_tensor() {
    let tensor = zeros(gpu(), [3, 4]);
    assert!(tensor.reshape([4, 3]).is_ok());
    assert!(tensor.reshape([11]).is_err() && tensor.reshape([13]).is_err());
    assert!(tensor.window([12]).is_ok() && tensor.window([5]).is_ok());
    assert!(tensor.window([13]).is_err());
    assert!(tensor.window([1 << 32, 1 << 32]).is_err());
    assert!(tensor.reshape([(1 << 62) + 3, 4]).is_err(), "a product that wraps round to 12");
}

/// 16-byte stores would write the elements behind the window, which are the tensor's.
#[test]
fn a_window_that_ends_inside_its_tensor_keeps_what_lies_behind_it() {
    for gpu in [gpu(), portable()] {
        let (x, whole) = (upload(gpu, [3], &[1.0, 2.0, 3.0]), upload(gpu, [8], &[7.0; 8]));
        refused(gpu, "tensors", |recorder| Pointwise::Tanh.record(recorder, &x, None, &whole.window([3])?));
        // Where stores are of single elements, or the window ends at 16 bytes, there is nothing to refuse.
        let softmax = Softmax { rows: 1, columns: 3 };
        run(gpu, |recorder| softmax.record(recorder, &x, None, &whole.window([3])?));
        assert_eq!(gpu.read::<f32>(&whole).unwrap()[3..], [7.0; 5]);
        run(gpu, |recorder| Pointwise::Tanh.record(recorder, &whole.window([4])?, None, &zeros(gpu, [4])));
    }
}

static COPY: Shader = Shader::new(
    "matmul",
    "struct Params { to: u32, start: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[params.to] = x[params.start] + f32(arrayLength(&y)); }",
    &[],
);

fn own<'a>(params: &'a [u32], tensors: &'a [&'a Tensor]) -> Launch<'a> {
    Launch {
        kernel: &COPY,
        specialisation: Specialisation::new(),
        params,
        tensors,
        workgroups: [1, 1, 1],
        cost: Cost::default(),
    }
}

#[test]
fn a_shader_of_ones_own_reaches_nothing_but_its_tensors() {
    let gpu = gpu();
    let whole = upload(gpu, [64], &[5.0; 64]);
    let (x, y) = (zeros(gpu, [4]), whole.window([3]).unwrap());
    run(gpu, |recorder| {
        for to in [3, 4, 63, 64, 1 << 20, u32::MAX] {
            recorder.dispatch(&own(&[to, 1 << 30], &[&x, &y]))?;
        }
        recorder.dispatch(&own(&[1, 0], &[&x, &y]))
    });
    let values = gpu.read::<f32>(&whole).unwrap();
    assert_eq!(values[1], 3.0, "the window's own length");
    assert_eq!(values[3..], [5.0; 61]);
}

#[test]
fn what_does_not_fit_a_shader_of_ones_own_is_refused() {
    let gpu = gpu();
    let (x, y) = (zeros(gpu, [4]), zeros(gpu, [4]));
    refused(gpu, "params", |recorder| recorder.dispatch(&own(&[0], &[&x, &y])));
    refused(gpu, "params", |recorder| recorder.dispatch(&own(&[0; 3], &[&x, &y])));
    refused(gpu, "tensors", |recorder| recorder.dispatch(&own(&[0; 2], &[&x])));
    refused(gpu, "tensors", |recorder| recorder.dispatch(&own(&[0; 2], &[&x, &y, &y])));
    let tokens = upload_u32(gpu, [4], &[0; 4]);
    refused(gpu, "tensors", |recorder| recorder.dispatch(&own(&[0; 2], &[&tokens, &y])));
    refused(gpu, "tensors", |recorder| recorder.dispatch(&own(&[0; 2], &[&zeros(gpu, [0]), &y])));
    refused(gpu, "tensors", |recorder| recorder.dispatch(&own(&[0; 2], &[&y, &y])));
    let other = zeros(portable(), [4]);
    refused(gpu, "tensors", |recorder| recorder.dispatch(&own(&[0; 2], &[&other, &y])));
    refused(gpu, "workgroups", |recorder| {
        recorder.dispatch(&Launch { workgroups: [1, u32::MAX, 1], ..own(&[0; 2], &[&x, &y]) })
    });
}

static PAIR: Shader = Shader::new(
    "pair",
    "@group(0) @binding(0) var<uniform> count: u32;
@group(0) @binding(1) var<storage, read_write> a: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> b: array<vec4f>;
@compute @workgroup_size(1) fn main() { a[0] += f32(count); b[0] += f32(count); }",
    &[],
);

#[test]
fn one_place_is_not_written_through_two_bindings() {
    let gpu = gpu();
    let pair =
        |a: &Tensor, b: &Tensor| Recorder::new(gpu, "pair").dispatch(&Launch { kernel: &PAIR, ..own(&[1], &[a, b]) });
    let (a, b) = (zeros(gpu, [64]), zeros(gpu, [4]));
    assert!(pair(&a, &b).is_ok());
    assert!(pair(&a, &a.window([4]).unwrap()).is_err());
    assert!(pair(&a, &zeros(gpu, [6])).is_err(), "six floats are no whole vec4s");
    let half = |offset| Tensor::new(gpu, zeros(gpu, [128]).buffer().clone(), offset, [64], Dtype::F32).unwrap();
    let (first, second) = (half(0), half(256));
    assert!(pair(&first, &second).is_ok());
}

/// WebGPU refuses to bind one place twice for writing, whatever the shader does with it.
#[test]
fn one_place_is_not_bound_twice_for_writing_and_what_is_not_used_is_not_bound() {
    static READS_ONE: Shader = Shader::new(
        "reads_one",
        "@group(0) @binding(0) var<uniform> count: u32;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> b: array<f32>;
@compute @workgroup_size(1) fn main() { a[0] = f32(count) + b[1]; }",
        &[],
    );
    static DOES_WITHOUT_ONE: Shader = Shader::new(
        "does_without_one",
        "@group(0) @binding(0) var<uniform> count: u32;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> b: array<f32>;
@compute @workgroup_size(1) fn main() { a[0] = f32(count); }",
        &[],
    );
    let gpu = gpu();
    let (a, b) = (zeros(gpu, [4]), zeros(gpu, [4]));
    refused(gpu, "tensors", |recorder| recorder.dispatch(&Launch { kernel: &READS_ONE, ..own(&[1], &[&a, &a]) }));
    run(gpu, |recorder| recorder.dispatch(&Launch { kernel: &READS_ONE, ..own(&[1], &[&a, &b]) }));
    assert_eq!(gpu.read::<f32>(&a).unwrap()[0], 1.0);
    run(gpu, |recorder| recorder.dispatch(&Launch { kernel: &DOES_WITHOUT_ONE, ..own(&[2], &[&a, &a]) }));
    assert_eq!(gpu.read::<f32>(&a).unwrap()[0], 2.0);
}

/// Wrong kinds of bindings, gaps and parameters that do not fit are errors before the driver sees them.
#[test]
fn bindings_are_what_the_recorder_can_make() {
    static GAP: Shader = Shader::new(
        "gap",
        "@group(0) @binding(0) var<uniform> size: u32;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn main() { y[0] = size; }",
        &[],
    );
    static NO_PARAMS: Shader = Shader::new(
        "no_params",
        "@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn main() { y[0] = 1u; }",
        &[],
    );
    static SECOND_GROUP: Shader = Shader::new(
        "second_group",
        "@group(0) @binding(0) var<uniform> size: u32;
@group(1) @binding(0) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn main() { y[0] = size; }",
        &[],
    );
    static LARGE: Shader = Shader::new(
        "large",
        "@group(0) @binding(0) var<uniform> sizes: array<vec4u, 17>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(1) fn main() { y[0] = sizes[16].x; }",
        &[],
    );
    for shader in [&GAP, &NO_PARAMS, &SECOND_GROUP] {
        let error = gpu().pipeline(shader, &Specialisation::new()).unwrap_err();
        assert!(matches!(error, Error::Shader { .. }), "{error}");
    }
    let error = gpu().pipeline(&LARGE, &Specialisation::new()).unwrap_err();
    assert!(matches!(error, Error::Limit { need: 272, have: 256, .. }), "{error}");
}

/// wgpu's checks see where a matrix begins that a shader loads, and not where it ends.
#[test]
fn a_shader_of_ones_own_has_no_cooperative_matrices() {
    static MATRICES: Shader = Shader::new(
        "matrices",
        "#ifdef COOPERATIVE
#else
enable wgpu_cooperative_matrix;
#endif
@group(0) @binding(0) var<uniform> size: u32;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64) fn main() {
    let all = coopLoad<coop_mat8x8<f32, C>>(&y[size], 8u);
    let first = &y[0];
    let stride = 8u;
    coopStore(all, first, stride);
}",
        &[],
    );
    for form in [Specialisation::new(), Specialisation::new().define("COOPERATIVE")] {
        let error = gpu().pipeline(&MATRICES, &form).unwrap_err().to_string();
        assert!(error.contains("this crate's own kernels"), "{error}");
    }
}

/// A texture serves tensors of many sizes.
#[test]
fn a_shader_of_ones_own_reads_no_textures() {
    static COPIED: Shader = Shader::new(
        "copied",
        "@group(0) @binding(0) var<uniform> at: u32;
@group(0) @binding(1) var x: texture_2d<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = textureLoad(x, vec2u(at, 0u), 0).x; }",
        &[],
    );
    let (x, y) = (zeros(gpu(), [4]), zeros(gpu(), [4]));
    refused(gpu(), "tensors", |recorder| recorder.dispatch(&Launch { kernel: &COPIED, ..own(&[1], &[&x, &y]) }));
}

/// A shader of one's own that is called as one of the crate's, and the crate's own, have nothing in common.
#[test]
fn shaders_of_one_name_do_not_share_a_pipeline() {
    static OTHER: Shader = Shader::new(
        "matmul",
        "@group(0) @binding(0) var<uniform> size: u32;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = 42.0; }",
        &[],
    );
    let gpu = gpu();
    let (x, y) = (zeros(gpu, [4]), zeros(gpu, [4]));
    run(gpu, |recorder| recorder.dispatch(&own(&[0, 0], &[&x, &y])));
    assert_eq!(gpu.read::<f32>(&y).unwrap()[0], 4.0);
    run(gpu, |recorder| recorder.dispatch(&Launch { kernel: &OTHER, ..own(&[0], &[&y]) }));
    assert_eq!(gpu.read::<f32>(&y).unwrap()[0], 42.0);
    let product = Matmul { m: 2, n: 2, k: 2, batch: 1, ..Matmul::default() };
    let [a, b, c] = [1.0, 2.0, 0.0].map(|value| upload(gpu, [2, 2], &[value; 4]));
    let tile = matmul::Tile::choose(gpu, 2);
    run(gpu, |recorder| {
        product.record(
            recorder,
            tile,
            &Operands { a: Matrix::rows(&a), b: Matrix::rows(&b), bias: None, c: Matrix::rows(&c) },
        )
    });
    assert_eq!(gpu.read::<f32>(&c).unwrap(), [4.0; 4]);
}

#[test]
fn a_tensor_of_another_device_is_refused() {
    let (here, there) = (gpu(), Gpu::open(&GpuOptions::default()).unwrap());
    let (x, y) = (zeros(here, [4]), zeros(&there, [4]));
    refused(here, "tensors", |recorder| Pointwise::Tanh.record(recorder, &x, None, &y));
    assert!(here.read::<f32>(&y).is_err() && there.write(&x, &[0.0_f32; 4]).is_err());
    let small = here.readback_buffer("small", 256).unwrap();
    assert!(here.read_through::<f32>(&small, &zeros(here, [65])).is_err());
}

#[test]
fn a_tile_without_a_form_is_refused() {
    for gpu in [gpu(), portable()] {
        let square = zeros(gpu, [8, 8]);
        let out = zeros(gpu, [8, 8]);
        let product = Matmul { m: 8, n: 8, k: 8, batch: 1, ..Matmul::default() };
        let matrix = Matrix::rows;
        let tile = matmul::Tile::choose(gpu, 8);
        for wrong in [
            matmul::Tile { rows: 0, ..tile },
            matmul::Tile { lanes: 0, ..tile },
            matmul::Tile { columns: 1 << 20, ..tile },
            matmul::Tile { groups: tile.groups + 1, ..tile },
            matmul::Tile { subgroups: !tile.subgroups, ..tile },
        ] {
            refused(gpu, "tile", |recorder| {
                product.record(
                    recorder,
                    wrong,
                    &Operands { a: matrix(&square), b: matrix(&square), bias: None, c: matrix(&out) },
                )
            });
        }

        let lengths = upload_u32(gpu, [1], &[8]);
        let attention = AdditiveAttention { batch: 1, queries: 8, keys: 8, size: 8, value_size: 8 };
        let (key, value, energy) = (&square, &square, &zeros(gpu, [8]));
        let inputs = additive_attention::Inputs { query: Matrix::rows(&square), key, energy, value, lengths: &lengths };
        let tile = additive_attention::Tile::choose(gpu, &attention);
        for wrong in [
            additive_attention::Tile { rows: tile.rows + 1, ..tile },
            additive_attention::Tile { keys: 0, ..tile },
            additive_attention::Tile { lanes: 3, ..tile },
        ] {
            refused(gpu, "tile", |recorder| attention.record(recorder, wrong, &inputs, Matrix::rows(&out), None));
        }

        let (gates, states) = (zeros(gpu, [8, 32]), zeros(gpu, [2, 8, 8]));
        let (gi, weight_hh, bias_hh) = (zeros(gpu, [8, 24]), zeros(gpu, [24, 8]), zeros(gpu, [24]));
        let step = CellStep {
            gi: Matrix::rows(&gi),
            picks: None,
            begins: false,
            weight_hh: &weight_hh,
            bias_hh: &bias_hh,
            states: &states,
            from: 0,
            to: 64,
            y: Matrix::rows(&out),
            gates: &gates,
            gates_offset: 0,
            context: None,
            masking: None,
            valid: None,
        };
        let cell = Cell { rows: 8, hidden: 8 };
        let tile = gru::Tile::choose(gpu, [8, 8], 1);
        let wrong = gru::Tile { rows: 64, ..tile };
        refused(gpu, "tile", |recorder| cell.record(recorder, wrong, &step));
        refused(gpu, "states", |recorder| cell.record(recorder, tile, &CellStep { to: usize::MAX, ..step }));
        refused(gpu, "states", |recorder| cell.record(recorder, tile, &CellStep { to: 63, ..step }));
        refused(gpu, "gates", |recorder| cell.record(recorder, tile, &CellStep { gates_offset: 1, ..step }));
    }
}

#[test]
fn a_tile_of_attention_without_a_form_is_refused() {
    for gpu in [gpu(), portable()] {
        let lengths = upload_u32(gpu, [1], &[8]);
        let attention = DotProductAttention {
            batch: 1,
            heads: 1,
            queries: 8,
            keys: 8,
            size: 8,
            causal: false,
            scale: 1.0,
            dropout: None,
        };
        let (query, context, sums) = (zeros(gpu, [1, 1, 8, 8]), zeros(gpu, [1, 1, 8, 8]), zeros(gpu, [1, 1, 8]));
        let [query, context] = [&query, &context].map(Heads::apart);
        let step = Step::buffer(gpu).unwrap();
        let inputs = dot_product_attention::Inputs {
            query,
            key: query,
            value: query,
            lengths: &lengths,
            bias: None,
            step: &step,
        };
        let tile = dot_product_attention::Tile::choose(gpu, 8);
        for wrong in [
            dot_product_attention::Tile { blocks: 64, ..tile },
            dot_product_attention::Tile { lanes: tile.lanes + 1, ..tile },
        ] {
            refused(gpu, "tile", |recorder| attention.record(recorder, wrong, &inputs, context, &sums));
        }
    }
}

/// Sizes whose products wrap round to what the tensors have, and strides of 0, which no tensor bounds.
#[test]
fn sizes_that_overflow_are_refused() {
    let gpu = gpu();
    let (x, y) = (zeros(gpu, [64]), zeros(gpu, [64]));
    let still = |tensor| Matrix { tensor, offset: 0, stride: 0, batch_stride: 0 };
    for (rows, columns, batch) in [(1 << 32, 1, 1), (1, 1, 1 << 32), (0, 1, 1), (usize::MAX, 1, 2), (1, usize::MAX, 1)]
    {
        let copy = Copy { rows, columns, batch };
        refused(gpu, "source", |recorder| copy.record(recorder, still(&x), None, still(&y)));
        let product = Matmul { m: rows, n: columns, k: 1, batch, ..Matmul::default() };
        let tile = matmul::Tile::choose(gpu, rows);
        assert!(
            product
                .record(
                    &mut Recorder::new(gpu, "m"),
                    tile,
                    &Operands { a: still(&x), b: still(&x), bias: None, c: still(&y) }
                )
                .is_err()
        );
    }
    let far = Matrix { tensor: &x, offset: usize::MAX, stride: 8, batch_stride: 0 };
    refused(gpu, "source", |recorder| Copy { rows: 2, columns: 2, batch: 1 }.record(recorder, far, None, still(&y)));
    let wraps = Softmax { rows: (1 << 61) + 8, columns: 8 };
    refused(gpu, "x", |recorder| wraps.record(recorder, &x, None, &y));
    let step = Step::buffer(gpu).unwrap();
    let sequence = Draw::Sequence { steps: 1 << 63, width: 2 };
    let dropout = Dropout { elements: 64, rate: 0.5, operation: 0, draw: sequence, row: 0 };
    refused(gpu, "draw", |recorder| dropout.record(recorder, &x, &step, &y));
    let short = gpu.uniform("short", 2).unwrap();
    let dropout = Dropout { draw: Draw::Element, row: 7, ..dropout };
    refused(gpu, "row", |recorder| dropout.record(recorder, &x, &step, &y));
    let dropout = Dropout { row: 8, ..dropout };
    run(gpu, |recorder| dropout.record(recorder, &x, &step, &y));
    refused(gpu, "tensors", |recorder| dropout.record(recorder, &x, &short, &y));
    refused(gpu, "tensors", |recorder| dropout.record(recorder, &x, &step, &x));
}

/// A tensor amid others, all in one buffer, whose values show whether anything has written past it.
struct Guarded {
    whole: Tensor,
    own: Tensor,
}

const BEHIND: f32 = 12345.0;

impl Guarded {
    fn new(gpu: &Gpu, elements: usize, dtype: Dtype) -> Self {
        let room = elements.next_multiple_of(64) + 128;
        let whole = gpu.tensor("guarded", [room], Dtype::F32, &vec![BEHIND; room]).unwrap();
        let own = Tensor::new(gpu, whole.buffer().clone(), 256, [elements], dtype).unwrap();
        gpu.write(&own, &vec![0_u32; elements]).unwrap();
        Self { whole, own }
    }

    fn filled<T: bytemuck::Pod>(self, gpu: &Gpu, values: &[T]) -> Self {
        gpu.write(&self.own, values).unwrap();
        self
    }

    /// Padding of the tensor's last 16 bytes is its own.
    fn check(&self, gpu: &Gpu, what: &str) {
        let values: Vec<f32> = gpu.read(&self.whole).unwrap();
        let end = 64 + self.own.elements().next_multiple_of(4);
        let neighbours = values[..64].iter().chain(&values[end..]);
        assert!(neighbours.copied().all(|value| value == BEHIND), "{what}: written outside {}", self.own.shape());
    }
}

/// Arguments at random, right and wrong: whatever is recorded leaves what lies before and behind the tensors alone.
#[test]
fn random_arguments_leave_the_neighbours_alone() {
    for gpu in [gpu(), portable()] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut recorded, mut errors) = (0, 0);
        for case in 0..120 {
            let size = rng.random_range(1..40_usize);
            let tensors: Vec<_> = (0..3).map(|_| Guarded::new(gpu, rng.random_range(1..200), Dtype::F32)).collect();
            let indices = Guarded::new(gpu, size, Dtype::U32).filled(gpu, &vec![rng.random::<u32>(); size]);
            let mut extent = || match rng.random_range(0..12) {
                0 => 0,
                1 => usize::MAX / 3,
                2 => 1 << 32,
                _ => rng.random_range(1..12),
            };
            let [m, n, k] = [extent(), extent(), extent()];
            let strides: [usize; 6] = std::array::from_fn(|_| extent());
            let [a, b, c] = [0, 1, 2].map(|i| Matrix {
                tensor: &tensors[i].own,
                offset: strides[i],
                stride: strides[i + 3],
                batch_stride: strides[(i + 1) % 3],
            });
            let mut recorder = Recorder::new(gpu, "random");
            let [x, y, z] = [0, 1, 2].map(|i| &tensors[i].own);
            let result = match case % 6 {
                0 => {
                    let tile = matmul::Tile::choose(gpu, m);
                    Matmul { m, n, k, batch: 1, ..Matmul::default() }.record(
                        &mut recorder,
                        tile,
                        &Operands { a, b, bias: None, c },
                    )
                }
                1 => Copy { rows: m, columns: n, batch: k.min(3) }.record(&mut recorder, a, None, b),
                2 => Softmax { rows: size, columns: n }.record(&mut recorder, x, Some(&indices.own), y),
                3 => {
                    let table = x.window([x.elements() / n.max(1), n]).unwrap_or_else(|_| x.clone());
                    let vocabulary = table.elements() / n.max(1);
                    let embedding = Embedding { vocabulary, size: n, tokens: size, padding: None };
                    embedding.record(&mut recorder, &table, &indices.own, c)
                }
                4 => Pointwise::Add.record(&mut recorder, x, Some(y), z),
                _ => Pointwise::Tanh.record(&mut recorder, x, None, &Guarded::new(gpu, x.elements(), Dtype::F32).own),
            };
            match result {
                Ok(()) => {
                    recorded += 1;
                    let submission = recorder.finish().unwrap().submit(0).unwrap();
                    gpu.wait(Some(submission)).unwrap();
                }
                Err(Error::Shape { .. } | Error::Limit { .. }) => errors += 1,
                Err(other) => panic!("{other}"),
            }
            for tensor in tensors.iter().chain([&indices]) {
                tensor.check(gpu, &format!("case {case}: {result:?}"));
            }
        }
        assert!(recorded > 20 && errors > 20, "{recorded} recorded, {errors} refused");
    }
}

/// The state of a search lies open to its caller, who may have written anything into it.
#[test]
fn a_search_whose_memory_holds_nonsense_stays_inside_its_tensors() {
    const CLASSES: usize = 7;
    const KEYS: usize = 5;
    const HIDDEN: usize = 4;
    for gpu in [gpu(), portable()] {
        let rule = Rule::Best { length_penalty: 0.0, asked: 1 };
        let search = BeamSearch { sentences: 2, beam: 3, classes: CLASSES, capacity: 4, rule, ..BeamSearch::default() };
        let search = BeamSearch { positions: true, ..search };
        let rows = search.rows();
        let state = BeamState::new(gpu, &search).unwrap();
        let adjusted = Adjusted::new(gpu, &search).unwrap();
        let guarded = |elements| Guarded::new(gpu, elements, Dtype::F32);
        let (words, word_rows, states) = (guarded(CLASSES * 3), guarded(rows * 3), guarded(2 * rows * HIDDEN));
        let (coverage, values) = (guarded(2 * rows * KEYS), guarded(rows * CLASSES));
        let adjusted = Adjusted { values: values.own.clone(), ..adjusted };
        let rows_of_words = word_rows.own.reshape([rows, 3]).unwrap();
        let feed = Feed {
            word: 3,
            words: &words.own,
            word_rows: Matrix::rows(&rows_of_words),
            gates: None,
            states: Some((HIDDEN, &states.own)),
        };
        let (logits, weights) = (zeros(gpu, [rows, CLASSES]), zeros(gpu, [rows, KEYS]));
        let lengths = upload_u32(gpu, [2], &[u32::MAX, 1 << 20]);
        let scratch = zeros(gpu, [search.scratch()]);
        for nonsense in [u32::MAX, 1 << 20, 100] {
            let mut memory = vec![nonsense; state.all.elements()];
            // Some hypotheses are there, and have not ended, two steps after the start.
            memory[0] = 2;
            memory[128..128 + 2 * 64].fill(0);
            gpu.write(&state.all, &memory).unwrap();
            let attend = Attend { search, keys: KEYS, members: 1, coverage_penalty: 0.5 };
            let adjust = Adjust { search, members: 1, shortest: 0, ngram: 1, forbidden: None };
            let longest = Adjust { ngram: usize::MAX, ..adjust };
            let attended = Attended { weights: &weights, lengths: &lengths, coverage: &coverage.own };
            let step = SearchStep { logits: Matrix::rows(&logits), scratch: &scratch, number: 0, from: rows * HIDDEN };
            run(gpu, |recorder| {
                longest.record(recorder, &logits, &state, &adjusted, 0)?;
                attend.record(recorder, &attended, &state, 0)?;
                adjust.record(recorder, &logits, &state, &adjusted, 0)?;
                search.record_follow(recorder, &state, &feed, rows * HIDDEN)?;
                search.record(recorder, &step, &state, &feed)
            });
            for guarded in [&words, &word_rows, &states, &coverage, &values] {
                guarded.check(gpu, &format!("{nonsense}"));
            }
        }
        let half = gpu.zeros("half", [rows, CLASSES], Dtype::F16).unwrap();
        let step = SearchStep { logits: Matrix::rows(&half), scratch: &scratch, number: 0, from: rows * HIDDEN };
        refused(gpu, "logits", |recorder| search.record(recorder, &step, &state, &feed));
        let wrong = BeamState { tokens: zeros(gpu, [1]), ..state.clone() };
        refused(gpu, "tokens", |recorder| search.record_follow(recorder, &wrong, &feed, rows * HIDDEN));
        let huge = BeamSearch { sentences: 1 << 62, beam: 4, ..search };
        refused(gpu, "rows", |recorder| huge.record_count(recorder, &state, 1));
        assert!(BeamState::new(gpu, &huge).is_err());
    }
}
