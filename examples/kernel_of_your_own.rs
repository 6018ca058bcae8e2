//! Door two: a kernel of your own, in WGSL, recorded beside the crate's. It keeps every check of wgpu, so that it reads and writes
//! nothing but the tensors that it is given, whatever it does.
//!
//!     cargo run --release --example kernel_of_your_own

use softalign::{
    Gpu, GpuOptions, Result, Tensor,
    gpu::{Cost, Dtype, Launch, Recorder, Shader, Specialisation, grid},
    kernels::{SHARED, softmax::Softmax},
};

/// `y = x * sigmoid(scale x)` (Ramachandran et al. 2017), or ReLU instead. Parameters come first, in a uniform buffer; what is bound,
/// and as what, the text says itself. `LANES` is a constant and `RELU` a name of the specialisation; `linear` and `math` are
/// files that the crate's own shaders import.
static SWISH: Shader = Shader::new(
    "swish",
    "
#import linear
#import math
struct Params { elements: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [N]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.elements) { return; }
#ifdef RELU
    y[i] = max(x[i], 0.0);
#else
    y[i] = x[i] * sigmoid1(params.scale * x[i]);
#endif
}",
    SHARED,
);

fn swish(recorder: &mut Recorder, relu: bool, x: &Tensor, y: &Tensor) -> Result<()> {
    const LANES: u32 = 64;
    recorder.dispatch(&Launch {
        kernel: &SWISH,
        specialisation: Specialisation::new().define_if(relu, "RELU").constant("LANES", LANES),
        params: &[x.elements() as u32, 1.5_f32.to_bits()],
        tensors: &[x, y],
        workgroups: grid(x.elements().div_ceil(LANES as usize)),
        cost: Cost { read: x.bytes() as f64, written: y.bytes() as f64, ..Cost::default() },
    })
}

fn main() -> Result<()> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let (rows, columns) = (2, 5);
    let values = [-2.0_f32, -1.0, 0.0, 1.0, 2.0, 0.5, 0.25, -0.25, -0.5, 3.0];
    let x = gpu.tensor("x", [rows, columns], Dtype::F32, &values)?;
    let activated = gpu.zeros("activated", [rows, columns], Dtype::F32)?;
    let shares = gpu.zeros("shares", [rows, columns], Dtype::F32)?;

    let mut recorder = Recorder::new(&gpu, "swish, then softmax");
    swish(&mut recorder, false, &x, &activated)?;
    Softmax { rows, columns }.record(&mut recorder, &activated, None, &shares)?;
    gpu.wait(Some(recorder.finish()?.submit(0)?))?;

    for (x, y) in values.iter().zip(gpu.read::<f32>(&activated)?) {
        assert!((y - x / (1.0 + (-1.5 * x).exp())).abs() < 1e-5);
    }
    for row in gpu.read::<f32>(&shares)?.chunks(columns) {
        println!("{row:.3?}");
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    // What does not fit is an error when it is recorded, before anything runs.
    let shorter = gpu.zeros("shorter", [3], Dtype::U32)?;
    println!("{}", swish(&mut Recorder::new(&gpu, "wrong"), true, &x, &shorter).expect_err("y holds floats"));
    Ok(())
}
