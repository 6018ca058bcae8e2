// context = sum of mask · exp(score) · value over the distances that a head sees, by the sum of mask · exp(score), taken online (Milakov
// and Gimelshein 2018). Farther ones are not walked over. A workgroup owns a query of one head; its lanes share the distances, then the
// features.
#import element
#import linear
#import reduce
#import load(value)
#import span_pairs

struct Params { batch: u32, heads: u32, queries: u32, keys: u32, size: u32, limit: u32, ramp: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Element>;          // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;            // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;          // [B, S, N, D]
@group(0) @binding(4) var<storage, read> position: array<Single>;        // [L, D], by distance from 1 on
@group(0) @binding(5) var<storage, read> spans: array<f32>;              // [N]
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
    let span = spans[n];
    let reach = reach_of(span);
    let place = place_of(t);
    let q = query_at(b, n, t);

    var largest = FLOOR;
    var total = 0.0;                    // of this lane's distances
    var sums: array<vec4f, SHARE>;
    for (var first = 1u; first <= reach; first += LANES) {
        let live = first + lane <= reach;
        let distance = min(first + lane, reach);
        let score = select(FLOOR, score_of(q, behind(b, n, t, distance), distance), live);
        let new_largest = max(largest, reduce_max(score, lane));
        let factor = exp(largest - new_largest);
        let weight = select(0.0, mask_at(span, distance) * exp(score - new_largest), live);
        largest = new_largest;
        total = total * factor + weight;
        workgroupBarrier();
        weights[lane] = weight;
        workgroupBarrier();
        for (var i = 0u; i < SHARE; i++) { sums[i] *= factor; }
        // Farther values are 0.
        for (var j = 0u; j < LANES && first + j <= min(reach, place); j++) {
            let v = key_at(b, n, place - (first + j));
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { sums[i] = fma(vec4f(weights[j]), load_value(v + feature, v + params.size), sums[i]); }
            }
        }
    }

    let all = reduce_sum(total, lane);
    var inverse = select(0.0, 1.0 / max(all, 1e-30), reach > 0u);
    // A span that is no number must show.
    inverse = select(span, inverse, is_finite(span));
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) { store_context(q + feature, q + params.size, sums[i] * inverse); }
    }
    if (lane == 0u) { log_sum_exp[owned] = select(0.0, largest + log(max(all, 1e-30)), reach > 0u); }
}
