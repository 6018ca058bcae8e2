// x = clamp(before + (high - low) · (x - before), low, high): a step in units of the width between bounds that it does not cross.
#import linear
#import math

struct Params { elements: u32, low: f32, high: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> before: array<f32>;         // [N]
@group(0) @binding(2) var<storage, read_write> x: array<f32>;        // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.elements) { return; }
    let moved = fma(params.high - params.low, x[i] - before[i], before[i]);
    x[i] = select(moved, clamp(moved, params.low, params.high), is_finite(moved));
}
