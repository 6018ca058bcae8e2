// y = x with its extents in another order, four of them. An invocation goes to one element of y, or one vec4 under VECTOR: the last
// extent stays last, and is a multiple of 4.
#import element
#import linear

struct Params { extents: vec4u, strides: vec4u }    // of y, and from element to element of x along each of them

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [N]
@group(0) @binding(2) var<storage, read_write> y: array<Element>;    // [E0, E1, E2, E3]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let extents = params.extents;
    let last = extents.w / WIDTH;
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= extents.x * extents.y * extents.z * last) { return; }
    let column = i % last * WIDTH;
    let row = i / last;
    let at = vec4u(row / extents.z / extents.y, row / extents.z % extents.y, row % extents.z, column) * params.strides;
    y[i] = x[(at.x + at.y + at.z + at.w) / WIDTH];
}
