// One step of samples: each row takes a token drawn from softmax(logits / temperature), cut to the `top_k` likeliest
// (0: all) and then to the fewest that hold `top_p` of the rest (Holtzman et al. 2020, section 3.1); tokens as likely as
// the last that is kept are kept too. The largest of logit / temperature plus Gumbel noise is such a draw, and the noise is a
// hash of stream, step, sample and token. Scores are those of the model, whatever the temperature. A finished row
// takes <pad> and keeps its score. Past the capacity nothing is changed. One workgroup a row.
#import linear
#import reduce
#import logits
#import normaliser
#import random
#import search
#import specials
#import fed

struct Params {
    rows: u32, capacity: u32, classes: u32, step: u32,
    word: u32, word_offset: u32, word_stride: u32, gates: u32,
    pad: u32, bos: u32, eos: u32, logits_offset: u32, logits_stride: u32,
    samples: u32, top_k: u32, top_p: f32, coldness: f32,                    // 1 / temperature
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(7) var<storage, read> streams: array<u32>;                // [sentences]

// A logit's bits in the order of their values.
fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

// For four thresholds at once: the number of tokens whose keys reach them, or their mass relative to that of logit `most`.
fn reaching(start: u32, classes: u32, lane: u32, thresholds: vec4u, most: f32, mass: bool) -> vec4f {
    var sum = vec4f();
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let x = bounded(start, c);
        let at = four_from(c);
        let counts = choosable(at) & (at < vec4u(classes)) & (x > vec4f(FLOOR));
        let shares = select(vec4f(1.0), exp((x - most) * params.coldness), mass);
        let weights = select(vec4f(), shares, counts);
        sum += select(vec4f(), vec4f(weights.x), vec4u(key(x.x)) >= thresholds);
        sum += select(vec4f(), vec4f(weights.y), vec4u(key(x.y)) >= thresholds);
        sum += select(vec4f(), vec4f(weights.z), vec4u(key(x.z)) >= thresholds);
        sum += select(vec4f(), vec4f(weights.w), vec4u(key(x.w)) >= thresholds);
    }
    return vec4f(reduce_sum(sum.x, lane), reduce_sum(sum.y, lane), reduce_sum(sum.z, lane), reduce_sum(sum.w, lane));
}

// The largest key from `least` on that enough tokens reach. Five parts a round: 16 rounds tell 2^32 keys apart.
fn cut(start: u32, classes: u32, lane: u32, least: u32, most: f32, mass: bool, enough: f32) -> u32 {
    var low = least;
    var high = key(most) + 1u;
    for (var i = 0u; i < 16u; i++) {
        let part = max((high - low) / 5u, 1u);
        let thresholds = min(vec4u(low) + part * vec4u(1u, 2u, 3u, 4u), vec4u(max(high, 1u) - 1u));
        let found = reaching(start, classes, lane, thresholds, most, mass) >= vec4f(enough);
        if (found.w) { low = max(low, thresholds.w); }
        else if (found.z) { low = max(low, thresholds.z); high = thresholds.w; }
        else if (found.y) { low = max(low, thresholds.y); high = thresholds.z; }
        else if (found.x) { low = max(low, thresholds.x); high = thresholds.y; }
        else { high = thresholds.x; }
    }
    return low;
}

// Standard Gumbel noise of four tokens: -log(-log(u)), the inner logarithm as that of 1 - v, for small v by its series: WGSL's
// is too coarse there.
fn gumbel4(stream: u32, step: u32, sample: u32, tokens: vec4u) -> vec4f {
    let bits = vec4u(
        random_bits(stream, step, sample, tokens.x), random_bits(stream, step, sample, tokens.y),
        random_bits(stream, step, sample, tokens.z), random_bits(stream, step, sample, tokens.w),
    );
    let v = (vec4f(bits >> vec4u(9u)) + 0.5) / 8388608.0;
    var series = fma(v, vec4f(1.0 / 6.0), vec4f(0.2));
    series = fma(v, series, vec4f(0.25));
    series = fma(v, series, vec4f(1.0 / 3.0));
    series = fma(v, series, vec4f(0.5));
    series = v * fma(v, series, vec4f(1.0));
    return -log(select(-log(1.0 - v), series, v < vec4f(0.1)));
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let start = params.logits_offset + row * params.logits_stride;
    let step = search[COUNTER] + params.step;
    let ended = search[finished_at(row)] != 0u;
    let classes = select(params.classes, 0u, ended || step >= params.capacity);
    let by = normaliser(start, classes, lane);
    var largest = FLOOR;
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let at = four_from(c);
        let x = select(vec4f(FLOOR), bounded(start, c), choosable(at) & (at < vec4u(classes)));
        largest = max(largest, largest_of(x));
    }
    let most = reduce_max(largest, lane);
    var threshold = 0u;
    if (params.top_k > 0u) { threshold = cut(start, classes, lane, 0u, most, false, f32(params.top_k)); }
    if (params.top_p < 1.0) {
        let all = reaching(start, classes, lane, vec4u(threshold), most, true).x;
        threshold = cut(start, classes, lane, threshold, most, true, params.top_p * all);
    }
    let stream = streams[row / params.samples];
    var value = 2.0 * FLOOR;
    var logit = 2.0 * FLOOR;
    var token = NONE;
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let at = four_from(c);
        let x = bounded(start, c);
        let open = choosable(at) & (at < vec4u(classes)) & (x > vec4f(FLOOR));
        let drawn = fma(x - most, vec4f(params.coldness), gumbel4(stream, step, row % params.samples, at));
        if (open.x && drawn.x > value && key(x.x) >= threshold) { value = drawn.x; logit = x.x; token = at.x; }
        if (open.y && drawn.y > value && key(x.y) >= threshold) { value = drawn.y; logit = x.y; token = at.y; }
        if (open.z && drawn.z > value && key(x.z) >= threshold) { value = drawn.z; logit = x.z; token = at.z; }
        if (open.w && drawn.w > value && key(x.w) >= threshold) { value = drawn.w; logit = x.w; token = at.w; }
    }
    let best = reduce_max(value, lane);
    let found = reduce_min(select(NONE, token, value == best), lane);
    let likely = reduce_max(select(2.0 * FLOOR, logit, token == found), lane);
    if (workgroup >= params.rows || step >= params.capacity) { return; }
    // If all tokens are blocked, the text ends with the lowest score.
    let nowhere = found == NONE;
    let chosen = select(select(found, params.eos, nowhere), params.pad, ended);
    if (lane == 0u) {
        let score = bitcast<f32>(search[score_at(row)]);
        let extended = score + select(log_probability(likely, by), FLOOR, nowhere);
        keep(step, row, select(extended, score, ended), chosen, row, ended || chosen == params.eos);
    }
    feed(row, chosen, lane);
}
