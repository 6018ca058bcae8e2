// Buckets of vectors by their angles: in each round, which of a few random directions or their opposites a vector points to most
// (Andoni et al. 2015; Kitaev, Kaiser and Levskaya 2020, section 2). Several parts of the directions give a bucket together, the first one
// its smallest digit. Positions past their text's end have a bucket of their own, behind all others.
#import element
#import linear

struct Params {
    batch: u32, heads: u32, steps: u32, size: u32,
    rounds: u32,
    directions: u32,        // of all parts, C
    parts: u32,
    unused: u32,
    factors: vec4u,         // the buckets of each part: twice its directions
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<element>;              // [B, T, N, D]
@group(0) @binding(2) var<storage, read> rotations: array<f32>;          // [N, D, rounds, C]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(4) var<storage, read_write> buckets: array<u32>;      // [B, N, rounds, T]

struct Best { value: f32, at: u32 }

// The first of the largest.
fn better(best: Best, value: f32, at: u32) -> Best {
    if (value > best.value) { return Best(value, at); }
    return best;
}

// The projections of the row that starts at `row` on four directions.
fn project(row: u32, directions: vec4u) -> vec4f {
    var sums = vec4f();
    for (var d = 0u; d < params.size; d++) {
        let at = vec4u(d * params.rounds * params.directions) + directions;
        let along = vec4f(rotations[at.x], rotations[at.y], rotations[at.z], rotations[at.w]);
        sums = fma(vec4f(f32(x[row + d])), along, sums);
    }
    return sums;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups) * LANES + lane;
    if (owned >= params.batch * params.heads * params.rounds * params.steps) { return; }
    let t = owned % params.steps;
    let hash = owned / params.steps % params.rounds;
    let head = owned / params.steps / params.rounds;
    let n = head % params.heads;
    let b = head / params.heads;
    let row = ((b * params.steps + t) * params.heads + n) * params.size;
    var first = (n * params.size * params.rounds + hash) * params.directions;
    var bucket = 0u;
    var digit = 1u;
    for (var part = 0u; part < params.parts; part++) {
        let factor = params.factors[part];
        let half = factor / 2u;
        // Anything is larger, but for what is not a number.
        var towards = Best(-3.4e38, 0u);
        var away = Best(-3.4e38, half);
        for (var c = 0u; c < half; c += 4u) {
            // Past the end the last one counts again, which changes nothing.
            let numbers = min(vec4u(c) + vec4u(0u, 1u, 2u, 3u), vec4u(half - 1u));
            let along = project(row, vec4u(first) + numbers);
            towards = better(towards, along.x, numbers.x);
            towards = better(towards, along.y, numbers.y);
            towards = better(towards, along.z, numbers.z);
            towards = better(towards, along.w, numbers.w);
            away = better(away, -along.x, half + numbers.x);
            away = better(away, -along.y, half + numbers.y);
            away = better(away, -along.z, half + numbers.z);
            away = better(away, -along.w, half + numbers.w);
        }
        bucket += digit * better(towards, away.value, away.at).at;
        digit *= factor;
        first += half;
    }
    buckets[owned] = select(digit, bucket, t < lengths[b]);
}
