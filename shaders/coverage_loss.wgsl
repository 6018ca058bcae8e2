// The coverage loss, attention to positions attended to before: each invocation goes through the target steps of one source
// position and adds min(weights, what the position had before); workgroup g puts its sum into partials[g]. Steps whose target
// is padding do not count.
#import linear
#import math
#import reduce
#import step

struct Params { batch: u32, steps: u32, keys: u32, weight: f32, padding: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> weights: array<f32>;            // [B, T, S]
@group(0) @binding(3) var<storage, read> targets: array<u32>;            // [B, T]
@group(0) @binding(4) var<storage, read_write> partials: array<f32>;     // [ceil(B S / LANES)]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let count = params.batch * params.keys;
    let i = workgroup * LANES + lane;
    let row = min(i, count - 1u) / params.keys * params.steps;
    let key = i % params.keys;
    var covered = 0.0;
    var sum = 0.0;
    for (var t = 0u; t < params.steps; t++) {
        if (targets[row + t] != params.padding) {
            let weight = weights[(row + t) * params.keys + key];
            sum += min(weight, covered);
            covered += weight;
        }
    }
    // A weight that is not finite is in `covered`, even where min has lost it.
    let shown = select(covered, sum, is_finite(covered));
    let total = reduce_sum(select(0.0, shown, i < count), lane);
    if (lane == 0u && workgroup * LANES < count) { partials[workgroup] = params.weight * step.loss_scale * total; }
}
