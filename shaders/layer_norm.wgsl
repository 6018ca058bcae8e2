// y = (x - mean) / sqrt(variance + epsilon) * gain + bias of each row, and the statistics that its gradient takes. One workgroup
// a row. CENTRED: a mean is subtracted, in a pass before that of the squares, so that a row far from 0 keeps its digits; else
// it is 0, and the variance is the mean square. BIAS: there is one. VECTOR: columns are a multiple of 4.
#import element
#import four
#import linear
#import math
#import reduce

struct Params { rows: u32, columns: u32, epsilon: f32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<element4>;             // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<vec4f>;             // [columns]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;             // [columns], read under BIAS alone
@group(0) @binding(4) var<storage, read_write> y: array<element4>;       // [rows, columns]

fn load_x(start: u32, c: u32) -> vec4f { return vec4f(x[(start + c) / 4u]); }
fn load_gain(c: u32) -> vec4f { return gain[c / 4u]; }
fn load_bias(c: u32) -> vec4f { return bias[c / 4u]; }
fn store(start: u32, c: u32, value: vec4f) { y[(start + c) / 4u] = element4(value); }
#else
@group(0) @binding(1) var<storage, read> x: array<element>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<f32>;               // [columns]
@group(0) @binding(3) var<storage, read> bias: array<f32>;               // [columns], read under BIAS alone
@group(0) @binding(4) var<storage, read_write> y: array<element>;        // [rows, columns]

fn load_x(start: u32, c: u32) -> vec4f {
    let i = vec4u(start) + four_at(c, params.columns);
    return before_end(vec4f(element4(x[i.x], x[i.y], x[i.z], x[i.w])), c, params.columns);
}
fn load_gain(c: u32) -> vec4f {
    let i = four_at(c, params.columns);
    return vec4f(gain[i.x], gain[i.y], gain[i.z], gain[i.w]);
}
fn load_bias(c: u32) -> vec4f {
    let i = four_at(c, params.columns);
    return vec4f(bias[i.x], bias[i.y], bias[i.z], bias[i.w]);
}
fn store(start: u32, c: u32, value: vec4f) {
    y[start + c] = element(value.x);
    if (c + 1u < params.columns) { y[start + c + 1u] = element(value.y); }
    if (c + 2u < params.columns) { y[start + c + 2u] = element(value.z); }
    if (c + 3u < params.columns) { y[start + c + 3u] = element(value.w); }
}
#endif
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>; // [rows]: mean, 1 / sqrt(variance + epsilon)

fn sum_of(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = linear_workgroup(group, groups);
    let row = min(wanted, params.rows - 1u);
    let start = row * params.columns;
    var mean = 0.0;
#ifdef CENTRED
    var sum = vec4f();
    for (var c = 4u * lane; c < params.columns; c += 4u * LANES) { sum += load_x(start, c); }
    mean = reduce_sum(sum_of(sum), lane) / f32(params.columns);
#endif
    var squares = vec4f();
    for (var c = 4u * lane; c < params.columns; c += 4u * LANES) {
        let centred = before_end(load_x(start, c) - mean, c, params.columns);
        squares = fma(centred, centred, squares);
    }
    let variance = reduce_sum(sum_of(squares), lane) / f32(params.columns);
    if (wanted >= params.rows) { return; }
    // A variance that is past f32 shows: its reciprocal would make zeros of the row.
    let scale = select(variance, inverseSqrt(variance + params.epsilon), is_finite(variance));
    for (var c = 4u * lane; c < params.columns; c += 4u * LANES) {
        var value = (load_x(start, c) - mean) * scale * load_gain(c);
#ifdef BIAS
        value += load_bias(c);
#endif
        store(start, c, value);
    }
    if (lane == 0u) { statistics[row] = vec2f(mean, scale); }
}
