// y[b, g] = x[b, positions[b, g]]; 0 for a position past the last. An invocation goes to one element of y, or one vec4 under VECTOR:
// sizes are a multiple of 4.
#import element
#import linear

struct Params { batch: u32, steps: u32, listed: u32, size: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;              // [B, T, D]
@group(0) @binding(2) var<storage, read> positions: array<u32>;          // [B, G]
@group(0) @binding(3) var<storage, read_write> y: array<Element>;        // [B, G, D]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let size = params.size / WIDTH;
    let row = i / size;
    if (row >= params.batch * params.listed) { return; }
    let position = positions[row];
    let at = (row / params.listed * params.steps + min(position, params.steps - 1u)) * size + i % size;
    y[i] = Element(select(Single(0.0), Single(x[at]), position < params.steps));
}
