// y = softmax of the first lengths[row] columns of each row of x; 0 in the others, and in a row without any finite element.
// One workgroup a row. VECTOR: columns are a multiple of 4, and 16-byte loads serve. REGISTERS: a row fits into HELD vec4s
// of each invocation, and is read once; otherwise twice. LENGTHS: there are lengths.
#import linear
#import reduce

struct Params { rows: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<vec4f>;            // [rows, columns]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;        // [rows]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;      // [rows, columns]

fn load(start: u32, c: u32) -> vec4f { return x[(start + min(c, params.columns - 4u)) / 4u]; }
fn store(start: u32, c: u32, value: vec4f) { y[(start + c) / 4u] = value; }
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;        // [rows]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;        // [rows, columns]

fn load(start: u32, c: u32) -> vec4f {
    let i = vec4u(start) + min(vec4u(c) + vec4u(0u, 1u, 2u, 3u), vec4u(params.columns - 1u));
    return vec4f(x[i.x], x[i.y], x[i.z], x[i.w]);
}
fn store(start: u32, c: u32, value: vec4f) {
    y[start + c] = value.x;
    if (c + 1u < params.columns) { y[start + c + 1u] = value.y; }
    if (c + 2u < params.columns) { y[start + c + 2u] = value.z; }
    if (c + 3u < params.columns) { y[start + c + 3u] = value.w; }
}
#endif

const FLOOR = -1e30;

fn inside(c: u32, length: u32) -> vec4<bool> { return vec4u(c) + vec4u(0u, 1u, 2u, 3u) < vec4u(length); }
fn largest_of(x: vec4f) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
fn sum_of(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let start = row * params.columns;
    var length = params.columns;
#ifdef LENGTHS
    length = min(lengths[row], params.columns);
#endif
#ifdef REGISTERS
    var held: array<vec4f, HELD>;
    var largest = vec4f(FLOOR);
    for (var j = 0u; j < HELD; j++) {
        let c = 4u * (lane + j * LANES);
        held[j] = select(vec4f(FLOOR), load(start, c), inside(c, length));
        largest = max(largest, held[j]);
    }
    let maximum = reduce_max(largest_of(largest), lane);
    var sum = vec4f();
    for (var j = 0u; j < HELD; j++) {
        let c = 4u * (lane + j * LANES);
        held[j] = select(vec4f(), exp(held[j] - maximum), inside(c, length));
        sum += held[j];
    }
    let total = reduce_sum(sum_of(sum), lane);
    if (workgroup >= params.rows) { return; }
    let scale = select(1.0 / total, 0.0, total == 0.0);
    for (var j = 0u; j < HELD; j++) {
        let c = 4u * (lane + j * LANES);
        if (c < params.columns) { store(start, c, held[j] * scale); }
    }
#else
    var largest = FLOOR;
    var sum = vec4f();
    for (var c = 4u * lane; c < length; c += 4u * LANES) {
        let value = select(vec4f(FLOOR), load(start, c), inside(c, length));
        let before = largest;
        largest = max(largest, largest_of(value));
        sum = fma(sum, vec4f(exp(before - largest)), select(vec4f(), exp(value - largest), inside(c, length)));
    }
    let maximum = reduce_max(largest, lane);
    let total = reduce_sum(sum_of(sum) * exp(largest - maximum), lane);
    if (workgroup >= params.rows) { return; }
    let scale = select(1.0 / total, 0.0, total == 0.0);
    for (var c = 4u * lane; c < params.columns; c += 4u * LANES) {
        store(start, c, select(vec4f(), exp(load(start, c) - maximum) * scale, inside(c, length)));
    }
#endif
}
