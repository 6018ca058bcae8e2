// target = source for each of a batch of strided matrices; with LENGTHS, rows at and past their matrix's length become 0.
// VECTOR: strides, offsets and the number of columns are multiples of 4, and an invocation copies 4 elements.
#import element
#import linear

struct Params {
    rows: u32, columns: u32, batch: u32,
    source_offset: u32, source_stride: u32, source_batch: u32,
    target_offset: u32, target_stride: u32, target_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Element>;         // [batch, rows, columns]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;            // [batch]
@group(0) @binding(3) var<storage, read_write> destination: array<Element>; // [batch, rows, columns]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let columns = params.columns / WIDTH;
    let i = linear_workgroup(group, groups) * LANES + index;
    if (i >= params.batch * params.rows * columns) { return; }
    let column = i % columns * WIDTH;
    let row = i / columns % params.rows;
    let matrix = i / columns / params.rows;
    let to = (params.target_offset + matrix * params.target_batch + row * params.target_stride + column) / WIDTH;
#ifdef LENGTHS
    if (row >= lengths[matrix]) {
        destination[to] = element_of(Value(0.0));
        return;
    }
#endif
    let start = params.source_offset + matrix * params.source_batch + row * params.source_stride + column;
    destination[to] = source[start / WIDTH];
}
