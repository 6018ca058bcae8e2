// context[b, t] = sum over s < lengths[b] of softmax over s (energy · tanh(query[b, t] + key[b, s])) value[b, s]
//
// A workgroup of LANES invocations takes ROWS queries of one b through all keys, BLOCK keys at a time: scores (each lane ROWS x
// KEYS of them in registers), softmax (online from block to block), weighted sum. Scores stay in workgroup memory.
// SUBGROUPS: a workgroup is one subgroup; each lane loads its part of the queries and the subgroup passes it round.
// Otherwise the queries are staged in workgroup memory, DEPTH vec4s of each row at a time.
// VECTOR: A, V and all strides are multiples of 4: 16-byte loads serve.
// WEIGHTS: the softmax is written too.
// ONE_ROW: ROWS is 1, where factoring tanh cannot pay, and the lanes share out the elements of a key instead of keys.
#import element
#import lanes
#import factored_tanh

struct Params {
    queries: u32, keys: u32, size: u32, value_size: u32,
    query_offset: u32, query_stride: u32, query_batch: u32,
    context_offset: u32, context_stride: u32, context_batch: u32,
    weights_offset: u32, weights_stride: u32, weights_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Element>;         // [B, T, A]
@group(0) @binding(2) var<storage, read> key: array<Element>;           // [B, S, A]
@group(0) @binding(3) var<storage, read> energy: array<Single>;         // [A]
@group(0) @binding(4) var<storage, read> value: array<Element>;         // [B, S, V]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;           // [B]
@group(0) @binding(6) var<storage, read_write> context: array<Element>; // [B, T, V]
@group(0) @binding(7) var<storage, read_write> weights: array<f32>;     // [B, T, S], written under WEIGHTS alone

#import load(query)
#import load(key)
#import load(energy)
#import load(value)
#import load(context)
#import store(context)

const QUADS = (ROWS + 3u) / 4u;         // quads of rows
const FLOOR = -3.0e38;

var<workgroup> scores: array<Quad, BLOCK * QUADS>;      // [BLOCK, QUADS]: scores, then their exponentials

#ifdef SUBGROUPS
const DEPTH = 1u;
const PARTS = (ROWS + LANES - 1u) / LANES;
const STEP = min(LANES / QUADS, 4u);    // keys whose exponentials one load by all lanes brings
#else
const STEP = 4u;
#endif

#ifdef ONE_ROW
const GROUP = KEYS;                     // keys that are scored at once

// Scores KEYS keys from `first` on, of the block that starts at s0.
fn score_group(query_base: u32, row0: u32, batch: u32, s0: u32, first: u32, last_key: u32, lane: u32) {
    let size = params.size / WIDTH;
    let fours = (params.size + 3u) / 4u;
    let query_start = (query_base + row0 * params.query_stride) / WIDTH;
    var key_start: array<u32, KEYS>;
    for (var j = 0u; j < KEYS; j++) { key_start[j] = (batch * params.keys + min(s0 + first + j, last_key)) * size; }
    var sum: array<f32, KEYS>;
    for (var i = lane; i < fours; i += LANES) {
        let v = load_energy_nth(0u, i, params.size);
        let q = prepared(load_query_nth(query_start, i, params.size), true);
        for (var j = 0u; j < KEYS; j++) {
            let k = prepared(load_key_nth(key_start[j], i, params.size), true);
            sum[j] += sum_of_quotients(v, product(q, k, true));
        }
    }
    for (var j = 0u; j < KEYS; j++) {
        let whole = lanes_sum(sum[j], lane);
        // The lane that will go on with this key.
        if (lane == (first + j) % LANES && first + j < BLOCK) { scores[first + j] = -2.0 * whole; }
    }
}
#else
const GROUP = LANES * KEYS;

#ifdef SUBGROUPS
#else
const DEPTH = 8u;
var<workgroup> staged: array<vec4f, ROWS * DEPTH>;      // [DEPTH, ROWS]
#endif

// The i-th of the ROWS x DEPTH vec4s of queries at column a.
fn query_part(base: u32, row0: u32, a: u32, i: u32) -> vec4f {
    let start = base + min(row0 + i % ROWS, params.queries - 1u) * params.query_stride;
    return load_query(start + min(a + i / ROWS * 4u, params.size - WIDTH), start + params.size);
}

struct Scores {
    sum: array<array<f32, KEYS>, ROWS>,
    largest: vec4u,                     // bits of the |q| and |k| that went in
}

// sum over a of energy / (1 + exp(2(query + key))) for ROWS queries and this lane's KEYS keys. The score is -2 of these and a
// constant, which softmax does not see.
fn score(base: u32, row0: u32, key_base: array<u32, KEYS>, lane: u32, direct: bool) -> Scores {
    var result: Scores;
    for (var a0 = 0u; a0 < params.size; a0 += DEPTH * 4u) {
#ifdef SUBGROUPS
        var share: array<vec4f, PARTS>;
        for (var p = 0u; p < PARTS; p++) {
            let q = query_part(base, row0, a0, (p * LANES + lane) % ROWS);
            result.largest = reach(result.largest, q);
            share[p] = prepared(q, direct);
        }
#else
        workgroupBarrier();
        for (var i = lane; i < ROWS * DEPTH; i += LANES) {
            let q = query_part(base, row0, a0, i);
            result.largest = reach(result.largest, q);
            staged[i] = prepared(q, direct);
        }
        workgroupBarrier();
#endif
#ifdef SUBGROUPS
        // Not a loop: drivers that would not unroll it would take the array from the registers.
        {
            let d = 0u;
#else
        for (var d = 0u; d < DEPTH; d++) {
#endif
            let a = min(a0 + d * 4u, params.size - WIDTH);
            let v = select(vec4f(), load_energy(a, params.size), a0 + d * 4u < params.size);
            var k: array<vec4f, KEYS>;
            for (var j = 0u; j < KEYS; j++) {
                let x = load_key(key_base[j] + a, key_base[j] + params.size);
                result.largest = reach(result.largest, x);
                k[j] = prepared(x, direct);
            }
            for (var r = 0u; r < ROWS; r++) {
#ifdef SUBGROUPS
                let q = subgroupShuffle(share[r / LANES], r % LANES);
#else
                let q = staged[d * ROWS + r];
#endif
                for (var j = 0u; j < KEYS; j++) { result.sum[r][j] += sum_of_quotients(v, product(q, k[j], direct)); }
            }
        }
    }
    return result;
}

fn keep_scores(sum: array<array<f32, KEYS>, ROWS>, first: u32) {
    for (var j = 0u; j < KEYS; j++) {
        let at = first + j * LANES;
        if (at < BLOCK) {
            for (var g = 0u; g < QUADS; g++) {
                let r = g * 4u;
                scores[at * QUADS + g] = -2.0 * vec4f(sum[r][j], sum[r + 1u][j], sum[r + 2u][j], sum[r + 3u][j]);
            }
        }
    }
}

// Scores GROUP keys from `first` on, of the block that starts at s0.
fn score_group(query_base: u32, row0: u32, batch: u32, s0: u32, first: u32, last_key: u32, lane: u32) {
    var key_base: array<u32, KEYS>;
    for (var j = 0u; j < KEYS; j++) {
        key_base[j] = (batch * params.keys + min(s0 + first + j * LANES + lane, last_key)) * params.size;
    }
    let result = score(query_base, row0, key_base, lane, false);
    keep_scores(result.sum, first + lane);
    if (lanes_any(outside(result.largest) > DOMAIN, lane)) {
        let again = score(query_base, row0, key_base, lane, true);
        keep_scores(again.sum, first + lane);
    }
}
#endif

fn weights_row(batch: u32, row: u32) -> u32 {
    return params.weights_offset + batch * params.weights_batch + row * params.weights_stride;
}

// Writes a quad of rows at key s.
fn store_weights(batch: u32, row: u32, s: u32, x: Quad) {
#ifdef ONE_ROW
    weights[weights_row(batch, row) + s] = x;
#else
    if (row < params.queries) { weights[weights_row(batch, row) + s] = x.x; }
    if (row + 1u < params.queries) { weights[weights_row(batch, row + 1u) + s] = x.y; }
    if (row + 2u < params.queries) { weights[weights_row(batch, row + 2u) + s] = x.z; }
    if (row + 3u < params.queries) { weights[weights_row(batch, row + 3u) + s] = x.w; }
#endif
}
fn load_weights(batch: u32, row: u32, s: u32) -> Quad {
#ifdef ONE_ROW
    return weights[weights_row(batch, row) + s];
#else
    let last = params.queries - 1u;
    return vec4f(
        weights[weights_row(batch, min(row, last)) + s], weights[weights_row(batch, min(row + 1u, last)) + s],
        weights[weights_row(batch, min(row + 2u, last)) + s], weights[weights_row(batch, min(row + 3u, last)) + s]);
#endif
}

@compute @workgroup_size(LANES)
#ifdef SUBGROUPS
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
#else
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
#endif
    let row0 = group.x * ROWS;
    let batch = group.z;
    let length = min(lengths[batch], params.keys);
    let last_key = max(length, 1u) - 1u;
    let query_base = params.query_offset + batch * params.query_batch;
    var top: array<Quad, QUADS>;        // the largest score so far
    var total: array<Quad, QUADS>;      // the sum of exponentials so far, relative to it
    var scale: array<Quad, QUADS>;      // from the old top to the new one
    var norm: array<Quad, QUADS>;
    for (var g = 0u; g < QUADS; g++) { top[g] = Quad(FLOOR); }

    // A row without valid keys takes one empty block, which writes zeros.
    for (var s0 = 0u; s0 <= last_key; s0 += BLOCK) {
        let count = min(length - s0, BLOCK);
        workgroupBarrier();
        for (var first = 0u; first < count; first += GROUP) {
            score_group(query_base, row0, batch, s0, first, last_key, lane);
        }

        // Each lane goes on with the keys whose scores it has kept, so no barrier is due.
        let last_block = s0 + BLOCK > last_key;
        let padded = (count + LANES - 1u) / LANES * LANES;
        for (var g = 0u; g < QUADS; g++) {
            var most = top[g];
            for (var i = lane; i < count; i += LANES) {
                let x = scores[i * QUADS + g];
#ifdef WEIGHTS
                store_weights(batch, row0 + g * 4u, s0 + i, x);
#endif
                most = max(most, x);
            }
            most = lanes_max(most, lane);
            var sum = Quad(0.0);
            for (var i = lane; i < padded; i += LANES) {
                let x = select(Quad(0.0), exp(scores[i * QUADS + g] - most), i < count);
                scores[i * QUADS + g] = x;
                sum += x;
            }
            scale[g] = exp(max(top[g] - most, Quad(-100.0)));
            total[g] = total[g] * scale[g] + lanes_sum(sum, lane);
            top[g] = most;
            norm[g] = Quad(1.0);
            if (last_block) { norm[g] = select(1.0 / total[g], Quad(0.0), total[g] == Quad(0.0)); }
        }
        workgroupBarrier();

        for (var c0 = 0u; c0 < params.value_size; c0 += LANES * COLUMNS * 4u) {
            var sum: array<array<vec4f, COLUMNS>, ROWS>;
            for (var s = 0u; s < count; s += STEP) {
#ifdef SUBGROUPS
                let share = scores[s * QUADS + min(lane, STEP * QUADS - 1u)];
#endif
                for (var i = 0u; i < STEP; i++) {
                    var y: array<vec4f, COLUMNS>;
                    let start = (batch * params.keys + min(s0 + s + i, last_key)) * params.value_size;
                    for (var j = 0u; j < COLUMNS; j++) {
                        let column = min(c0 + (j * LANES + lane) * 4u, params.value_size - WIDTH);
                        y[j] = load_value(start + column, start + params.value_size);
                    }
                    for (var g = 0u; g < QUADS; g++) {
#ifdef SUBGROUPS
                        let x = subgroupShuffle(share, i * QUADS + g);
#else
                        let x = scores[(s + i) * QUADS + g];
#endif
                        for (var j = 0u; j < COLUMNS; j++) {
#ifdef ONE_ROW
                            sum[0][j] = fma(vec4f(x), y[j], sum[0][j]);
#else
                            let r = g * 4u;
                            sum[r][j] = fma(x.xxxx, y[j], sum[r][j]);
                            sum[r + 1u][j] = fma(x.yyyy, y[j], sum[r + 1u][j]);
                            sum[r + 2u][j] = fma(x.zzzz, y[j], sum[r + 2u][j]);
                            sum[r + 3u][j] = fma(x.wwww, y[j], sum[r + 3u][j]);
#endif
                        }
                    }
                }
            }
            for (var r = 0u; r < ROWS; r++) {
                let start = params.context_offset + batch * params.context_batch + (row0 + r) * params.context_stride;
                for (var j = 0u; j < COLUMNS; j++) {
                    let column = c0 + (j * LANES + lane) * 4u;
                    if (row0 + r < params.queries && column < params.value_size) {
#ifdef ONE_ROW
                        let before = scale[0];
                        let factor = norm[0];
#else
                        let before = scale[r / 4u][r % 4u];
                        let factor = norm[r / 4u][r % 4u];
#endif
                        var x = sum[r][j];
                        if (s0 > 0u) { x = fma(vec4f(before), load_context(start + column, start + params.value_size), x); }
                        store_context(start + column, start + params.value_size, x * factor);
                    }
                }
            }
        }
    }

#ifdef WEIGHTS
    for (var g = 0u; g < QUADS; g++) {
        let row = row0 + g * 4u;
        if (row < params.queries) {
            for (var s = lane; s < length; s += LANES) {
                store_weights(batch, row, s, exp(load_weights(batch, row, s) - top[g]) / total[g]);
            }
            for (var s = length + lane; s < params.keys; s += LANES) { store_weights(batch, row, s, Quad(0.0)); }
        }
    }
#endif
}
