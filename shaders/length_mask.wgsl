// y = x in the steps of each sequence and 0 past them, times the root of the sequence's length if so asked. An invocation goes to one
// element, or one vec4 under VECTOR: channels are a multiple of 4. The gradient is the same of d_y.
#import element
#import linear

struct Params { batch: u32, steps: u32, channels: u32, root: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [B, T, C]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(3) var<storage, read_write> y: array<Element>;    // [B, T, C]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let channels = params.channels / WIDTH;
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.batch * params.steps * channels) { return; }
    let row = i / channels;
    let length = min(lengths[row / params.steps], params.steps);
    let factor = select(1.0, sqrt(f32(length)), params.root != 0u);
    // Masked steps may hold anything.
    y[i] = Element(select(Single(0.0), Single(x[i]) * factor, row % params.steps < length));
}
