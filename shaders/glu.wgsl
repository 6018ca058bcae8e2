// y = a * sigmoid(b) of each row [a; b] of x. An invocation goes to one element of y, or one vec4 under VECTOR: columns are a
// multiple of 4.
#import element
#import linear
#import math

struct Params { rows: u32, columns: u32 }   // of y

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [rows, 2 columns]
@group(0) @binding(2) var<storage, read_write> y: array<Element>;    // [rows, columns]

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
    y[i] = Element(Single(x[a]) * sigmoid(Single(x[a + columns])));
}
