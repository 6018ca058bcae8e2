// y = a * sigmoid(b) of each row [a; b] of x. An invocation goes to one element of y, or one vec4 under VECTOR: columns are a
// multiple of 4.
#import element
#import linear
#import math

struct Params { rows: u32, columns: u32 }   // of y

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<element4>;         // [rows, 2 columns]
@group(0) @binding(2) var<storage, read_write> y: array<element4>;   // [rows, columns]

const WIDTH = 4u;
fn gated(a: u32, b: u32) -> element4 { return element4(vec4f(x[a]) * sigmoid4(vec4f(x[b]))); }
#else
@group(0) @binding(1) var<storage, read> x: array<element>;          // [rows, 2 columns]
@group(0) @binding(2) var<storage, read_write> y: array<element>;    // [rows, columns]

const WIDTH = 1u;
fn gated(a: u32, b: u32) -> element { return element(f32(x[a]) * sigmoid1(f32(x[b]))); }
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
    y[i] = gated(a, a + columns);
}
