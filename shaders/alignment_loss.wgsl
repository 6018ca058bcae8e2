// The cross-entropy of the attention's weights against a given alignment: workgroup g sums its run of `span` vec4s of
// - weight alignment_scale expected log(weights + floor) into partials[g]. Where nothing is expected the weights are not looked at.
#import linear
#import math
#import reduce
#import step

struct Params { elements: u32, span: u32, weight: f32, floor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;          // [B, T, S]
@group(0) @binding(3) var<storage, read> expected: array<vec4f>;         // [B, T, S]
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;     // [ceil(B T S / 4 / span)]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.span;
    let end = min(start + params.span, (params.elements + 3u) / 4u);
    var sum = vec4f();
    for (var i = start + lane; i < end; i += LANES) {
        let share = inside4(i, params.elements, expected[i]);
        // Some drivers' logarithm of -infinity is a number.
        let logarithm = unless_finite(weights[i], log(weights[i] + params.floor));
        sum += select(vec4f(), share * logarithm, share > vec4f());
    }
    let total = reduce_sum(sum_of(sum), lane);
    if (lane == 0u) { partials[group.x] = -params.weight * step.alignment_scale * total; }
}
