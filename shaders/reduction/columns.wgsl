// Each block of `block` rows of x is summed into one row of y. A second dispatch sums the sums.
// An invocation takes COLUMNS elements, or vec4s, of each row, so that a row's loads lie side by side.
// VECTOR: columns are a multiple of 4, and 16-byte loads serve.
#import element

struct Params { rows: u32, columns: u32, block: u32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<element4>;         // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;      // [ceil(rows / block), columns]

alias Element = vec4f;
const WIDTH = 4u;
fn load(at: u32) -> vec4f { return vec4f(x[at / 4u]); }
fn store(at: u32, value: vec4f) { y[at / 4u] = value; }
#else
@group(0) @binding(1) var<storage, read> x: array<element>;          // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [ceil(rows / block), columns]

alias Element = f32;
const WIDTH = 1u;
fn load(at: u32) -> f32 { return f32(x[at]); }
fn store(at: u32, value: f32) { y[at] = value; }
#endif

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x * COLUMNS * LANES + lane) * WIDTH;
    let start = group.y * params.block;
    let end = min(start + params.block, params.rows);
    var sum: array<Element, COLUMNS>;
    for (var row = start; row < end; row++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let column = min(first + j * LANES * WIDTH, params.columns - WIDTH);
            sum[j] += load(row * params.columns + column);
        }
    }
    for (var j = 0u; j < COLUMNS; j++) {
        let column = first + j * LANES * WIDTH;
        if (column < params.columns) { store(group.y * params.columns + column, sum[j]); }
    }
}
