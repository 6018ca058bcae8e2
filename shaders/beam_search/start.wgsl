// A search before its first step: empty hypotheses fed with <bos>, on their sentence's first state: one for each sentence,
// or one in each row where rows continue by themselves. Sentences of length 0 have finished. One workgroup a row.
#import linear
#import search
#import fed

struct Params {
    rows: u32, capacity: u32, classes: u32, beam: u32, apart: u32,      // rows from one hypothesis to the next
    word: u32, word_offset: u32, word_stride: u32, gates: u32, hidden: u32, bos: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;                // [sentences]
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(7) var<storage, read> state0: array<Element>;             // [sentences, H]
@group(0) @binding(8) var<storage, read_write> states: array<Element>;       // [rows, H]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, groups);
    if (row >= params.rows) { return; }
    let sentence = row / params.beam;
    if (lane == 0u) {
        search[score_at(row)] = bitcast<u32>(select(NOTHING, 0.0, row % params.apart == 0u));
        search[finished_at(row)] = select(0u, 1u, lengths[sentence] == 0u);
        search[token_at(row)] = params.bos;
        search[parent_at(row)] = row;
        search[penalty_at(row)] = bitcast<u32>(0.0);
        search[ended_score_at(row)] = bitcast<u32>(NOTHING);
        if (row == 0u) {
            search[COUNTER] = 0u;
            search[ALL_FINISHED] = 0u;
        }
    }
    feed(row, params.bos, lane);
    let hidden = params.hidden / WIDTH;
    for (var i = lane; i < hidden; i += LANES) { states[row * hidden + i] = state0[sentence * hidden + i]; }
}
