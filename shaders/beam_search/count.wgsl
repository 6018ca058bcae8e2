// Whether every hypothesis has ended, and the number of steps made, which stops at the capacity. One workgroup.
#import reduce

struct Params { rows: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> finished: array<u32>;               // [rows]
@group(0) @binding(2) var<storage, read_write> counter: array<u32>;          // [1]
@group(0) @binding(3) var<storage, read_write> all_finished: array<u32>;     // [1]

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var all = 1u;
    for (var row = lane; row < params.rows; row += LANES) { all = min(all, finished[row]); }
    let result = reduce_min(all, lane);
    if (lane == 0u) {
        all_finished[0] = result;
        counter[0] = min(counter[0] + 1u, params.capacity);
    }
}
