// The best candidates of each sentence become its hypotheses: the best `beam` of those that do not end. Of those that end, the
// ones among the best `beam` of all compete for a place among the best `beam` texts of the sentence, by their scores under the
// length penalty (Wu et al. 2016, section 7) and the coverage penalty of their row; the last step ends all. A sentence is done
// when no hypothesis can become better than the `asked` best of its texts. A place is the number of better ones, those of the
// same score that stand before it included. Each hypothesis gets its parent's state and the inputs of its token. One workgroup
// a sentence. Past the capacity, and for a sentence that is done, nothing is changed. BROAD: a beam of more than 16, for which
// the best are taken one by one from the heads of the rows, which are sorted.
#import search
#import fed
#ifdef BROAD
#import reduce
const PLACES = 64u;
#else
const PLACES = 16u;
#endif

struct Params {
    rows: u32, capacity: u32, classes: u32, beam: u32, step: u32,
    word: u32, word_offset: u32, word_stride: u32, gates: u32,
    hidden: u32, from_offset: u32, to_offset: u32,      // of the states to choose from, and of the chosen ones
    pad: u32, eos: u32,
    asked: u32, length_penalty: f32, longest: f32,      // `longest`: the factor on a score at the capacity
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> candidates: array<vec2u>;           // [sentences, beam, beam + 1]: score's bits, token
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(7) var<storage, read_write> states: array<Element>;       // [.., rows, H]

var<workgroup> chosen: array<vec3u, PLACES>;            // token, parent, score's bits
var<workgroup> texts: array<vec4u, 2u * PLACES>;        // that have ended, and that end now: score's bits, step, parent, token
var<workgroup> done: u32;

// Gives a candidate, behind so many better ones that go on and that end, its place among the hypotheses and among the texts.
fn place(candidate: vec2u, parent: u32, going_on: u32, ending: u32, step: u32, weight: f32) {
    let ends = candidate.y == params.eos;
    let last = step + 1u >= params.capacity;
    if (!ends && going_on < params.beam) { chosen[going_on] = vec3u(candidate.y, parent, candidate.x); }
    if ((ends || last) && going_on + ending < params.beam) {
        let worth = bitcast<f32>(candidate.x) * weight + bitcast<f32>(search[penalty_at(parent)]);
        let place = params.beam + select(ending, going_on + ending, last);
        texts[place] = vec4u(bitcast<u32>(worth), step, parent, candidate.y);
    }
}

#ifdef BROAD
var<workgroup> heads: array<u32, PLACES>;               // of each row's candidates the first that has no place yet

fn place_all(first: u32, start: u32, lane: u32, step: u32, weight: f32) {
    let beam = params.beam;
    for (var i = lane; i < beam; i += LANES) { heads[i] = 0u; }
    var going_on = 0u;
    var ending = 0u;
    // A row has one candidate that ends.
    for (var round = 0u; round < 2u * beam; round++) {
        workgroupBarrier();
        var score = 2.0 * NOTHING;
        var at = NONE;
        for (var row = lane; row < beam; row += LANES) {
            let i = row * (beam + 1u) + min(heads[row], beam);
            let candidate = candidates[start + i];
            let open = heads[row] <= beam && candidate.y != NONE;
            if (open && bitcast<f32>(candidate.x) > score) { score = bitcast<f32>(candidate.x); at = i; }
        }
        let best = reduce_max(score, lane);
        let found = reduce_min(select(NONE, at, score == best), lane);
        if (found != NONE && going_on < beam) {
            let row = found / (beam + 1u);
            let candidate = candidates[start + found];
            if (lane == 0u) {
                heads[row]++;
                place(candidate, first + row, going_on, ending, step, weight);
            }
            going_on += select(1u, 0u, candidate.y == params.eos);
            ending += select(0u, 1u, candidate.y == params.eos);
        }
    }
}
#else
fn place_all(first: u32, start: u32, lane: u32, step: u32, weight: f32) {
    let count = params.beam * (params.beam + 1u);
    for (var i = lane; i < count; i += LANES) {
        let candidate = candidates[start + i];
        if (candidate.y == NONE) { continue; }
        let score = bitcast<f32>(candidate.x);
        var going_on = 0u;
        var ending = 0u;
        for (var j = 0u; j < count; j++) {
            let other = candidates[start + j];
            let better = bitcast<f32>(other.x) > score || (bitcast<f32>(other.x) == score && j < i);
            let counts = other.y != NONE && better;
            going_on += select(0u, 1u, counts && other.y != params.eos);
            ending += select(0u, 1u, counts && other.y == params.eos);
        }
        place(candidate, first + i / (params.beam + 1u), going_on, ending, step, weight);
    }
}
#endif

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let beam = params.beam;
    let first = group.x * beam;
    let step = search[COUNTER] + params.step;
    let open = step < params.capacity && search[finished_at(first)] == 0u;
    let last = step + 1u >= params.capacity;
    for (var i = lane; i < beam; i += LANES) {
        chosen[i] = vec3u(params.pad, first + i, bitcast<u32>(NOTHING));
        let ended = first + i;
        texts[i] = vec4u(
            search[ended_score_at(ended)], search[ended_step_at(ended)],
            search[ended_parent_at(ended)], search[ended_token_at(ended)],
        );
        texts[beam + i] = vec4u(bitcast<u32>(NOTHING), 0u, first, params.pad);
    }
    workgroupBarrier();
    let weight = exp(-params.length_penalty * log((5.0 + f32(step + 1u)) / 6.0));
    place_all(first, group.x * beam * (beam + 1u), lane, step, weight);
    workgroupBarrier();
    for (var i = lane; i < 2u * beam; i += LANES) {
        let text = texts[i];
        let score = bitcast<f32>(text.x);
        var place = 0u;
        for (var j = 0u; j < 2u * beam; j++) {
            let other = bitcast<f32>(texts[j].x);
            place += select(0u, 1u, other > score || (other == score && j < i));
        }
        if (place < beam && open) {
            search[ended_score_at(first + place)] = text.x;
            search[ended_step_at(first + place)] = text.y;
            search[ended_parent_at(first + place)] = text.z;
            search[ended_token_at(first + place)] = text.w;
        }
        if (place + 1u == params.asked) {
            // Scores only fall, and no text scores more than at the greatest length.
            let best = bitcast<f32>(chosen[0].z);
            let settled = score > ABSENT && score >= best * params.longest;
            done = select(0u, 1u, last || best < ABSENT || settled);
        }
    }
    workgroupBarrier();
    if (!open) { return; }
    for (var place = lane; place < beam; place += LANES) {
        let hypothesis = chosen[place];
        keep(step, first + place, bitcast<f32>(hypothesis.z), hypothesis.x, hypothesis.y, done != 0u);
    }
    for (var place = 0u; place < beam; place++) {
        let row = first + place;
        let token = chosen[place].x;
        let start_of_parent = (params.from_offset + chosen[place].y * params.hidden) / WIDTH;
        let to = (params.to_offset + row * params.hidden) / WIDTH;
        feed(row, token, lane);
        for (var i = lane; i < params.hidden / WIDTH; i += LANES) { states[to + i] = states[start_of_parent + i]; }
    }
}
