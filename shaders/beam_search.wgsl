// The candidates of each row: its `choices` best tokens in order of logit, then token, with the score that each would give.
// A row that has finished or is absent has none, and blocked tokens are none. One workgroup a row.
#import linear
#import reduce
#import logits
#import normaliser
#import search
#import specials

struct Params { rows: u32, capacity: u32, classes: u32, choices: u32, pad: u32, bos: u32, logits_offset: u32, logits_stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(3) var<storage, read_write> candidates: array<vec2u>;     // [rows, choices]: score's bits, token

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let start = params.logits_offset + row * params.logits_stride;
    let score = bitcast<f32>(search[score_at(row)]);
    let idle = score < ABSENT || search[finished_at(row)] != 0u;
    let classes = select(params.classes, 0u, idle);
    let by = normaliser(start, classes, lane);
    // Each round finds the best token after the last one found, so that only that one need be kept.
    var last_value = CEILING;
    var last_token = 0u;
    for (var choice = 0u; choice < params.choices; choice++) {
        var value = 2.0 * FLOOR;
        var token = NONE;
        for (var c = 4u * lane; c < classes; c += 4u * LANES) {
            let x = bounded(start, c);
            let at = four_from(c);
            let behind = (x < vec4f(last_value)) | ((x == vec4f(last_value)) & (at > vec4u(last_token)));
            let open = behind & choosable(at) & (at < vec4u(classes));
            // Tokens ascend, so only a larger value replaces the best so far.
            if (open.x && x.x > value) { value = x.x; token = at.x; }
            if (open.y && x.y > value) { value = x.y; token = at.y; }
            if (open.z && x.z > value) { value = x.z; token = at.z; }
            if (open.w && x.w > value) { value = x.w; token = at.w; }
        }
        let best = reduce_max(value, lane);
        let found = reduce_min(select(NONE, token, value == best), lane);
        last_value = best;
        last_token = found;
        let extended = score + log_probability(best, by);
        let candidate = vec2u(bitcast<u32>(extended), select(found, NONE, idle || extended < ABSENT));
        if (lane == 0u && workgroup < params.rows) { candidates[row * params.choices + choice] = candidate; }
    }
}
