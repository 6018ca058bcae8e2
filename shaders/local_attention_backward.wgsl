// With weights = a g, a the softmax and g the prominence: d_scores = weights (d_weights - (sum of weights d_weights) / g), which is
// 0 where a weight is, whatever d_weights holds there. Under PREDICTED the centre moves the prominence, and that alone:
// d_share = length (sum of weights d_weights (s - centre)) / deviation². One workgroup a row. The forms are the forward's.
#import linear
#import reduce
#import window

@group(0) @binding(1) var<storage, read> weights: array<f32>;            // [B, T, S]
@group(0) @binding(2) var<storage, read> centres: array<f32>;            // [B, T], read under WINDOW alone
@group(0) @binding(3) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(4) var<storage, read> d_weights: array<f32>;          // [B, T, S]
@group(0) @binding(5) var<storage, read_write> d_scores: array<Score>;   // [B, T, columns]
@group(0) @binding(6) var<storage, read_write> d_shares: array<Share>;   // [B, T], written under PREDICTED alone

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = linear_workgroup(group, groups);
    let row = min(wanted, params.batch * params.queries - 1u);
    let length = min(lengths[row / params.queries], params.keys);
#ifdef WINDOW
    let centre = centres[row];
#else
    let centre = 0.0;
#endif
    let positions = window(centre, params.half_width, min(length, params.columns));
    let start = row * params.keys;
    var sum = 0.0;
    var moment = 0.0;
    for (var s = positions.x + lane; s < positions.y; s += LANES) {
        let weight = weights[start + s];
        if (weight != 0.0) {
            let product = weight * d_weights[start + s];
            sum += product;
            moment = fma(product, f32(s) - centre, moment);
        }
    }
    let mean = reduce_sum(sum, lane);
    let slope = reduce_sum(moment, lane);
    if (wanted >= params.batch * params.queries) { return; }
    for (var s = lane; s < params.columns; s += LANES) {
        var gradient = 0.0;
        if (s >= positions.x && s < positions.y) {
            let weight = weights[start + s];
            if (weight != 0.0) {
                gradient = weight * (d_weights[start + s] - mean / prominence(s, centre, params.half_width));
            }
        }
        d_scores[row * params.columns + s] = Score(gradient);
    }
#ifdef PREDICTED
    let deviation = 0.5 * params.half_width;
    if (lane == 0u) { d_shares[row] = Share(f32(length) * slope / (deviation * deviation)); }
#endif
}
