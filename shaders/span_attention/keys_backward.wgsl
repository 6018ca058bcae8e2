// Gradients of span_attention's keys and values. A workgroup owns a key of one head and goes through the queries that see it.
//     d_key = sum of d_score · query        d_value = sum of weight · d_context
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
@group(0) @binding(7) var<storage, read_write> d_key: array<Element>;        // [B, S, N, D]
@group(0) @binding(8) var<storage, read_write> d_value: array<Element>;      // [B, S, N, D]
#import store(d_key)
#import store(d_value)

var<workgroup> pairs: array<Pair, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups);
    if (owned >= params.batch * params.heads * params.keys) { return; }
    let s = owned % params.keys;
    let n = owned / params.keys % params.heads;
    let b = owned / params.keys / params.heads;
    // The queries behind whose places it lies at a distance from 1 to the head's reach.
    let before = params.keys - params.queries;
    let begin = max(s + 1u, before) - before;
    let end = min(max(s + 1u + reach_of(span_of(n)), before) - before, params.queries);

    var d_k: array<vec4f, SHARE>;
    var d_v: array<vec4f, SHARE>;
    for (var first = begin; first < end; first += LANES) {
        let t = min(first + lane, end - 1u);
        let pair = pair_of(b, n, t, place_of(t) - s, first + lane < end);
        workgroupBarrier();
        pairs[lane] = pair;
        workgroupBarrier();
        for (var j = 0u; j < min(LANES, end - first); j++) {
            let q = query_at(b, n, first + j);
            let other = pairs[j];
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) {
                    d_k[i] = fma(vec4f(other.d_score), load_query(q + feature, q + params.size), d_k[i]);
                    d_v[i] = fma(vec4f(other.weight), load_d_context(q + feature, q + params.size), d_v[i]);
                }
            }
        }
    }

    let start = key_at(b, n, s);
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) {
            store_d_key(start + feature, start + params.size, d_k[i]);
            store_d_value(start + feature, start + params.size, d_v[i]);
        }
    }
}
