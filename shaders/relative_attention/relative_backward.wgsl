// The gradient of relative_attention's vectors of distances. A workgroup owns a distance of one head and goes through the pairs of
// all rows that lie so far apart.
//     d_relative[distance] = sum of d_score * position
#import element
#import linear
#import relative_gradients

struct Params { batch: u32, heads: u32, queries: u32, keys: u32, size: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<Element>;            // [B, T, 2, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;                // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;              // [B, S, N, D]
@group(0) @binding(4) var<storage, read> relative: array<Element>;           // [S, N, D], by distance
@group(0) @binding(5) var<storage, read> d_context: array<Element>;          // [B, T, N, D]
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length
@group(0) @binding(7) var<storage, read_write> d_relative: array<Element>;   // [S, N, D]
#import store(d_relative)

var<workgroup> d_scores: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups);
    if (owned >= params.keys * params.heads) { return; }
    let n = owned % params.heads;
    let distance = owned / params.heads;
    // The first query that has a key so far behind it.
    let begin = distance - min(distance, params.keys - params.queries);
    let pairs = params.batch * (params.queries - begin);

    var sums: array<vec4f, SHARE>;
    for (var first = 0u; first < pairs; first += LANES) {
        let pair = min(first + lane, pairs - 1u);
        let b = pair % params.batch;
        let t = begin + pair / params.batch;
        let s = place_of(t) - distance;
        let d_score = pair_of(b, n, t, s, first + lane < pairs && s < length_of(b)).d_score;
        workgroupBarrier();
        d_scores[lane] = d_score;
        workgroupBarrier();
        for (var j = 0u; j < min(LANES, pairs - first); j++) {
            let other = first + j;
            let q = query_at(other % params.batch, n, begin + other / params.batch) + second();
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { sums[i] = fma(vec4f(d_scores[j]), load_queries(q + feature, q + params.size), sums[i]); }
            }
        }
    }

    let start = relative_at(n, distance);
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) { store_d_relative(start + feature, start + params.size, sums[i]); }
    }
}
