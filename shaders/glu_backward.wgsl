// d_a = d_y * s and d_b = d_y * a * s * (1 - s) of each row [a; b] of x, where s = sigmoid(b). An invocation goes to one element of
// either, or one vec4 under VECTOR: columns are a multiple of 4.
#import element
#import linear
#import math

struct Params { rows: u32, columns: u32 }   // of d_y

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<element4>;         // [rows, 2 columns]
@group(0) @binding(2) var<storage, read> d_y: array<element4>;       // [rows, columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<element4>; // [rows, 2 columns]

const WIDTH = 4u;
fn load_x(at: u32) -> vec4f { return vec4f(x[at]); }
fn load_d(at: u32) -> vec4f { return vec4f(d_y[at]); }
fn store(at: u32, value: vec4f) { d_x[at] = element4(value); }
#else
@group(0) @binding(1) var<storage, read> x: array<element>;          // [rows, 2 columns]
@group(0) @binding(2) var<storage, read> d_y: array<element>;        // [rows, columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<element>;  // [rows, 2 columns]

const WIDTH = 1u;
fn load_x(at: u32) -> vec4f { return vec4f(f32(x[at])); }
fn load_d(at: u32) -> vec4f { return vec4f(f32(d_y[at])); }
fn store(at: u32, value: vec4f) { d_x[at] = element(value.x); }
#endif

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let columns = params.columns / WIDTH;
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.rows * columns) { return; }
    let a = i / columns * 2u * columns + i % columns;
    let gate = sigmoid4(load_x(a + columns));
    let d = load_d(i);
    store(a, d * gate);
    store(a + columns, d * load_x(a) * fma(-gate, gate, gate));
}
