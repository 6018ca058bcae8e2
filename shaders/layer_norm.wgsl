// y = (x - mean) / sqrt(variance + epsilon) * gain + bias of each row, and the statistics that its gradient takes. One workgroup
// a row. CENTRED: a mean is subtracted, in a pass before that of the squares, so that a row far from 0 keeps its digits; else
// it is 0, and the variance is the mean square. BIAS: there is one. VECTOR: columns are a multiple of 4. REGISTERS: a row fits into
// HELD vec4s of each invocation, and is read once; otherwise three times.
#import element
#import four
#import linear
#import load(x)
#import load(gain)
#import load(bias)
#import math
#import reduce
#import store(y)

struct Params { rows: u32, columns: u32, epsilon: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<Single>;            // [columns]
@group(0) @binding(3) var<storage, read> bias: array<Single>;            // [columns], read under BIAS alone
@group(0) @binding(4) var<storage, read_write> y: array<Element>;        // [rows, columns]
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>; // [rows]: mean, 1 / sqrt(variance + epsilon)

// An invocation's pieces of a row, four elements each; what is behind the row counts as 0.
fn column(lane: u32, j: u32) -> u32 { return 4u * (lane + j * LANES); }
fn load(start: u32, lane: u32, j: u32) -> vec4f {
    return load_x_padded(start + column(lane, j), start + params.columns);
}
#ifdef REGISTERS
var<private> held: array<vec4f, HELD>;
fn pieces() -> u32 { return HELD; }
fn fetch(start: u32, lane: u32) { for (var j = 0u; j < HELD; j++) { held[j] = load(start, lane, j); } }
fn piece(start: u32, lane: u32, j: u32) -> vec4f { return held[j]; }
#else
fn pieces() -> u32 { return (params.columns + 4u * LANES - 1u) / (4u * LANES); }
fn fetch(start: u32, lane: u32) {}
fn piece(start: u32, lane: u32, j: u32) -> vec4f { return load(start, lane, j); }
#endif

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = linear_workgroup(group, groups);
    let row = min(wanted, params.rows - 1u);
    let start = row * params.columns;
    fetch(start, lane);
    var mean = 0.0;
#ifdef CENTRED
    var sum = vec4f();
    for (var j = 0u; j < pieces(); j++) { sum += piece(start, lane, j); }
    mean = reduce_sum(sum_of(sum), lane) / f32(params.columns);
#endif
    var squares = vec4f();
    for (var j = 0u; j < pieces(); j++) {
        let centred = before_end(piece(start, lane, j) - mean, column(lane, j), params.columns);
        squares = fma(centred, centred, squares);
    }
    let variance = reduce_sum(sum_of(squares), lane) / f32(params.columns);
    if (wanted >= params.rows) { return; }
    // A variance that is past f32 shows: its reciprocal would make zeros of the row.
    let scale = select(variance, inverseSqrt(variance + params.epsilon), is_finite(variance));
    for (var j = 0u; j < pieces(); j++) {
        let c = column(lane, j);
        if (c < params.columns) {
            var value = (piece(start, lane, j) - mean) * scale * load_gain(c, params.columns);
#ifdef BIAS
            value += load_bias(c, params.columns);
#endif
            store_y(start + c, start + params.columns, value);
        }
    }
    if (lane == 0u) { statistics[row] = vec2f(mean, scale); }
}
