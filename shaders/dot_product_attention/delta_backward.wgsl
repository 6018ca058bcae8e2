// Statistics of each query for the backward: its log_sum_exp, and delta = d_context · context, which is the
// softmax's own term in d_score = weight * (d_weight - delta) (Dao et al. 2022, appendix B.2). Side by side, so that one
// binding and one load fetch both. Behind them the sequences' lengths, which need no binding of their own then.
#import element
#import heads

struct Params {
    context: Heads, d_context: Heads,       // layouts
    rows: u32, heads: u32, queries: u32, size: u32, batch: u32, keys: u32, unused: vec2u,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> context: array<element>;            // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(2) var<storage, read> d_context: array<element>;          // the same
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;            // [B, N, T]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;                // [B]
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>;     // [B, N, T, 2], [B, 2]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let row = (workgroup.x + workgroup.y * workgroups.x) * LANES + local;
    if (row < params.batch) { statistics[params.rows + row] = vec2f(f32(min(lengths[row], params.keys)), 0.0); }
    if (row >= params.rows) { return; }
    let head = row / params.queries;
    let b = head / params.heads;
    let n = head % params.heads;
    let t = row % params.queries;
    let start = head_start(params.context, b, n) + t * params.context.row;
    let d_start = head_start(params.d_context, b, n) + t * params.d_context.row;
    var delta = 0.0;
    for (var d = 0u; d < params.size; d++) {
        delta = fma(f32(context[start + d]), f32(d_context[d_start + d]), delta);
    }
    statistics[row] = vec2f(log_sum_exp[row], delta);
}
