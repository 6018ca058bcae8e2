// One step of the attentional decoder, backward, behind the gradients of its gates: through the context to the weights of the
// attention, through their softmax to its scores, and from these to the query.
//
//     d[s] = d_weights[s] + d_gi · contribution[s]      d_score[s] = weights[s] (d[s] - sum over s of weights[s] d[s])
//     d_query = energy * sum over s of d_score[s] (1 - tanh²(query + key[s]))
//
// 1 - tanh² = 4 p / (1 + p)² with p = exp(2(query + key)), which does not cancel. A key whose weight is 0 takes no part: beyond a
// length there may be anything.
// A workgroup of LANES invocations takes one row of the batch; lanes share out the columns of KEYS contributions at a time, then
// those of the query.
// SUBGROUPS, VECTOR, WIDE, TEXTURE_key, TEXTURE_contributions: as in attentional_decoder.wgsl.
#import pieces
#import lanes
#import keys_sum
#import factored_tanh

struct Params {
    keys: u32, size: u32, hidden: u32,      // S, A, H
    weights_offset: u32, weights_stride: u32,
    gi_offset: u32, gi_stride: u32,
    query_offset: u32, query_stride: u32,
    d_query_offset: u32, d_query_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXTURE_contributions
@group(0) @binding(1) var contributions: texture_2d<f32>;            // [B, S, 3H]
#else
@group(0) @binding(1) var<storage, read> contributions: array<Word>; // [B, S, 3H]
#endif
#ifdef TEXTURE_key
@group(0) @binding(2) var key: texture_2d<f32>;                      // [B, S, A]
#else
@group(0) @binding(2) var<storage, read> key: array<Word>;           // [B, S, A]
#endif
@group(0) @binding(3) var<storage, read> energy: array<SingleWord>;  // [A]
@group(0) @binding(4) var<storage, read> weights: array<f32>;        // [B, S], rows weights_stride apart
@group(0) @binding(5) var<storage, read> d_gi: array<Word>;          // [B, 3H], rows gi_stride apart
@group(0) @binding(6) var<storage, read> query: array<Word>;         // [B, A], rows query_stride apart
@group(0) @binding(7) var<storage, read_write> d_score: array<f32>;  // [B, S] as the weights lie; before: d_weights
@group(0) @binding(8) var<storage, read_write> d_query: array<Word>; // [B, A], rows d_query_stride apart

#import load_piece(contributions)
#import load_piece(key)
#import load_piece(energy)
#import load_piece(d_gi)
#import load_piece(query)
#import store_piece(d_query)

// The gradients of the weights, of which lane j < KEYS keeps every KEYS-th from the j-th on in d_score; returns its part of their
// weighted mean.
fn weigh(batch: u32, lane: u32) -> f32 {
    let at = params.weights_offset + batch * params.weights_stride;
    let columns = 3u * params.hidden;
    let gi_start = (params.gi_offset + batch * params.gi_stride) / UNIT;
    let pieces = (columns + PIECE - 1u) / PIECE;
    var mean = 0.0;
    for (var first = 0u; first < params.keys; first += KEYS) {
        var start: array<u32, KEYS>;
        for (var j = 0u; j < KEYS; j++) {
            start[j] = (batch * params.keys + min(first + j, params.keys - 1u)) * columns / UNIT;
        }
        var parts: array<f32, KEYS>;
        for (var i = lane; i < pieces; i += LANES) {
            let xs = load_piece_d_gi_nth(gi_start, i, columns);
            for (var j = 0u; j < KEYS; j++) {
                let ys = load_piece_contributions_nth(start[j], i, columns);
                for (var p = 0u; p < PARTS; p++) {
                    let x = xs[p];
                    let y = ys[p];
                    parts[j] = fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, parts[j]))));
                }
            }
        }
        let sum = keys_sum(parts, lane);
        let s = first + lane;
        if (lane < KEYS && s < params.keys) {
            let weight = weights[at + s];
            var d = 0.0;
            if (weight != 0.0) { d = d_score[at + s] + sum; }
            d_score[at + s] = d;
            mean = fma(weight, d, mean);
        }
    }
    return mean;
}

// The gradients of the scores. They sum to 0; in f32 they are off by what the mean is rounded by, which is much where all d are
// nearly the same: a second mean, of what is left, takes it away.
fn centre(batch: u32, lane: u32, mean: f32) {
    let at = params.weights_offset + batch * params.weights_stride;
    let first = lanes_sum(mean, lane);
    var left = 0.0;
    if (lane < KEYS) {
        for (var s = lane; s < params.keys; s += KEYS) { left = fma(weights[at + s], d_score[at + s] - first, left); }
    }
    let second = lanes_sum(left, lane);
    if (lane < KEYS) {
        for (var s = lane; s < params.keys; s += KEYS) {
            d_score[at + s] = weights[at + s] * (d_score[at + s] - first - second);
        }
    }
    storageBarrier();
}

// sum over s of d_score[s] p / (1 + p)², for a piece of the query's columns.
fn through_tanh(batch: u32, lane: u32, column: u32) -> Piece {
    let at = params.weights_offset + batch * params.weights_stride;
    let query_start = params.query_offset + batch * params.query_stride;
    let q = load_piece_query(query_start + column, query_start + params.size);
    var sum: Piece;
    for (var first = 0u; first < params.keys; first += KEYS) {
#ifdef SUBGROUPS
        let share = d_score[at + min(first + lane % KEYS, params.keys - 1u)];
#endif
        for (var j = 0u; j < KEYS; j++) {
            let s = min(first + j, params.keys - 1u);
#ifdef SUBGROUPS
            let d = select(0.0, subgroupShuffle(share, j), first + j < params.keys);
#else
            let d = select(0.0, d_score[at + s], first + j < params.keys);
#endif
            let start = (batch * params.keys + s) * params.size;
            let k = load_piece_key(start + column, start + params.size);
            for (var p = 0u; p < PARTS; p++) {
                let power = product(prepared(q[p], true), prepared(k[p], true), true);
                let reciprocal = reciprocal_of(power);
                sum[p] += select(vec4f(), d * reciprocal * (power * reciprocal), vec4<bool>(d != 0.0));
            }
        }
    }
    return sum;
}

@compute @workgroup_size(LANES)
#ifdef SUBGROUPS
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
#else
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
#endif
    let batch = group.x;
    centre(batch, lane, weigh(batch, lane));
    // Every lane goes as often through the loop: it passes gradients round.
    for (var first = 0u; first < params.size; first += STRIDE) {
        let column = first + lane * PIECE;
        var sum = through_tanh(batch, lane, min(column, params.size - UNIT));
        if (column < params.size) {
            let energy_of = load_piece_energy(column, params.size);
            for (var p = 0u; p < PARTS; p++) { sum[p] *= 4.0 * energy_of[p]; }
            let start = params.d_query_offset + batch * params.d_query_stride;
            store_piece_d_query(start + column, start + params.size, sum);
        }
    }
}
