// The context of each row's query from its parts, in their order.
#import element

struct Params { rows: u32, heads: u32, size: u32, splits: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;              // [R, N, splits, D + 2]: context, total, largest score
@group(0) @binding(2) var<storage, read_write> context: array<element>;  // [R, N, D]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (workgroup.x + workgroup.y * workgroups.x) * LANES + local;
    if (i >= params.rows * params.heads * params.size) { return; }
    let width = params.size + 2u;
    let first = i / params.size * params.splits * width;
    let end = first + params.splits * width;
    var largest = parts[first + params.size + 1u];
    for (var at = first + width; at < end; at += width) { largest = max(largest, parts[at + params.size + 1u]); }
    var sum = 0.0;
    var total = 0.0;
    for (var at = first; at < end; at += width) {
        let factor = exp(parts[at + params.size + 1u] - largest);
        sum = fma(factor, parts[at + i % params.size], sum);
        total = fma(factor, parts[at + params.size], total);
    }
    context[i] = element(sum / total);
}
