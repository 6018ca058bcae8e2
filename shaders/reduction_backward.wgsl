// Every element of a column gets the gradient d of the column's sum (a sum of all elements is a sum with one column);
// SQUARES: the gradient 2 x d of the sum of squares.
#import element
#import linear

struct Params { elements: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<element4>;         // [N], read by SQUARES alone
@group(0) @binding(2) var<storage, read> d: array<f32>;              // [columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<element4>; // [N]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
#ifdef SQUARES
    let value = 2.0 * vec4f(x[i]) * d[0];
#else
    let column = four_from(4u * i) % vec4u(params.columns);
    let value = vec4f(d[column.x], d[column.y], d[column.z], d[column.w]);
#endif
    d_x[i] = element4(inside4(i, params.elements, value));
}
