// d_weights = - d_loss weight alignment_scale expected / (weights + floor), and 0 where nothing is expected.
#import linear
#import step

struct Params { elements: u32, weight: f32, floor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;          // [B, T, S]
@group(0) @binding(3) var<storage, read> expected: array<vec4f>;         // [B, T, S]
@group(0) @binding(4) var<storage, read> d_loss: array<f32>;             // [1]
@group(0) @binding(5) var<storage, read_write> d_weights: array<vec4f>;  // [B, T, S]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
    let share = inside4(i, params.elements, expected[i]);
    let scale = d_loss[0] * params.weight * step.alignment_scale;
    d_weights[i] = select(vec4f(), -scale * share / (weights[i] + params.floor), share > vec4f());
}
