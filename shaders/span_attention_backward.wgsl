// Gradients of span_attention's queries. A workgroup owns a query of one head and goes through the distances that it sees; weights are
// made again (Dao et al. 2022, algorithm 4).
//     d_query = sum of d_score · (key + position)
#import element
#import linear
#import span_gradients

struct Params { batch: u32, heads: u32, queries: u32, keys: u32, size: u32, limit: u32, ramp: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Element>;              // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;                // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;              // [B, S, N, D]
@group(0) @binding(4) var<storage, read> position: array<Single>;            // [L, D], by distance from 1 on
@group(0) @binding(5) var<storage, read> d_context: array<Element>;          // [B, T, N, D]
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [N, 2]: span
@group(0) @binding(7) var<storage, read_write> d_query: array<Element>;      // [B, T, N, D]
#import store(d_query)

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
    let reach = reach_of(span_of(n));

    var d_q: array<vec4f, SHARE>;
    for (var first = 1u; first <= reach; first += LANES) {
        let pair = pair_of(b, n, t, min(first + lane, reach), first + lane <= reach);
        workgroupBarrier();
        d_scores[lane] = pair.d_score;
        workgroupBarrier();
        for (var j = 0u; j < LANES && first + j <= reach; j++) {
            let key = behind(b, n, t, first + j);
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { d_q[i] = fma(vec4f(d_scores[j]), compared(key, first + j, feature), d_q[i]); }
            }
        }
    }

    let start = query_at(b, n, t);
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) { store_d_query(start + feature, start + params.size, d_q[i]); }
    }
}
