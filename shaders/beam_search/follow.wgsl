// Decoder inputs gathered for the chosen tokens, for one more member of an ensemble; each row also gets the state of its parent
// where `hidden` is not 0. One workgroup a row.
#import linear
#import fed

struct Params {
    rows: u32, classes: u32, word: u32, word_offset: u32, word_stride: u32, gates: u32,
    hidden: u32, from_offset: u32, to_offset: u32,      // of the states to choose from, and of the chosen ones
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;                 // [rows]
@group(0) @binding(2) var<storage, read> parents: array<u32>;                // [rows]
@group(0) @binding(7) var<storage, read_write> states: array<Element>;       // [.., rows, H]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, groups);
    if (row >= params.rows) { return; }
    feed(row, tokens[row], lane);
    let parent = min(parents[row], params.rows - 1u);
    let start = (params.from_offset + parent * params.hidden) / WIDTH;
    let to = (params.to_offset + row * params.hidden) / WIDTH;
    for (var i = lane; i < params.hidden / WIDTH; i += LANES) { states[to + i] = states[start + i]; }
}
