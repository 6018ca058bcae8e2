// The best `beam` candidates of each sentence become its hypotheses. A candidate's place is the number of better ones, those
// of the same score that stand before it included. Each goes on from the state of its parent, fed with its token. One
// workgroup a sentence. Past the capacity nothing is changed.
#import search
#import fed

struct Params {
    rows: u32, capacity: u32, beam: u32, step: u32,
    word: u32, word_offset: u32, word_stride: u32, gates: u32,
    hidden: u32, from_offset: u32, to_offset: u32,      // of the states to choose from, and of those to go on from
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> candidates: array<vec2u>;           // [sentences, beam, beam]: score's bits, token
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(7) var<storage, read_write> states: array<Element>;       // [.., rows, H]

var<workgroup> chosen: array<vec2u, 16>;                // token, parent

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let step = search[COUNTER] + params.step;
    let open = step < params.capacity;
    let count = params.beam * params.beam;
    let start = group.x * count;
    let first = group.x * params.beam;
    for (var i = lane; i < count; i += LANES) {
        let candidate = candidates[start + i];
        let score = bitcast<f32>(candidate.x);
        var place = 0u;
        for (var j = 0u; j < count; j++) {
            let other = candidates[start + j];
            let better = bitcast<f32>(other.x) > score || (bitcast<f32>(other.x) == score && j < i);
            place += select(0u, 1u, other.y != NONE && better);
        }
        if (candidate.y == NONE || place >= params.beam) { continue; }
        let parent = first + i / params.beam;
        chosen[place] = vec2u(candidate.y, parent);
        if (open) { keep(step, first + place, score, candidate.y, parent); }
    }
    workgroupBarrier();
    if (!open) { return; }
    for (var place = 0u; place < params.beam; place++) {
        let row = first + place;
        let token = chosen[place].x;
        let start_of_parent = (params.from_offset + chosen[place].y * params.hidden) / WIDTH;
        let to = (params.to_offset + row * params.hidden) / WIDTH;
        feed(row, token, lane);
        for (var i = lane; i < params.hidden / WIDTH; i += LANES) { states[to + i] = states[start_of_parent + i]; }
    }
}
