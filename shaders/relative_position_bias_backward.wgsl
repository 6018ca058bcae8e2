// d_table[bucket, n] = sum of d_bias[n, k] over the bucket's run of distances, in a fixed order.
#import position_buckets
#import reduce

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_bias: array<f32>;            // [N, T + S - 1]
@group(0) @binding(2) var<storage, read_write> d_table: array<f32>;     // [buckets, N]

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
    var sum = 0.0;
    for (var k = start_of(run) + lane; k < start_of(run + 1u); k += LANES) { sum += d_bias[n * params.span + k]; }
    let total = reduce_sum(sum, lane);
    if (lane == 0u) { d_table[bucket_of(run) * params.heads + n] = total; }
}
