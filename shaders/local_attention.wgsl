// weights = softmax of a row's scores over the source positions that its step sees, times their prominence; 0 elsewhere, and in
// a row without any position to see. One workgroup a row.
// WINDOW: a step sees the positions around a centre: its own number, up to the row's last position, or under PREDICTED a share
// of the row's length. COUNTED: the queries of a row are all of one step.
#import linear
#import reduce
#import window

@group(0) @binding(1) var<storage, read> scores: array<Score>;           // [B, T, columns]
#ifdef COUNTED
@group(0) @binding(2) var<storage, read> counter: array<u32>;            // [1], steps before
fn step_of(query: u32) -> u32 { return params.first + counter[0]; }
#else
@group(0) @binding(2) var<storage, read> shares: array<Share>;           // [B, T], from 0 to 1; read under PREDICTED alone
fn step_of(query: u32) -> u32 { return params.first + query; }
#endif
@group(0) @binding(3) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(4) var<storage, read_write> weights: array<f32>;      // [B, T, S]
@group(0) @binding(5) var<storage, read_write> centres: array<f32>;      // [B, T], written under WINDOW alone

const FLOOR = -1e30;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = linear_workgroup(group, groups);
    let row = min(wanted, params.batch * params.queries - 1u);
    let length = min(lengths[row / params.queries], params.keys);
#ifdef PREDICTED
    let centre = f32(length) * f32(shares[row]);
#else
    let centre = f32(min(step_of(row % params.queries), max(length, 1u) - 1u));
#endif
    let positions = window(centre, params.half_width, min(length, params.columns));
    let start = row * params.columns;
    var largest = FLOOR;
    var sum = 0.0;
    for (var s = positions.x + lane; s < positions.y; s += LANES) {
        if (sees(s, centre, params.half_width)) {
            let score = f32(scores[start + s]);
            let before = largest;
            largest = max(largest, score);
            sum = fma(sum, exp(before - largest), exp(score - largest));
        }
    }
    let maximum = reduce_max(largest, lane);
    let total = reduce_sum(sum * exp(largest - maximum), lane);
    if (wanted >= params.batch * params.queries) { return; }
    let scale = select(1.0 / total, 0.0, maximum <= FLOOR);
    for (var s = lane; s < params.keys; s += LANES) {
        var weight = 0.0;
        if (s >= positions.x && s < positions.y && sees(s, centre, params.half_width)) {
            weight = exp(f32(scores[start + s]) - maximum) * scale * prominence(s, centre, params.half_width);
        }
        weights[row * params.keys + s] = weight;
    }
#ifdef WINDOW
    if (lane == 0u) { centres[row] = centre; }
#endif
}
