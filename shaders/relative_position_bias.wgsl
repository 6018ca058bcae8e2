// bias[n, k] = table[bucket of k, n], k being s - t + T - 1 for query t and key s (Raffel et al. 2020, section 2.1). Each bucket is a run
// of distances; a workgroup writes one bucket's run for one head.
#import position_buckets

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;             // [buckets, N]
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;        // [N, T + S - 1]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = workgroup.x + workgroup.y * workgroups.x;
    if (owned >= params.heads * params.buckets) { return; }
    let n = owned / params.buckets;
    let run = owned % params.buckets;
    let value = table[bucket_of(run) * params.heads + n];
    for (var k = start_of(run) + lane; k < start_of(run + 1u); k += LANES) { bias[n * params.span + k] = value; }
}
