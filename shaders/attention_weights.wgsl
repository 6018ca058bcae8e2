// weights[b, t, s] = the mean over heads of exp(query · key * scale - log_sum_exp), which are the weights that dot-product attention
// has made and not kept; 0 for keys at a row's length and past it. An invocation has one weight.
#import element
#import heads
#import linear

struct Params {
    query: Heads, key: Heads,                                           // layouts
    batch: u32, heads: u32, queries: u32, keys: u32,
    size: u32, scale: f32, weights_offset: u32, weights_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<element>;          // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<element>;            // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(4) var<storage, read> log_sum_exp: array<f32>;        // [B, N, T]
@group(0) @binding(5) var<storage, read_write> weights: array<f32>;      // [B, T, S]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let s = i % params.keys;
    let row = i / params.keys;
    if (row >= params.batch * params.queries) { return; }
    let b = row / params.queries;
    let t = row % params.queries;
    var sum = 0.0;
    if (s < lengths[b]) {
        for (var n = 0u; n < params.heads; n++) {
            let query_at = head_start(params.query, b, n) + t * params.query.row;
            let key_at = head_start(params.key, b, n) + s * params.key.row;
            var score = 0.0;
            for (var d = 0u; d < params.size; d++) { score = fma(f32(query[query_at + d]), f32(key[key_at + d]), score); }
            sum += exp(score * params.scale - log_sum_exp[(b * params.heads + n) * params.queries + t]);
        }
    }
    weights[params.weights_offset + row * params.weights_stride + s] = sum / f32(params.heads);
}
