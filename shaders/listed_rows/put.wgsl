// y[b, t] = rows[b, g] where positions[b, g] is t, and base[b, t] where none is. Either may be missing, and counts as 0. An invocation goes
// to one element of y, or one vec4 under VECTOR: sizes are a multiple of 4.
#import element
#import linear

struct Params { batch: u32, steps: u32, listed: u32, size: u32, has_base: u32, has_rows: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> base: array<Element>;           // [B, T, D]
@group(0) @binding(2) var<storage, read> rows: array<Element>;           // [B, G, D]
@group(0) @binding(3) var<storage, read> positions: array<u32>;          // [B, G], ascending
@group(0) @binding(4) var<storage, read_write> y: array<Element>;        // [B, T, D]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let size = params.size / WIDTH;
    let row = i / size;
    if (row >= params.batch * params.steps) { return; }
    let t = row % params.steps;
    // The first of the sequence's positions that is not before t.
    let first = row / params.steps * params.listed;
    var low = 0u;
    var high = params.listed;
    while (low < high) {
        let middle = (low + high) / 2u;
        if (positions[first + middle] < t) { low = middle + 1u; } else { high = middle; }
    }
    let g = first + min(low, params.listed - 1u);
    var value = Single(0.0);
    if (low < params.listed && positions[g] == t) {
        if (params.has_rows != 0u) { value = Single(rows[g * size + i % size]); }
    } else if (params.has_base != 0u) {
        value = Single(base[i]);
    }
    y[i] = Element(value);
}
