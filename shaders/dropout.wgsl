// y = x / (1 - rate) where the element's random bits reach the threshold, else 0. The backward pass is the same on d_y.
// An element counts among those of the whole batch, also where this rank has some of its rows.
// ROWS: the elements of a row share their bits. SEQUENCES: so do those of x [B, T, E] that differ in t alone.
// WIDE: four elements side by side are always of one batch row.
#import element
#import linear
#import random
#import step

struct Params {
    elements: u32, operation: u32, threshold: u32, scale: f32,
    width: u32, span: u32,          // E, T * E
    row: u32,                       // elements of a batch row; 0: x has none
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> x: array<element4>;         // [N]
@group(0) @binding(3) var<storage, read_write> y: array<element4>;   // [N]

#ifdef ROWS
fn draw(element: u32) -> u32 { return element / params.width; }
#else
#ifdef SEQUENCES
fn draw(element: u32) -> u32 { return element / params.span * params.width + element % params.width; }
#else
fn draw(element: u32) -> u32 { return element; }
#endif
#endif

fn of_all(element: u32) -> u32 {
    let row = element / max(params.row, 1u);
    return element + (row_of_all(step, row) - row) * params.row;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= (params.elements + 3u) / 4u) { return; }
    let at = 4u * i;
#ifdef WIDE
    let elements = of_all(at) + vec4u(0u, 1u, 2u, 3u);
#else
    let elements = vec4u(of_all(at), of_all(at + 1u), of_all(at + 2u), of_all(at + 3u));
#endif
    let bits = vec4u(
        random_bits(step.seed, step.step, params.operation, draw(elements.x)),
        random_bits(step.seed, step.step, params.operation, draw(elements.y)),
        random_bits(step.seed, step.step, params.operation, draw(elements.z)),
        random_bits(step.seed, step.step, params.operation, draw(elements.w)));
    let kept = bits >= vec4u(params.threshold);
    y[i] = element4(inside4(i, params.elements, select(vec4f(), params.scale * vec4f(x[i]), kept)));
}
