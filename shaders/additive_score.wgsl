// score[b, t, s] = energy · tanh(query[b, t] + key[b, s]) for s < lengths[b]; 0 at and past it.
//
// A workgroup of LANES invocations takes ROWS queries of one b and a key for each lane. The queries are staged in workgroup memory,
// DEPTH vec4s of each row at a time. VECTOR: A is a multiple of 4: 16-byte loads serve.
#import element
#import lanes
#import factored_tanh

struct Params { queries: u32, keys: u32, size: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Element>;         // [B, T, A]
@group(0) @binding(2) var<storage, read> key: array<Element>;           // [B, S, A]
@group(0) @binding(3) var<storage, read> energy: array<Single>;         // [A]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;           // [B]
@group(0) @binding(5) var<storage, read_write> scores: array<f32>;      // [B, T, S]

#import load(query)
#import load(key)
#import load(energy)

const DEPTH = 8u;
var<workgroup> staged: array<vec4f, ROWS * DEPTH>;      // [DEPTH, ROWS]

struct Scores {
    whole: f32,                         // sum over a of energy
    sum: array<f32, ROWS>,              // sum over a of energy / (1 + exp(2(query + key))), for each query
    largest: vec4u,                     // bits of the |query| and |key| that went in
}

// Of ROWS queries from `row0` on, counted through the batch, and the key that starts at element `key_start`.
fn score(row0: u32, last_row: u32, key_start: u32, lane: u32, direct: bool) -> Scores {
    var result: Scores;
    var energies = vec4f();
    for (var a0 = 0u; a0 < params.size; a0 += DEPTH * 4u) {
        workgroupBarrier();
        for (var i = lane; i < ROWS * DEPTH; i += LANES) {
            let start = min(row0 + i % ROWS, last_row) * params.size;
            let q = load_query(start + min(a0 + i / ROWS * 4u, params.size - WIDTH), start + params.size);
            result.largest = reach(result.largest, q);
            staged[i] = prepared(q, direct);
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            let a = min(a0 + d * 4u, params.size - WIDTH);
            let v = select(vec4f(), load_energy(a, params.size), a0 + d * 4u < params.size);
            let x = load_key(key_start + a, key_start + params.size);
            result.largest = reach(result.largest, x);
            let k = prepared(x, direct);
            energies += v;
            for (var r = 0u; r < ROWS; r++) { result.sum[r] += sum_of_quotients(v, product(staged[d * ROWS + r], k, direct)); }
        }
    }
    result.whole = sum_of(energies);
    return result;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let batch = group.z;
    let row0 = batch * params.queries + group.y * ROWS;
    let last_row = (batch + 1u) * params.queries - 1u;
    let s = group.x * LANES + lane;
    let length = min(lengths[batch], params.keys);
    let key_start = (batch * params.keys + min(s, max(length, 1u) - 1u)) * params.size;
    var result = score(row0, last_row, key_start, lane, false);
    if (lanes_any(outside(result.largest) > DOMAIN, lane)) { result = score(row0, last_row, key_start, lane, true); }
    if (s >= params.keys) { return; }
    for (var r = 0u; r < ROWS; r++) {
        if (row0 + r <= last_row) {
            // tanh = 1 - 2 / (1 + p)
            scores[(row0 + r) * params.keys + s] = select(0.0, fma(-2.0, result.sum[r], result.whole), s < length);
        }
    }
}
