// The parts that a row of the batch and a head have in the gradients of span_attention's position vectors and spans. A workgroup owns
// a distance of one head in one row and goes through the queries.
//     d_position = sum of d_score · query        d_span = sum of d_mask / ramp, where the mask is neither 0 nor 1
#import element
#import linear
#import reduce
#import span_gradients

struct Params { batch: u32, heads: u32, queries: u32, keys: u32, size: u32, limit: u32, ramp: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Element>;              // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;                // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;              // [B, S, N, D]
@group(0) @binding(4) var<storage, read> position: array<Single>;            // [L, D], by distance from 1 on
@group(0) @binding(5) var<storage, read> d_context: array<Element>;          // [B, T, N, D]
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [N, 2]: span
@group(0) @binding(7) var<storage, read_write> d_position: array<f32>;       // [B, N, L, D]
@group(0) @binding(8) var<storage, read_write> d_span: array<f32>;           // [B, L, N]

var<workgroup> d_scores: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups);
    if (owned >= params.batch * params.heads * params.limit) { return; }
    let distance = 1u + owned % params.limit;
    let n = owned / params.limit % params.heads;
    let b = owned / params.limit / params.heads;
    let span = span_of(n);
    let end = select(0u, params.queries, distance <= reach_of(span));

    var d_p: array<vec4f, SHARE>;
    var d_mask = 0.0;                   // of this lane's queries
    for (var first = 0u; first < end; first += LANES) {
        let pair = pair_of(b, n, min(first + lane, end - 1u), distance, first + lane < end);
        d_mask += pair.d_mask;
        workgroupBarrier();
        d_scores[lane] = pair.d_score;
        workgroupBarrier();
        for (var j = 0u; j < min(LANES, end - first); j++) {
            let q = query_at(b, n, first + j);
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { d_p[i] = fma(vec4f(d_scores[j]), load_query(q + feature, q + params.size), d_p[i]); }
            }
        }
    }

    let start = owned * params.size;
    for (var i = 0u; i < SHARE; i++) {
        for (var c = 0u; c < 4u; c++) {
            let feature = (i * LANES + lane) * 4u + c;
            if (feature < params.size) { d_position[start + feature] = d_p[i][c]; }
        }
    }
    let all = reduce_sum(d_mask, lane);
    let mask = mask_at(span, distance);
    if (lane == 0u) {
        d_span[(b * params.limit + distance - 1u) * params.heads + n] = select(0.0, all / params.ramp, mask > 0.0 && mask < 1.0);
    }
}
