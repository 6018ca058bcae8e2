// Each block of `block` rows of x is summed into one row of y. A second dispatch sums the sums.
// VECTOR: columns are a multiple of 4, and 16-byte loads serve.

struct Params { rows: u32, columns: u32, block: u32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<vec4f>;            // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;      // [ceil(rows / block), columns]

const WIDTH = 4u;
fn load(at: u32) -> vec4f { return x[at / 4u]; }
fn store(at: u32, value: vec4f) { y[at / 4u] = value; }
fn zero() -> vec4f { return vec4f(); }
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [ceil(rows / block), columns]

const WIDTH = 1u;
fn load(at: u32) -> f32 { return x[at]; }
fn store(at: u32, value: f32) { y[at] = value; }
fn zero() -> f32 { return 0.0; }
#endif

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let column = id.x * WIDTH;
    if (column >= params.columns) { return; }
    let start = id.y * params.block;
    let end = min(start + params.block, params.rows);
    var sum = zero();
    for (var row = start; row < end; row++) { sum += load(row * params.columns + column); }
    store(id.y * params.columns + column, sum);
}
