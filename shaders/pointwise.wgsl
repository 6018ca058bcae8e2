// y = a + b or a * b, or a function of a, element by element: ADD, MULTIPLY, SCALE, TANH, SIGMOID, RELU, GELU_ERF, GELU_TANH or
// SWISH.
#import element
#import gelu
#import linear
#import math

struct Params { elements: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<element4>;         // [N]
@group(0) @binding(2) var<storage, read> b: array<element4>;         // [N], read by ADD and MULTIPLY alone
@group(0) @binding(3) var<storage, read_write> y: array<element4>;   // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
    let x = vec4f(a[i]);
#ifdef ADD
    let value = x + vec4f(b[i]);
#endif
#ifdef MULTIPLY
    let value = x * vec4f(b[i]);
#endif
#ifdef SCALE
    let value = x * params.factor;
#endif
#ifdef TANH
    let value = tanh4(x);
#endif
#ifdef SIGMOID
    let value = sigmoid4(x);
#endif
#ifdef RELU
    let value = unless_finite(x, max(x, vec4f()));
#endif
    // Where a gate is as good as 0, what it multiplies must not be large.
#ifdef GELU_ERF
    let value = unless_finite(x, x * normal4(x).below);
#endif
#ifdef GELU_TANH
    let value = unless_finite(x, max(x, vec4f(-20.0)) * sigmoid4(gelu_exponent(x)));
#endif
#ifdef SWISH
    let value = unless_finite(x, max(x, vec4f(-80.0)) * sigmoid4(x));
#endif
    y[i] = element4(inside4(i, params.elements, value));
}
