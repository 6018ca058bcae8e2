// The best `beam` candidates of each sentence become its hypotheses. A candidate's place is the number of better ones, those
// of the same score that stand before it included. One workgroup a sentence. Past the capacity nothing is changed.

struct Params { sentences: u32, beam: u32, capacity: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> candidates: array<vec2u>;               // [sentences, beam, beam]: score's bits, token
@group(0) @binding(2) var<storage, read> counter: array<u32>;                    // [1]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;               // [sentences, beam]
@group(0) @binding(4) var<storage, read_write> finished: array<u32>;             // [sentences, beam]
@group(0) @binding(5) var<storage, read_write> tokens: array<u32>;               // [sentences, beam]
@group(0) @binding(6) var<storage, read_write> parents: array<u32>;              // [sentences, beam]
@group(0) @binding(7) var<storage, read_write> history_tokens: array<u32>;       // [capacity, sentences, beam]
@group(0) @binding(8) var<storage, read_write> history_parents: array<u32>;      // [capacity, sentences, beam]

const PADDING = 0u;
const END = 2u;
const NONE = 0xffffffffu;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let step = counter[0];
    if (step >= params.capacity) { return; }
    let count = params.beam * params.beam;
    let start = group.x * count;
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
        let row = group.x * params.beam + place;
        let parent = group.x * params.beam + i / params.beam;
        scores[row] = score;
        finished[row] = select(0u, 1u, candidate.y == PADDING || candidate.y == END);
        tokens[row] = candidate.y;
        parents[row] = parent;
        let at = step * params.sentences * params.beam + row;
        history_tokens[at] = candidate.y;
        history_parents[at] = parent;
    }
}
