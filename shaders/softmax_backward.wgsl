// d_x = y (d_y - y . d_y) of each row; 0 where y is 0, whatever d_y holds there. One workgroup a row.
// VECTOR: columns are a multiple of 4, and 16-byte loads serve. REGISTERS: a row fits into HELD vec4s of each invocation.
#import linear
#import reduce

struct Params { rows: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> y: array<vec4f>;            // [rows, columns]
@group(0) @binding(2) var<storage, read> d_y: array<vec4f>;          // [rows, columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<vec4f>;    // [rows, columns]
const WIDTH = 4u;
fn zero() -> vec4f { return vec4f(); }
fn total(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }
#else
@group(0) @binding(1) var<storage, read> y: array<f32>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> d_y: array<f32>;            // [rows, columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<f32>;      // [rows, columns]
const WIDTH = 1u;
fn zero() -> f32 { return 0.0; }
fn total(x: f32) -> f32 { return x; }
#endif

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let columns = params.columns / WIDTH;
    let start = min(workgroup, params.rows - 1u) * columns;
    var sum = zero();
#ifdef REGISTERS
    var held_y: array<vec4f, HELD>;
    var held_d: array<vec4f, HELD>;
    for (var j = 0u; j < HELD; j++) {
        let c = lane + j * LANES;
        let at = start + min(c, columns - 1u);
        held_y[j] = select(vec4f(), y[at], c < columns);
        held_d[j] = select(d_y[at], vec4f(), held_y[j] == vec4f());
        sum = fma(held_y[j], held_d[j], sum);
    }
    let mean = reduce_sum(total(sum), lane);
    if (workgroup >= params.rows) { return; }
    for (var j = 0u; j < HELD; j++) {
        let c = lane + j * LANES;
        if (c < columns) { d_x[start + c] = held_y[j] * (held_d[j] - mean); }
    }
#else
    for (var c = lane; c < columns; c += LANES) {
        let value = y[start + c];
        sum = fma(value, select(d_y[start + c], zero(), value == zero()), sum);
    }
    let mean = reduce_sum(total(sum), lane);
    if (workgroup >= params.rows) { return; }
    for (var c = lane; c < columns; c += LANES) {
        let value = y[start + c];
        d_x[start + c] = value * (select(d_y[start + c], zero(), value == zero()) - mean);
    }
#endif
}
