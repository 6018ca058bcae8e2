// The adapter's rate of arithmetic: twelve independent chains an invocation, each step of which needs the one before it, so
// that nothing can be left out, and none has the same values as another, so that nothing can be shared. MULTIPLY_ADD,
// RECIPROCAL, EXPONENTIAL or TANH says which step.
#import math

struct Params { rounds: u32, scale: f32, shift: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;        // [invocations], the sum of the chains' ends

fn step(x: vec4f, scale: vec4f, shift: vec4f) -> vec4f {
#ifdef MULTIPLY_ADD
    return fma(x, scale, shift);
#endif
#ifdef RECIPROCAL
    return 1.0 / (x + shift);
#endif
#ifdef EXPONENTIAL
    return exp(-x);
#endif
#ifdef TANH
    return tanh4(x + shift);
#endif
}

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let first = f32(id.x % 64u) / 64.0;
    var a = first + vec4f(0.1, 0.2, 0.3, 0.4);
    var b = first + vec4f(0.5, 0.6, 0.7, 0.8);
    var c = first + vec4f(0.9, 1.0, 1.1, 1.2);
    // Before the loop: on drivers that run on the CPU a load costs as much as dozens of steps.
    let scale = vec4f(params.scale);
    let shift = vec4f(params.shift);
    for (var round = 0u; round < params.rounds; round++) {
        // Eight steps a round: a loop costs as much as a few of them.
        for (var i = 0u; i < 8u; i++) {
            a = step(a, scale, shift);
            b = step(b, scale, shift);
            c = step(c, scale, shift);
        }
    }
    let sum = a + b + c;
    if (id.x < arrayLength(&y)) { y[id.x] = (sum.x + sum.y) + (sum.z + sum.w); }
}
