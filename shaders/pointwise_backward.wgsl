// The gradient of one operand: d_y (ADD), d_y times the other operand (MULTIPLY), d_y (1 - y^2) (TANH), d_y y (1 - y) (SIGMOID).
#import element
#import linear

struct Params { elements: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> factor: array<element4>;    // [N]: the other operand, or y; not read by ADD
@group(0) @binding(2) var<storage, read> d_y: array<element4>;       // [N]
@group(0) @binding(3) var<storage, read_write> d_x: array<element4>; // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
#ifdef ADD
    let value = vec4f(d_y[i]);
#endif
#ifdef MULTIPLY
    let value = vec4f(d_y[i]) * vec4f(factor[i]);
#endif
#ifdef TANH
    let y = vec4f(factor[i]);
    let value = vec4f(d_y[i]) * fma(-y, y, vec4f(1.0));
#endif
#ifdef SIGMOID
    let y = vec4f(factor[i]);
    let value = vec4f(d_y[i]) * fma(-y, y, y);
#endif
    d_x[i] = element4(inside4(i, params.elements, value));
}
