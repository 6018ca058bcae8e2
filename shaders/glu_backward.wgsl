// d_a = d_y * s and d_b = d_y * a * s * (1 - s) of each row [a; b] of x, where s = sigmoid(b). An invocation goes to one element of
// either, or one vec4 under VECTOR: columns are a multiple of 4.
#import element
#import linear
#import math

struct Params { rows: u32, columns: u32 }   // of d_y

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [rows, 2 columns]
@group(0) @binding(2) var<storage, read> d_y: array<Element>;        // [rows, columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<Element>;  // [rows, 2 columns]

#ifdef VECTOR
fn sigmoid(x: Single) -> Single { return sigmoid4(x); }
#else
fn sigmoid(x: Single) -> Single { return sigmoid1(x); }
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
    let gate = sigmoid(Single(x[a + columns]));
    let d = Single(d_y[i]);
    d_x[a] = Element(d * gate);
    d_x[a + columns] = Element(d * Single(x[a]) * fma(-gate, gate, gate));
}
