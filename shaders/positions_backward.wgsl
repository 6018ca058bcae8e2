// d_x = factor d_y, and d_table = the sum of d_y over the rows of a place, in ascending order; 0 for places that no row has.
// VECTOR: rows are a multiple of 4 elements long, and an invocation has 4 of them.
#import element
#import linear

struct Params { batch: u32, size: u32, steps: u32, first: u32, places: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d_y: array<Element>;            // [B, T, D]
@group(0) @binding(2) var<storage, read_write> d_x: array<Element>;      // [B, T, D]
@group(0) @binding(3) var<storage, read_write> d_table: array<Single>;    // [places, D]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let size = params.size / WIDTH;
    let place = i / size;
    if (place >= params.places) { return; }
    var sum = Single(0.0);
    // Places before the first wrap around to numbers that no step has.
    let step = place - params.first;
    if (step < params.steps) {
        for (var b = 0u; b < params.batch; b++) {
            let at = (b * params.steps + step) * size + i % size;
            let gradient = Single(d_y[at]);
            d_x[at] = Element(params.factor * gradient);
            sum += gradient;
        }
    }
    d_table[i] = sum;
}
