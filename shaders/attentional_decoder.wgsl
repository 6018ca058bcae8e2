// One step of the attentional decoder behind the products of its state (Bahdanau et al. 2015, appendix A.2.2): attention with the
// state before as the query, and the gates of the GRU that reads the context.
//
//     weights[s] = softmax over s < length of energy · tanh(query + key[s])
//     gi += sum over s of weights[s] contribution[s], where contribution[s] = W_ic annotation[s]
//     r = sigmoid(gi_r + W_hr h + b_hr)      z = sigmoid(gi_z + W_hz h + b_hz)
//     n = tanh(gi_n + r * (W_hn h + b_hn))   h' = (1 - z) * n + z * h
//
// A contribution is what an annotation would add to the gates if it were the whole context. All of them are one product before
// the loop, which spares each step the product of its context.
// A workgroup of LANES invocations takes one row; the rows of a beam share a sentence's keys and contributions. Lanes share out the
// elements of KEYS keys at a time, then the columns of the gates. Until a STEP leaves its gates, each lane reads no others than those
// that it writes.
// SUBGROUPS: the workgroup is one subgroup. VECTOR: all sizes, offsets and strides are multiples of 4, under WIDE of 8: loads bring
// as many, in 64-bit words. TEXTURE_key, TEXTURE_contributions: those have been copied into a texture, from which some llvmpipe loads
// in less time.
// STEP: a step by itself, in generation. No backward reads the gates; they are left as the next products are added to them: 0, and
// for the layer above, which reads [state; context; word], what context and word contribute to it.
// DROPOUT: the next products read the state's product with a mask that is the same at all steps; it and the mask lie among the
// states.
#import pieces
#import lanes
#import keys_sum
#import factored_tanh
#import gru_gates

struct Params {
    keys: u32, size: u32, hidden: u32,      // S, A, H
    beam: u32, top: u32,                    // rows of a sentence; columns for the layer above, T rounded up to 8, in a STEP
    gi_offset: u32, gi_stride: u32,
    gates_offset: u32,
    from_offset: u32, to_offset: u32,       // of the states before and after
    weights_offset: u32, weights_stride: u32,
    mask_offset: u32, dropped_offset: u32,  // of the mask, and of its product with the state after
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gi: array<Word>;            // [R, 3H + T], W_i word + b_i
#ifdef TEXTURE_key
@group(0) @binding(2) var key: texture_2d<f32>;                      // [B, S, A]
#else
@group(0) @binding(2) var<storage, read> key: array<Word>;           // [B, S, A]
#endif
#ifdef TEXTURE_contributions
@group(0) @binding(3) var contributions: texture_2d<f32>;            // [B, S, 3H + T]
#else
@group(0) @binding(3) var<storage, read> contributions: array<Word>; // [B, S, 3H + T]
#endif
@group(0) @binding(4) var<storage, read> vectors: array<SingleWord>; // [3H + A], b_h, energy
@group(0) @binding(5) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(6) var<storage, read_write> gates: array<Word>;   // [R, 4H + A + T]: -, W_h h, query; then r, z, n, W_hn h + b_hn, query
@group(0) @binding(7) var<storage, read_write> states: array<Word>;  // [.., R, H]
@group(0) @binding(8) var<storage, read_write> weights: array<f32>;  // [R, S], rows weights_stride apart

#import load_piece(gi)
#import load_piece(key)
#import load_piece(contributions)
#import load_piece(vectors)
#import load_piece(gates)
#import store_piece(gates)
#import load_piece(states)
#import store_piece(states)

const FLOOR = -3.0e38;

// The first gate of a row.
fn gates_of_row(row: u32) -> u32 {
    return params.gates_offset + row * (4u * params.hidden + params.size + params.top);
}

// Leaves the scores of the row's keys, from the first one of its sentence on, in `weights`, but for a constant that softmax does not
// see.
fn score(row: u32, first_key: u32, length: u32, lane: u32) {
    let at = params.weights_offset + row * params.weights_stride;
    let query_start = (gates_of_row(row) + 4u * params.hidden) / UNIT;
    let pieces = (params.size + PIECE - 1u) / PIECE;
    for (var first = 0u; first < length; first += KEYS) {
        var key_start: array<u32, KEYS>;
        for (var j = 0u; j < KEYS; j++) {
            key_start[j] = (first_key + min(first + j, length - 1u)) * params.size / UNIT;
        }
        var parts: array<f32, KEYS>;
        for (var i = lane; i < pieces; i += LANES) {
            let v = load_piece_vectors_nth(3u * params.hidden / UNIT, i, params.size);
            let q = load_piece_gates_nth(query_start, i, params.size);
            for (var j = 0u; j < KEYS; j++) {
                let k = load_piece_key_nth(key_start[j], i, params.size);
                for (var p = 0u; p < PARTS; p++) {
                    parts[j] += sum_of_quotients(v[p], product(prepared(q[p], true), prepared(k[p], true), true));
                }
            }
        }
        let sum = keys_sum(parts, lane);
        if (lane < KEYS && first + lane < length) { weights[at + first + lane] = -2.0 * sum; }
    }
    storageBarrier();
}

// Makes weights of the scores; keys past the length weigh 0.
fn normalise(row: u32, length: u32, lane: u32) {
    let at = params.weights_offset + row * params.weights_stride;
    var most = FLOOR;
    for (var s = lane; s < length; s += LANES) { most = max(most, weights[at + s]); }
    most = lanes_max(most, lane);
    var total = 0.0;
    for (var s = lane; s < length; s += LANES) { total += exp(weights[at + s] - most); }
    total = lanes_sum(total, lane);
    for (var s = lane; s < params.keys; s += LANES) {
        var weight = 0.0;
        if (s < length) { weight = exp(weights[at + s] - most) / total; }
        weights[at + s] = weight;
    }
    storageBarrier();
}

// Adds the context's part to what the word contributes to the gates, for a piece of their columns.
fn input_of(row: u32, first_key: u32, length: u32, lane: u32, column: u32) -> array<Piece, 3> {
    let h = params.hidden;
    var sum: array<Piece, 3>;
    let from_word = params.gi_offset + row * params.gi_stride;
    for (var g = 0u; g < 3u; g++) { sum[g] = load_piece_gi(from_word + g * h + column, from_word + (g + 1u) * h); }
    let at = params.weights_offset + row * params.weights_stride;
    for (var first = 0u; first < length; first += KEYS) {
#ifdef SUBGROUPS
        let share = weights[at + min(first + lane % KEYS, length - 1u)];
#endif
        for (var j = 0u; j < KEYS; j++) {
            let s = min(first + j, length - 1u);
#ifdef SUBGROUPS
            let weight = select(0.0, subgroupShuffle(share, j), first + j < length);
#else
            let weight = select(0.0, weights[at + s], first + j < length);
#endif
            let start = (first_key + s) * (3u * h + params.top);
            for (var g = 0u; g < 3u; g++) {
                let x = load_piece_contributions(start + g * h + column, start + (g + 1u) * h);
                for (var p = 0u; p < PARTS; p++) { sum[g][p] = fma(vec4f(weight), x[p], sum[g][p]); }
            }
        }
    }
    return sum;
}

// W_h h + b_h of one gate, for a piece of its columns.
fn recurrent_of(gate: u32, start: u32, column: u32) -> Piece {
    let h = params.hidden;
    let end = (gate + 1u) * h;
    var sum = load_piece_gates(start + end + column, start + end + h);
    let bias = load_piece_vectors(gate * h + column, end);
    for (var p = 0u; p < PARTS; p++) { sum[p] += bias[p]; }
    return sum;
}

fn finish(row: u32, column: u32, input: array<Piece, 3>) {
    let h = params.hidden;
    let start = gates_of_row(row);
    let reset = recurrent_of(0u, start, column);
    let update = recurrent_of(1u, start, column);
    let recurrent = recurrent_of(2u, start, column);
    let before = params.from_offset + row * h;
    let old = load_piece_states(before + column, before + h);
    var saved: array<Piece, 3>;
    var next: Piece;
    for (var p = 0u; p < PARTS; p++) {
        let of_input = array<vec4f, 3>(input[0][p], input[1][p], input[2][p]);
        let result = gates_of(of_input, reset[p], update[p], recurrent[p], vec4f(), old[p]);
        saved[0][p] = result.reset;
        saved[1][p] = result.update;
        saved[2][p] = result.candidate;
        next[p] = result.next;
    }
#ifdef STEP
#else
    for (var g = 0u; g < 3u; g++) { store_piece_gates(start + g * h + column, start + (g + 1u) * h, saved[g]); }
    store_piece_gates(start + 3u * h + column, start + 4u * h, recurrent);
#endif
    let to = params.to_offset + row * h;
    store_piece_states(to + column, to + h, next);
#ifdef DROPOUT
    let mask_start = params.mask_offset + row * h;
    let mask = load_piece_states(mask_start + column, mask_start + h);
    for (var p = 0u; p < PARTS; p++) { next[p] *= mask[p]; }
    let dropped = params.dropped_offset + row * h;
    store_piece_states(dropped + column, dropped + h, next);
#endif
}

#ifdef STEP
// What the word and the context contribute to the layer above, for a piece of its columns.
fn top_of(row: u32, first_key: u32, length: u32, column: u32) -> Piece {
    let behind = 3u * params.hidden;
    let from_word = params.gi_offset + row * params.gi_stride + behind;
    var sum = load_piece_gi(from_word + column, from_word + params.top);
    let at = params.weights_offset + row * params.weights_stride;
    for (var first = 0u; first < length; first += KEYS) {
        for (var j = 0u; j < KEYS; j++) {
            let s = min(first + j, length - 1u);
            let weight = select(0.0, weights[at + s], first + j < length);
            let start = (first_key + s) * (behind + params.top) + behind;
            let x = load_piece_contributions(start + column, start + params.top);
            for (var p = 0u; p < PARTS; p++) { sum[p] = fma(vec4f(weight), x[p], sum[p]); }
        }
    }
    return sum;
}

// Leaves a row's gates as the next products are added to them.
fn leave(row: u32, first_key: u32, length: u32, lane: u32) {
    // Other lanes may still read what they are.
    storageBarrier();
    let products = gates_of_row(row) + params.hidden;
    let top = products + 3u * params.hidden + params.size;
    for (var at = products + lane * PIECE; at < top; at += STRIDE) { store_piece_gates(at, top, Piece()); }
    for (var column = lane * PIECE; column < params.top; column += STRIDE) {
        store_piece_gates(top + column, top + params.top, top_of(row, first_key, length, column));
    }
}
#endif

@compute @workgroup_size(LANES)
#ifdef SUBGROUPS
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
#else
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
#endif
    let row = group.x;
    let sentence = row / params.beam;
    let first_key = sentence * params.keys;
    let length = min(lengths[sentence], params.keys);
    score(row, first_key, length, lane);
    normalise(row, length, lane);
    // Every lane goes as often through the loop: it passes weights round.
    for (var first = 0u; first < params.hidden; first += STRIDE) {
        let column = first + lane * PIECE;
        let input = input_of(row, first_key, length, lane, min(column, params.hidden - UNIT));
        if (column < params.hidden) { finish(row, column, input); }
    }
#ifdef STEP
    leave(row, first_key, length, lane);
#endif
}
