// y = a + b, a * b, tanh(a) or sigmoid(a), element by element: ADD, MULTIPLY, TANH or SIGMOID.
#import element
#import math
#import linear

struct Params { elements: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<element4>;         // [N]
@group(0) @binding(2) var<storage, read> b: array<element4>;         // [N], not read by TANH and SIGMOID
@group(0) @binding(3) var<storage, read_write> y: array<element4>;   // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
#ifdef ADD
    let value = vec4f(a[i]) + vec4f(b[i]);
#endif
#ifdef MULTIPLY
    let value = vec4f(a[i]) * vec4f(b[i]);
#endif
#ifdef TANH
    let value = tanh4(vec4f(a[i]));
#endif
#ifdef SIGMOID
    let value = sigmoid4(vec4f(a[i]));
#endif
    y[i] = element4(inside4(i, params.elements, value));
}
