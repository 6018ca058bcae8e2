// The gradient of one operand: d_y (ADD), d_y times the other operand (MULTIPLY) or times the factor (SCALE), or d_y times the
// derivative of a function, from its result y (TANH, SIGMOID, RELU) or from its operand (GELU_ERF, GELU_TANH, SWISH).
#import element
#import gelu
#import linear
#import math

struct Params { elements: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> factor: array<element4>;    // [N]: the other operand, y, or the operand; not read by ADD and SCALE
@group(0) @binding(2) var<storage, read> d_y: array<element4>;       // [N]
@group(0) @binding(3) var<storage, read_write> d_x: array<element4>; // [N]

// The derivative of x sigmoid(e), e's own being `slope`. That of the gate is told from its tail: from 1 - gate it would cancel.
fn gated_slope(x: vec4f, e: vec4f, slope: vec4f) -> vec4f {
    let tail = exp(-min(abs(e), vec4f(80.0)));
    let r = 1.0 / (1.0 + tail);
    let gate = select(r, tail * r, e < vec4f());
    return unless_finite(x, fma(clamp(x, vec4f(-80.0), vec4f(80.0)) * slope, tail * r * r, gate));
}

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
#ifdef SCALE
    let value = vec4f(d_y[i]) * params.factor;
#endif
#ifdef TANH
    let y = vec4f(factor[i]);
    let value = vec4f(d_y[i]) * fma(-y, y, vec4f(1.0));
#endif
#ifdef SIGMOID
    let y = vec4f(factor[i]);
    let value = vec4f(d_y[i]) * fma(-y, y, y);
#endif
#ifdef RELU
    let value = select(vec4f(), vec4f(d_y[i]), vec4f(factor[i]) > vec4f());
#endif
#ifdef GELU_ERF
    let x = vec4f(factor[i]);
    let normal = normal4(x);
    let value = vec4f(d_y[i]) * unless_finite(x, fma(clamp(x, vec4f(-20.0), vec4f(20.0)), normal.density, normal.below));
#endif
#ifdef GELU_TANH
    let x = vec4f(factor[i]);
    let value = vec4f(d_y[i]) * gated_slope(x, gelu_exponent(x), gelu_exponent_slope(x));
#endif
#ifdef SWISH
    let x = vec4f(factor[i]);
    let value = vec4f(d_y[i]) * gated_slope(x, x, vec4f(1.0));
#endif
    d_x[i] = element4(inside4(i, params.elements, value));
}
