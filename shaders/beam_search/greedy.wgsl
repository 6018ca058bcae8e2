// One step of a beam of one: each row takes its likeliest token, of equal ones the smallest, whose inputs it gathers for the
// next step. A finished row takes <pad> and keeps its score. Past the capacity nothing is changed. NORMALISED: logits are
// log-probabilities. One workgroup a row.
#import linear
#import reduce
#import logits
#import search
#import specials
#import fed

struct Params {
    rows: u32, capacity: u32, classes: u32, step: u32,
    word: u32, word_offset: u32, word_stride: u32, gates: u32,
    pad: u32, bos: u32, eos: u32, logits_offset: u32, logits_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> search: array<u32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let start = params.logits_offset + row * params.logits_stride;
    let ended = search[finished_at(row)] != 0u;
    let classes = select(params.classes, 0u, ended);
    var largest = FLOOR;
    var sum = vec4f();
    var value = 2.0 * FLOOR;
    var token = NONE;
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let at = four_from(c);
        let inside = at < vec4u(classes);
        let x = select(vec4f(FLOOR), bounded(start, c), inside);
#ifdef NORMALISED
#else
        let before = largest;
        largest = max(largest, largest_of(x));
        sum = fma(sum, vec4f(exp(before - largest)), select(vec4f(), exp(x - largest), inside));
#endif
        let open = inside & choosable(at);
        // Tokens ascend, so only a larger value replaces the best so far.
        if (open.x && x.x > value) { value = x.x; token = at.x; }
        if (open.y && x.y > value) { value = x.y; token = at.y; }
        if (open.z && x.z > value) { value = x.z; token = at.z; }
        if (open.w && x.w > value) { value = x.w; token = at.w; }
    }
    let best = reduce_max(value, lane);
    let found = reduce_min(select(NONE, token, value == best), lane);
#ifdef NORMALISED
    let gained = best;
#else
    let maximum = reduce_max(largest, lane);
    let total = reduce_sum(sum_of(sum) * exp(largest - maximum), lane);
    let gained = (best - maximum) - log(max(total, 1.0));
#endif
    let step = search[COUNTER] + params.step;
    if (workgroup >= params.rows || step >= params.capacity) { return; }
    let chosen = select(found, params.pad, ended);
    if (lane == 0u) {
        let score = bitcast<f32>(search[score_at(row)]);
        keep(step, row, select(score + gained, score, ended), chosen, row, ended || chosen == params.eos);
    }
    feed(row, chosen, lane);
}
