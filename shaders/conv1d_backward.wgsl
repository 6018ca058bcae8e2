// d_x[b, s] = the sum of d_windows[b, t, j] over all windows t that see step s, as their tap j = s - t + left. An invocation goes to
// one element, or one vec4 under VECTOR: channels are a multiple of 4.
#import element
#import linear

struct Params { rows: u32, steps: u32, channels: u32, width: u32, left: u32 }   // rows: B * T

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_windows: array<Element>;      // [B, T, width, C]
@group(0) @binding(2) var<storage, read_write> d_x: array<Element>;      // [B, T, C]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let channels = params.channels / WIDTH;
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.rows * channels) { return; }
    let row = i / channels;
    let step = row % params.steps + params.left;
    var sum = Single(0.0);
    for (var tap = 0u; tap < params.width; tap++) {
        if (step >= tap && step - tap < params.steps) {
            let window = row + params.left - tap;
            sum += Single(d_windows[(window * params.width + tap) * channels + i % channels]);
        }
    }
    d_x[i] = Element(sum);
}
