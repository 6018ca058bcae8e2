// What cached_attention adds to the scores of a step, so that its weights are those of a span: the product of each row's query with the
// vector of each distance, and the mask's logarithm by the scale, for both are multiplied with it. An invocation goes to a distance of
// one head in one row; a position does not see itself.
#import element
#import linear
#import span_mask

struct Params {
    rows: u32, heads: u32, size: u32, limit: u32,
    capacity: u32, query_offset: u32, query_stride: u32, ramp: f32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<element>;          // [R, N, D], rows query_stride apart
@group(0) @binding(2) var<storage, read> position: array<f32>;           // [L, D], by distance from 1 on
@group(0) @binding(3) var<storage, read> spans: array<f32>;              // [N]
@group(0) @binding(4) var<storage, read_write> bias: array<f32>;         // [R, N, capacity], by distance from 0 to L

const UNSEEN = -1e30;                   // so that a weight is 0

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let distances = params.limit + 1u;
    if (i >= params.rows * params.heads * distances) { return; }
    let distance = i % distances;
    let n = i / distances % params.heads;
    let row = i / distances / params.heads;
    var result = UNSEEN;
    if (distance > 0u && distance <= reach_of(spans[n])) {
        let q = params.query_offset + row * params.query_stride + n * params.size;
        let p = (distance - 1u) * params.size;
        result = log(mask_at(spans[n], distance)) / params.scale;
        for (var d = 0u; d < params.size; d++) { result = fma(f32(query[q + d]), position[p + d], result); }
    }
    bias[(row * params.heads + n) * params.capacity + distance] = result;
}
