// Statistics of each query for the backward: its log_sum_exp, and delta = d_context · context, which is the softmax's own term in
// d_score = weight · (d_weight - delta) (Dao et al. 2022, appendix B.2). Behind them the spans, which need no binding of their own then.
#import element
#import linear

struct Params { batch: u32, heads: u32, queries: u32, size: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> context: array<element>;            // [B, T, N, D]
@group(0) @binding(2) var<storage, read> d_context: array<element>;          // [B, T, N, D]
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;            // [B, N, T]
@group(0) @binding(4) var<storage, read> spans: array<f32>;                  // [N]
@group(0) @binding(5) var<storage, read_write> statistics: array<vec2f>;     // [B, N, T, 2], [N, 2]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let rows = params.batch * params.heads * params.queries;
    let row = linear_workgroup(group, groups) * LANES + index;
    if (row < params.heads) { statistics[rows + row] = vec2f(spans[row], 0.0); }
    if (row >= rows) { return; }
    let t = row % params.queries;
    let n = row / params.queries % params.heads;
    let b = row / params.queries / params.heads;
    let start = ((b * params.queries + t) * params.heads + n) * params.size;
    var delta = 0.0;
    for (var d = 0u; d < params.size; d++) { delta = fma(f32(context[start + d]), f32(d_context[start + d]), delta); }
    statistics[row] = vec2f(log_sum_exp[row], delta);
}
