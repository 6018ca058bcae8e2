// One query a row against the keys and values of its row's cache up to its own position, in parts: a workgroup takes SPAN positions of
// a head, with the softmax taken online (Milakov and Gimelshein 2018), and `merge` makes one context of the parts. A position of a
// hypothesis lies in the row that wrote it, which `origins` names: no cache is copied when hypotheses continue others.
//
// VECTOR: sizes, offsets and strides are multiples of 4.
#import cache
#import element
#import load(query)
#import load(key)
#import load(value)
#import reduce

struct Params {
    rows: u32, heads: u32, size: u32, capacity: u32,
    query_offset: u32, query_stride: u32, step: u32, scale: f32,
    splits: u32, biased: u32,           // 1: by head, 2: by row
    segment: u32, memory: u32,          // steps of a segment, and those before it that a row sees
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Element>;             // [R, N, D], rows query_stride apart
@group(0) @binding(2) var<storage, read> key: array<Element>;               // [R, capacity, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;             // [R, capacity, N, D]
@group(0) @binding(4) var<storage, read> origins: array<u32>;            // [R, capacity]
@group(0) @binding(5) var<storage, read> starts: array<u32>;             // [R]
@group(0) @binding(6) var<storage, read> counter: array<u32>;            // [1]
@group(0) @binding(7) var<storage, read> bias: array<f32>;               // [N, 2 capacity - 1], by s - t + capacity - 1; by row [R, N, capacity], by t - s
@group(0) @binding(8) var<storage, read_write> parts: array<f32>;        // [R, N, splits, D + 2]: context, total, largest score

const FLOOR = -1e30;                    // below any score; finite, so that differences are never NaN
const SHARE = 256u / 4u / LANES;        // vec4s of a head that a lane sums up

var<workgroup> weights: array<f32, LANES>;
var<workgroup> values_at: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = workgroup.x + workgroup.y * workgroups.x;
    if (owned >= params.rows * params.heads * params.splits) { return; }
    let head = owned / params.splits;
    let n = head % params.heads;
    let row = head / params.heads;
    let position = position_of(row);
    let query_at = params.query_offset + row * params.query_stride + n * params.size;
    let segment = position / params.segment * params.segment;
    let split = owned % params.splits * SPAN;
    let begin = max(split, segment - min(segment, params.memory));
    let end = min(split + SPAN, position + 1u);

    var largest = FLOOR;
    var total = 0.0;                    // of this lane's keys
    var sums: array<vec4f, SHARE>;
    for (var first = begin; first < end; first += LANES) {
        let s = min(first + lane, position);
        let live = first + lane < end;
        let origin = min(origins[row * params.capacity + s], params.rows - 1u);
        let at = ((origin * params.capacity + s) * params.heads + n) * params.size;
        var products = vec4f();
        for (var d = 0u; d < params.size; d += 4u) {
            let q = load_query(query_at + d, query_at + params.size);
            products = fma(q, load_key(at + d, at + params.size), products);
        }
        var score = sum_of(products);
        if (params.biased == 2u) { score += bias[head * params.capacity + position - s]; }
        score *= params.scale;
        if (params.biased == 1u) { score += bias[n * (2u * params.capacity - 1u) + s + params.capacity - 1u - position]; }
        score = select(FLOOR, score, live);
        let new_largest = max(largest, reduce_max(score, lane));
        let factor = exp(largest - new_largest);
        let weight = select(0.0, exp(score - new_largest), live);
        largest = new_largest;
        total = total * factor + weight;
        workgroupBarrier();
        weights[lane] = weight;
        values_at[lane] = at;
        workgroupBarrier();
        for (var i = 0u; i < SHARE; i++) { sums[i] *= factor; }
        for (var j = 0u; j < min(LANES, end - first); j++) {
            let shared_weight = vec4f(weights[j]);
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { sums[i] = fma(shared_weight, load_value(values_at[j] + feature, values_at[j] + params.size), sums[i]); }
            }
        }
    }

    let start = owned * (params.size + 2u);
    for (var i = 0u; i < SHARE; i++) {
        for (var c = 0u; c < 4u; c++) {
            let feature = (i * LANES + lane) * 4u + c;
            if (feature < params.size) { parts[start + feature] = sums[i][c]; }
        }
    }
    let all = reduce_sum(total, lane);
    if (lane == 0u) {
        parts[start + params.size] = all;
        parts[start + params.size + 1u] = largest;
    }
}
