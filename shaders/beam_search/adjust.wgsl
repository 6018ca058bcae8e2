// The log-probabilities that a search chooses from: the logarithm of the mean of the ensemble members' probabilities of each
// token, and FLOOR for tokens that a row may not take: all but the token of its prefix while it has one; after the prefix,
// the end before the text is long enough, the `forbidden` token, and tokens that would repeat an n-gram of the text. Rows that
// are absent or have finished are left alone. An `ngram` of 0 and a `forbidden` of NONE forbid none. One workgroup a row.
#import linear
#import reduce
#import logits
#import normaliser
#import search

struct Params {
    rows: u32, capacity: u32, classes: u32, step: u32,
    beam: u32, members: u32, shortest: u32, ngram: u32, eos: u32, forbidden: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// `logits` are [members, rows, C]
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(3) var<storage, read> prefixes: array<u32>;               // [sentences, capacity], NONE behind each
@group(0) @binding(4) var<storage, read_write> texts: array<u32>;            // [rows, capacity], scratch
@group(0) @binding(5) var<storage, read_write> adjusted: array<f32>;         // [rows, C]

fn adjusted4(i: u32, classes: u32, at: vec4u) -> vec4f {
    let j = vec4u(i) + min(at, vec4u(classes - 1u));
    return vec4f(adjusted[j.x], adjusted[j.y], adjusted[j.z], adjusted[j.w]);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let step = search[COUNTER] + params.step;
    let idle = workgroup >= params.rows || step >= params.capacity
        || search[finished_at(row)] != 0u || bitcast<f32>(search[score_at(row)]) < ABSENT;
    let classes = select(params.classes, 0u, idle);
    let all = params.rows * params.classes;
    let start = row * params.classes;
    let forced = prefixes[row / params.beam * params.capacity + min(step, params.capacity - 1u)];
    // Each invocation reads only the parts of the sum that it has written itself.
    for (var member = 0u; member < params.members; member++) {
        let last = member + 1u == params.members;
        let by = normaliser(member * all + start, classes, lane);
        for (var c = 4u * lane; c < classes; c += 4u * LANES) {
            let at = four_from(c);
            var x = log_probability4(bounded(member * all + start, c), by);
            if (member > 0u) {
                let sum = adjusted4(start, classes, at);
                let larger = max(sum, x);
                x = larger + log(exp(sum - larger) + exp(x - larger));
            }
            if (last) {
                let too_early = (at == vec4u(params.eos)) & vec4<bool>(step < params.shortest);
                let barred = too_early | (at == vec4u(params.forbidden));
                let blocked = select(barred, at != vec4u(forced), forced != NONE);
                x = select(x - log(f32(params.members)), vec4f(FLOOR), blocked);
            }
            if (at.x < classes) { adjusted[start + at.x] = x.x; }
            if (at.y < classes) { adjusted[start + at.y] = x.y; }
            if (at.z < classes) { adjusted[start + at.z] = x.z; }
            if (at.w < classes) { adjusted[start + at.w] = x.w; }
        }
    }
    let length = select(step, 0u, idle || params.ngram == 0u || forced != NONE);
    let text = row * params.capacity;
    if (lane == 0u) {
        var at = row;
        for (var t = length; t > 0u; t--) {
            texts[text + t - 1u] = search[history_token_at(t - 1u, at)];
            at = min(search[history_parent_at(t - 1u, at)], params.rows - 1u);
        }
    }
    storageBarrier();
    workgroupBarrier();
    // The n - 1 tokens before the one to come, wherever the text has them already.
    for (var i = lane; i + params.ngram <= length; i += LANES) {
        var same = params.ngram > 0u;
        for (var j = 0u; same && j + 1u < params.ngram; j++) {
            same = texts[text + i + j] == texts[text + length + 1u - params.ngram + j];
        }
        let token = min(texts[text + i + params.ngram - 1u], params.classes - 1u);
        if (same) { adjusted[start + token] = FLOOR; }
    }
}
