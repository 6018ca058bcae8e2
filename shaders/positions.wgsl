// y = factor x + the vector of the row's place, which is the row's number among `steps` rows, after `first`; COUNTED: and after
// what a counter has counted.
// VECTOR: rows are a multiple of 4 elements long, and an invocation has 4 of them.
#import element
#import linear

struct Params { rows: u32, size: u32, steps: u32, first: u32, places: u32, factor: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;              // [rows, D]
@group(0) @binding(2) var<storage, read> table: array<Single>;            // [places, D]
@group(0) @binding(3) var<storage, read_write> y: array<Element>;        // [rows, D]
@group(0) @binding(4) var<storage, read> counter: array<u32>;            // [1], read under COUNTED alone

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let size = params.size / WIDTH;
    let row = i / size;
    if (row >= params.rows) { return; }
    var place = params.first + row % params.steps;
#ifdef COUNTED
    place += counter[0];
#endif
    let vector = table[min(place, params.places - 1u) * size + i % size];
    y[i] = Element(fma(Single(params.factor), Single(x[i]), vector));
}
