// The text of each hypothesis so far, from <bos> on, for models that read it anew at each step: read back from its last token. Past its
// end stands padding.
#import linear
#import search

struct Params {
    rows: u32, capacity: u32, classes: u32,
    steps: u32,             // since the last count
    bos: u32, pad: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> search: array<u32>;
@group(0) @binding(2) var<storage, read_write> texts: array<u32>;        // [rows, capacity]
@group(0) @binding(3) var<storage, read_write> lengths: array<u32>;      // [rows]
@group(0) @binding(4) var<storage, read_write> last: array<u32>;         // [rows]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, groups) * LANES + lane;
    if (row >= params.rows) { return; }
    let count = min(search[COUNTER] + params.steps, params.capacity - 1u);
    let start = row * params.capacity;
    for (var i = count + 1u; i < params.capacity; i++) { texts[start + i] = params.pad; }
    var owner = row;
    for (var i = count; i > 0u; i--) {
        texts[start + i] = min(search[history_token_at(i - 1u, owner)], params.classes - 1u);
        owner = min(search[history_parent_at(i - 1u, owner)], params.rows - 1u);
    }
    texts[start] = params.bos;
    lengths[row] = count + 1u;
    last[row] = count;
}
