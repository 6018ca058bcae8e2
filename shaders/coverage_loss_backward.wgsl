// The gradient of min(w_t, c_t) for w_t is 1 where w_t < c_t; for c_t it is 1 where c_t <= w_t, and c_t has every earlier weight
// in it. So an invocation goes through the target steps of one source position twice: first it counts the steps of the latter kind, then
// it has the number of those still to come at each step. Steps whose target is padding get 0.
#import linear
#import step

struct Params { batch: u32, steps: u32, keys: u32, weight: f32, padding: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> weights: array<f32>;            // [B, T, S]
@group(0) @binding(3) var<storage, read> targets: array<u32>;            // [B, T]
@group(0) @binding(4) var<storage, read> d_loss: array<f32>;             // [1]
@group(0) @binding(5) var<storage, read_write> d_weights: array<f32>;    // [B, T, S]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + lane;
    if (i >= params.batch * params.keys) { return; }
    let row = i / params.keys * params.steps;
    let key = i % params.keys;
    let scale = d_loss[0] * params.weight * step.loss_scale;
    var covered = 0.0;
    var later = 0.0;
    for (var t = 0u; t < params.steps; t++) {
        if (targets[row + t] != params.padding) {
            let weight = weights[(row + t) * params.keys + key];
            later += select(0.0, 1.0, covered <= weight);
            covered += weight;
        }
    }
    covered = 0.0;
    for (var t = 0u; t < params.steps; t++) {
        let at = (row + t) * params.keys + key;
        var gradient = 0.0;
        if (targets[row + t] != params.padding) {
            let weight = weights[at];
            later -= select(0.0, 1.0, covered <= weight);
            gradient = scale * (later + select(0.0, 1.0, weight < covered));
            covered += weight;
        }
        d_weights[at] = gradient;
    }
}
