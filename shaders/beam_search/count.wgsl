// Whether every hypothesis has ended, and the number of steps made, which stops at the capacity. One workgroup.
#import reduce
#import search

struct Params { rows: u32, capacity: u32, steps: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> search: array<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var all = 1u;
    for (var row = lane; row < params.rows; row += LANES) { all = min(all, search[finished_at(row)]); }
    let result = reduce_min(all, lane);
    if (lane == 0u) {
        search[ALL_FINISHED] = result;
        search[COUNTER] = min(search[COUNTER] + params.steps, params.capacity);
    }
}
