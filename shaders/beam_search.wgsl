// The candidates of each row: its `choices` best tokens in order of logit, then token, with the score that each would give.
// A finished row has one, itself with <pad>; the continuations of an absent row are all worth what it is.
// One workgroup a row.
#import linear
#import reduce
#import logits
#import search

struct Params { rows: u32, capacity: u32, classes: u32, beam: u32, choices: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(3) var<storage, read_write> candidates: array<vec2u>;     // [rows, beam]: score's bits, token

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let start = row * params.classes;
    let score = bitcast<f32>(search[score_at(row)]);
    let absent = score < ABSENT;
    let ended = search[finished_at(row)] != 0u;
    // Neither kind of row has any use for its logits.
    let classes = select(params.classes, 0u, absent || ended);
    var largest = FLOOR;
    var sum = vec4f();
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let inside = vec4u(c) + vec4u(0u, 1u, 2u, 3u) < vec4u(classes);
        let x = select(vec4f(FLOOR), bounded(start, c), inside);
        let before = largest;
        largest = max(largest, max(max(x.x, x.y), max(x.z, x.w)));
        sum = fma(sum, vec4f(exp(before - largest)), select(vec4f(), exp(x - largest), inside));
    }
    let maximum = reduce_max(largest, lane);
    let total = reduce_sum(((sum.x + sum.y) + (sum.z + sum.w)) * exp(largest - maximum), lane);
    let logarithm = log(max(total, 1.0));
    // Each round finds the best token behind the last one, so that nothing but that one is kept.
    var last_value = CEILING;
    var last_token = 0u;
    for (var choice = 0u; choice < params.beam; choice++) {
        var value = 2.0 * FLOOR;
        var token = NONE;
        for (var c = 4u * lane; c < classes; c += 4u * LANES) {
            let x = bounded(start, c);
            let at = vec4u(c) + vec4u(0u, 1u, 2u, 3u);
            let behind = (x < vec4f(last_value)) | ((x == vec4f(last_value)) & (at > vec4u(last_token)));
            let open = behind & (at >= vec4u(FIRST_CHOICE)) & (at < vec4u(classes));
            // Tokens ascend, so that only a larger value replaces the one at hand.
            if (open.x && x.x > value) { value = x.x; token = at.x; }
            if (open.y && x.y > value) { value = x.y; token = at.y; }
            if (open.z && x.z > value) { value = x.z; token = at.z; }
            if (open.w && x.w > value) { value = x.w; token = at.w; }
        }
        let best = reduce_max(value, lane);
        let found = reduce_min(select(NONE, token, value == best), lane);
        last_value = best;
        last_token = found;
        var candidate = vec2u(bitcast<u32>(score + ((best - maximum) - logarithm)), found);
        if (absent) { candidate = vec2u(bitcast<u32>(score), FIRST_CHOICE + choice); }
        if (ended) { candidate = vec2u(bitcast<u32>(score), PADDING); }
        if (choice >= select(params.choices, 1u, ended)) { candidate.y = NONE; }
        if (lane == 0u && workgroup < params.rows) { candidates[row * params.beam + choice] = candidate; }
    }
}
