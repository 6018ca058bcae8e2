// Gradients of relative_attention's queries. A workgroup owns a query of one head and goes through its keys; weights are made again
// (Dao et al. 2022, algorithm 4).
//     d_content = sum of d_score * key        d_position = sum of d_score * relative
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
@group(0) @binding(7) var<storage, read_write> d_queries: array<Element>;    // [B, T, 2, N, D]
#import store(d_queries)

var<workgroup> d_scores: array<f32, LANES>;

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
    let end = min(place + 1u, length_of(b));

    var d_content: array<vec4f, SHARE>;
    var d_position: array<vec4f, SHARE>;
    for (var first = 0u; first < end; first += LANES) {
        let pair = pair_of(b, n, t, min(first + lane, end - 1u), first + lane < end);
        workgroupBarrier();
        d_scores[lane] = pair.d_score;
        workgroupBarrier();
        for (var j = 0u; j < min(LANES, end - first); j++) {
            let d_score = vec4f(d_scores[j]);
            let k = key_at(b, n, first + j);
            let r = relative_at(n, place - (first + j));
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) {
                    d_content[i] = fma(d_score, load_key(k + feature, k + params.size), d_content[i]);
                    d_position[i] = fma(d_score, load_relative(r + feature, r + params.size), d_position[i]);
                }
            }
        }
    }

    let content = query_at(b, n, t);
    let position = content + second();
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) {
            store_d_queries(content + feature, content + params.size, d_content[i]);
            store_d_queries(position + feature, position + params.size, d_position[i]);
        }
    }
}
