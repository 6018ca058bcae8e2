// Gradient of the scores of additive attention: d_score = weights (d - sum over s of weights d), where
// d[b, t, s] = d_context[b, t] · value[b, s] (+ d_weights[b, t, s]); 0 at masked keys.
//
// A workgroup of LANES invocations takes ROWS queries of one b through all keys, as the forward does; each lane keeps d of its
// own keys in d_score, and comes back for them when the sums are known.
// SUBGROUPS, VECTOR, ONE_ROW: as in ../additive_attention.wgsl.
#import element
#import lanes

struct Params {
    queries: u32, keys: u32, value_size: u32,
    weights_offset: u32, weights_stride: u32, weights_batch: u32,
    d_context_offset: u32, d_context_stride: u32, d_context_batch: u32,
    d_weights_offset: u32, d_weights_stride: u32, d_weights_batch: u32,
    d_score_offset: u32, d_score_stride: u32, d_score_batch: u32,
    has_d_weights: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> value: array<Element>;         // [B, S, V]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;           // [B]
@group(0) @binding(3) var<storage, read> weights: array<f32>;           // [B, T, S]
@group(0) @binding(4) var<storage, read> d_context: array<Element>;     // [B, T, V]
@group(0) @binding(5) var<storage, read> d_weights: array<f32>;         // [B, T, S]
@group(0) @binding(6) var<storage, read_write> d_score: array<f32>;     // [B, T, S]

#import load(value)
#import load(d_context)

const QUADS = (ROWS + 3u) / 4u;         // quads of rows
const FEW = min(ROWS, 4u);              // rows of a quad

#ifdef ONE_ROW
// Lanes share out the elements of a value instead of keys.
#else
#ifdef SUBGROUPS
const DEPTH = 1u;
const PARTS = (ROWS + LANES - 1u) / LANES;
#else
const DEPTH = 8u;
var<workgroup> staged: array<vec4f, ROWS * DEPTH>;      // [DEPTH, ROWS]
#endif
#endif

// The i-th of the ROWS x DEPTH vec4s of d_context at column c; 0 past the last column.
fn part(batch: u32, row0: u32, c: u32, i: u32) -> vec4f {
    let row = min(row0 + i % ROWS, params.queries - 1u);
    let start = params.d_context_offset + batch * params.d_context_batch + row * params.d_context_stride;
    let at = c + i / ROWS * 4u;
    let x = load_d_context(start + min(at, params.value_size - WIDTH), start + params.value_size);
    return select(vec4f(), x, at < params.value_size);
}

fn weights_at(batch: u32, row: u32) -> u32 {
    return params.weights_offset + batch * params.weights_batch + row * params.weights_stride;
}
fn d_weights_at(batch: u32, row: u32) -> u32 {
    return params.d_weights_offset + batch * params.d_weights_batch + row * params.d_weights_stride;
}
fn d_score_at(batch: u32, row: u32) -> u32 {
    return params.d_score_offset + batch * params.d_score_batch + row * params.d_score_stride;
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
    var mean: array<f32, ROWS>;         // of d over the keys, weighted: this lane's part

#ifdef ONE_ROW
    let size = params.value_size / WIDTH;
    let fours = (params.value_size + 3u) / 4u;
    let row_start = (params.d_context_offset + batch * params.d_context_batch + row0 * params.d_context_stride) / WIDTH;
    for (var first = 0u; first < length; first += KEYS) {
        var start: array<u32, KEYS>;
        for (var j = 0u; j < KEYS; j++) { start[j] = (batch * params.keys + min(first + j, length - 1u)) * size; }
        var sum: array<f32, KEYS>;
        for (var q = lane; q < fours; q += LANES) {
            let x = load_d_context_nth(row_start, q, params.value_size);
            for (var j = 0u; j < KEYS; j++) {
                let y = load_value_nth(start[j], q, params.value_size);
                sum[j] = fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, sum[j]))));
            }
        }
        for (var j = 0u; j < KEYS; j++) {
            let whole = lanes_sum(sum[j], lane);
            let s = first + j;
            // The lane that comes back for this key.
            if (s < length && lane == s % LANES) {
                var d = whole;
                if (params.has_d_weights != 0u) { d += d_weights[d_weights_at(batch, row0) + s]; }
                mean[0] = fma(weights[weights_at(batch, row0) + s], d, mean[0]);
                d_score[d_score_at(batch, row0) + s] = d;
            }
        }
    }
#else
    for (var first = 0u; first < length; first += LANES * KEYS) {
        var start: array<u32, KEYS>;
        for (var j = 0u; j < KEYS; j++) {
            start[j] = (batch * params.keys + min(first + j * LANES + lane, length - 1u)) * params.value_size;
        }
        var sum: array<array<f32, KEYS>, ROWS>;
        for (var c0 = 0u; c0 < params.value_size; c0 += DEPTH * 4u) {
#ifdef SUBGROUPS
            var share: array<vec4f, PARTS>;
            for (var p = 0u; p < PARTS; p++) { share[p] = part(batch, row0, c0, (p * LANES + lane) % ROWS); }
#else
            workgroupBarrier();
            for (var i = lane; i < ROWS * DEPTH; i += LANES) { staged[i] = part(batch, row0, c0, i); }
            workgroupBarrier();
#endif
#ifdef SUBGROUPS
            // Not a loop: drivers that would not unroll it would take the array from the registers.
            {
                let d = 0u;
#else
            for (var d = 0u; d < DEPTH; d++) {
#endif
                let c = min(c0 + d * 4u, params.value_size - WIDTH);
                var y: array<vec4f, KEYS>;
                for (var j = 0u; j < KEYS; j++) { y[j] = load_value(start[j] + c, start[j] + params.value_size); }
                for (var r = 0u; r < ROWS; r++) {
#ifdef SUBGROUPS
                    let x = subgroupShuffle(share[r / LANES], r % LANES);
#else
                    let x = staged[d * ROWS + r];
#endif
                    for (var j = 0u; j < KEYS; j++) {
                        sum[r][j] = fma(x.w, y[j].w, fma(x.z, y[j].z, fma(x.y, y[j].y, fma(x.x, y[j].x, sum[r][j]))));
                    }
                }
            }
        }
        for (var j = 0u; j < KEYS; j++) {
            let s = first + j * LANES + lane;
            if (s < length) {
                for (var r = 0u; r < ROWS; r++) {
                    let row = row0 + r;
                    if (row < params.queries) {
                        var d = sum[r][j];
                        if (params.has_d_weights != 0u) { d += d_weights[d_weights_at(batch, row) + s]; }
                        mean[r] = fma(weights[weights_at(batch, row) + s], d, mean[r]);
                        d_score[d_score_at(batch, row) + s] = d;
                    }
                }
            }
        }
    }
#endif

    // d_score sums to 0 over a row. In f32 it is off by what the mean is rounded by, which is much where all d are nearly the
    // same, and all that the gradients of queries and keys are then made of: a second mean, of what is left, takes it away.
    for (var g = 0u; g < QUADS; g++) {
        let r = g * 4u;
#ifdef ONE_ROW
        var first: array<f32, 1>;
        first[0] = lanes_sum(mean[0], lane);
#else
        let first = lanes_sum(vec4f(mean[r], mean[r + 1u], mean[r + 2u], mean[r + 3u]), lane);
#endif
        var left: array<f32, FEW>;
        for (var s = lane; s < length; s += LANES) {
            for (var i = 0u; i < FEW; i++) {
                let row = row0 + r + i;
                if (row < params.queries) {
                    let at = d_score_at(batch, row) + s;
                    let d = d_score[at] - first[i];
                    left[i] = fma(weights[weights_at(batch, row) + s], d, left[i]);
                    d_score[at] = d;
                }
            }
        }
#ifdef ONE_ROW
        var second: array<f32, 1>;
        second[0] = lanes_sum(left[0], lane);
#else
        let second = lanes_sum(vec4f(left[0], left[1], left[2], left[3]), lane);
#endif
        for (var s = lane; s < params.keys; s += LANES) {
            for (var i = 0u; i < FEW; i++) {
                let row = row0 + r + i;
                if (row < params.queries) {
                    let at = d_score_at(batch, row) + s;
                    var d = 0.0;
                    if (s < length) { d = weights[weights_at(batch, row) + s] * (d_score[at] - second[i]); }
                    d_score[at] = d;
                }
            }
        }
    }
}
