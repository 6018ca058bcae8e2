// y = a + b, a * b, tanh(a) or sigmoid(a), element by element: ADD, MULTIPLY, TANH or SIGMOID.
#import math
#import linear

struct Params { elements: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;            // [N]
@group(0) @binding(2) var<storage, read> b: array<vec4f>;            // [N], not read by TANH and SIGMOID
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;      // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
#ifdef ADD
    let value = a[i] + b[i];
#endif
#ifdef MULTIPLY
    let value = a[i] * b[i];
#endif
#ifdef TANH
    let value = tanh4(a[i]);
#endif
#ifdef SIGMOID
    let value = sigmoid4(a[i]);
#endif
    y[i] = inside4(i, params.elements, value);
}
