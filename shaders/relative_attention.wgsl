// context = softmax((content · key + position · relative) * scale) · value for each query, with the softmax taken online (Milakov and
// Gimelshein 2018). The paper's relative shift is in the address of the vector that a query and a key meet at: nothing of size
// queries x keys is stored. A workgroup owns a query of one head; its lanes share the keys, then the features.
#import element
#import linear
#import reduce
#import load(value)
#import relative_pairs

struct Params { batch: u32, heads: u32, queries: u32, keys: u32, size: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<Element>;        // [B, T, 2, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;            // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;          // [B, S, N, D]
@group(0) @binding(4) var<storage, read> relative: array<Element>;       // [S, N, D], by distance
@group(0) @binding(5) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(6) var<storage, read_write> context: array<Element>;  // [B, T, N, D]
@group(0) @binding(7) var<storage, read_write> log_sum_exp: array<f32>;  // [B, N, T]
#import store(context)

const FLOOR = -1e30;                    // below any score; finite, so that differences are never NaN

var<workgroup> weights: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups);
    if (owned >= params.batch * params.heads * params.queries) { return; }
    let t = owned % params.queries;
    let n = owned / params.queries % params.heads;
    let b = owned / params.queries / params.heads;
    let place = place_of(t);
    let end = min(place + 1u, min(lengths[b], params.keys));
    let q = query_at(b, n, t);

    var largest = FLOOR;
    var total = 0.0;                    // of this lane's keys
    var sums: array<vec4f, SHARE>;
    for (var first = 0u; first < end; first += LANES) {
        let live = first + lane < end;
        let s = min(first + lane, end - 1u);
        let score = select(FLOOR, score_of(q, key_at(b, n, s), relative_at(n, place - s)), live);
        let new_largest = max(largest, reduce_max(score, lane));
        let factor = exp(largest - new_largest);
        let weight = select(0.0, exp(score - new_largest), live);
        largest = new_largest;
        total = total * factor + weight;
        workgroupBarrier();
        weights[lane] = weight;
        workgroupBarrier();
        for (var i = 0u; i < SHARE; i++) { sums[i] *= factor; }
        for (var j = 0u; j < min(LANES, end - first); j++) {
            let v = key_at(b, n, first + j);
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { sums[i] = fma(vec4f(weights[j]), load_value(v + feature, v + params.size), sums[i]); }
            }
        }
    }

    let all = reduce_sum(total, lane);
    let inverse = select(0.0, 1.0 / max(all, 1e-30), end > 0u);
    let start = ((b * params.queries + t) * params.heads + n) * params.size;
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) { store_context(start + feature, start + params.size, sums[i] * inverse); }
    }
    if (lane == 0u) { log_sum_exp[owned] = select(0.0, largest + log(max(all, 1e-30)), end > 0u); }
}
