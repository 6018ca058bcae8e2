// The windows that a convolution sees: windows[b, t, j] = x[b, t + j - left], or 0 where x has no such step. An invocation goes to
// one element, or one vec4 under VECTOR: channels are a multiple of 4.
#import element
#import linear

struct Params { rows: u32, steps: u32, channels: u32, width: u32, left: u32 }   // rows: B * T

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;              // [B, T, C]
@group(0) @binding(2) var<storage, read_write> windows: array<Element>;  // [B, T, width, C]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let channels = params.channels / WIDTH;
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.rows * params.width * channels) { return; }
    let tap = i / channels % params.width;
    let row = i / channels / params.width;
    // Counted from the first step that a window may reach, so that no number is below 0.
    let step = row % params.steps + tap;
    var value = Element(0.0);
    if (step >= params.left && step - params.left < params.steps) {
        value = x[(row + tap - params.left) * channels + i % channels];
    }
    windows[i] = value;
}
