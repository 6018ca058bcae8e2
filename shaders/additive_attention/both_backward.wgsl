// Gradients of additive attention behind its scores, for queries and keys from one evaluation of tanh:
// g[t, s, a] = d_score[t, s] (1 - tanh(query[t, a] + key[s, a])²)
// d_key[s, a] = energy[a] sum over t of g, d_query[t, a] = energy[a] sum over s of g
// and d_energy[a] = sum over t and s of d_score tanh, a part of it per b and dispatch.
//
// A workgroup is one subgroup. It owns LANES * 4 columns of one b, and walks over tiles of ROWS keys, for each over all queries:
// what a tile adds to the keys' gradients stays in registers, what it adds to the queries' goes to d_query, tile by tile, so
// the order of every sum is fixed. A dispatch takes the keys from first_key to end_key: drivers cut long loops.
// VECTOR: A, S and all strides are multiples of 4.
#import element
#import lanes
#import factored_tanh

struct Params {
    queries: u32, keys: u32, size: u32,
    query_offset: u32, query_stride: u32, query_batch: u32,
    score_offset: u32, score_stride: u32, score_batch: u32,
    d_query_offset: u32, d_query_stride: u32, d_query_batch: u32,
    first_key: u32, end_key: u32, part: u32, parts: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Single>;          // [B, T, A]
@group(0) @binding(2) var<storage, read> key: array<Single>;            // [B, S, A]
@group(0) @binding(3) var<storage, read> energy: array<Single>;         // [A]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;           // [B], valid keys
@group(0) @binding(5) var<storage, read> d_score: array<Single>;        // [B, T, S], 0 at masked keys
@group(0) @binding(6) var<storage, read_write> d_query: array<Single>;  // [B, T, A]
@group(0) @binding(7) var<storage, read_write> d_key: array<Single>;    // [B, S, A]
@group(0) @binding(8) var<storage, read_write> d_energy: array<Single>; // [B, parts, A]

#import load(query)
#import load(key)
#import load(energy)
#import load(d_score)
#import load(d_query)
#import store(d_query)
#import store(d_key)
#import store(d_energy)

const QUADS = ROWS / 4u;
const PARTS = (QUADS + LANES - 1u) / LANES;

struct Place {
    batch: u32,
    length: u32,                        // valid keys
    column: u32,                        // clamped to the last one: stores ask whether it was inside
    inside: bool,
    lane: u32,
}

fn key_start(place: Place, s: u32) -> u32 { return (place.batch * params.keys + s) * params.size; }
fn query_start(place: Place, t: u32) -> u32 {
    return params.query_offset + place.batch * params.query_batch + t * params.query_stride;
}

// 0 past the valid keys, where nothing is read for its value.
fn own_key(place: Place, s: u32) -> vec4f {
    let start = key_start(place, min(s, max(place.length, 1u) - 1u));
    return select(vec4f(), load_key(start + place.column, start + params.size), s < place.length);
}

fn add_to_d_query(place: Place, t: u32, first: bool, sum: vec4f) {
    let start = params.d_query_offset + place.batch * params.d_query_batch + t * params.d_query_stride;
    if (place.inside) {
        var x = sum;
        if (!first) { x += load_d_query(start + place.column, start + params.size); }
        store_d_query(start + place.column, start + params.size, x);
    }
}

fn set_d_key(place: Place, s: u32, sum: vec4f) {
    let start = key_start(place, s);
    if (place.inside && s < params.keys) {
        store_d_key(start + place.column, start + params.size, select(vec4f(), sum, s < place.length));
    }
}

// The gradients of four scores; 0 past the last key.
fn four_scores(place: Place, t: u32, s: u32) -> vec4f {
    let start = params.score_offset + place.batch * params.score_batch + t * params.score_stride;
    return select(vec4f(), load_d_score(start + min(s, params.keys - WIDTH), start + params.keys), s < params.keys);
}

// Sums over all tiles that a workgroup has walked over.
struct Energy {
    weighted: vec4f,                    // of d_score / (1 + p)
    score: vec4f,                       // of d_score, each lane its own part
}

// Adds the contribution of the tile of keys from row0 on to all gradients; the first tile sets d_query.
fn walk(place: Place, row0: u32, scale: vec4f) -> Energy {
    var x: array<vec4f, ROWS>;
    var rows: array<vec4f, ROWS>;
    var result: Energy;
    for (var r = 0u; r < ROWS; r++) { x[r] = prepared(own_key(place, row0 + r), false); }
    for (var t = 0u; t < params.queries; t++) {
        var share: array<vec4f, PARTS>;
        for (var p = 0u; p < PARTS; p++) {
            let quad = p * LANES + place.lane;
            share[p] = select(vec4f(), four_scores(place, t, row0 + quad * 4u), quad < QUADS);
            result.score += share[p];
        }
        let from_query = query_start(place, t);
        let y = prepared(load_query(from_query + place.column, from_query + params.size), false);
        var across: vec4f;
        for (var r = 0u; r < ROWS; r++) {
            let g = subgroupShuffle(share[r / 4u / LANES][r % 4u], r / 4u % LANES);
            let p = product(x[r], y, false);
            let reciprocal = reciprocal_of(p);
            let weighted = g * reciprocal;
            let term = weighted * (p * reciprocal);
            rows[r] += term;
            across += term;
            result.weighted += weighted;
        }
        add_to_d_query(place, t, row0 == 0u, across * scale);
    }
    for (var r = 0u; r < ROWS; r++) { set_d_key(place, row0 + r, rows[r] * scale); }
    return result;
}

// The same out of the factored tanh's domain. Rare, so four keys at a time will do: drivers that run both sides of a branch
// would feel more.
fn walk_outside(place: Place, row0: u32, scale: vec4f) -> Energy {
    var result: Energy;
    for (var i = 0u; i < ROWS; i += 4u) {
        var x: array<vec4f, 4>;
        var rows: array<vec4f, 4>;
        for (var r = 0u; r < 4u; r++) { x[r] = prepared(own_key(place, row0 + i + r), true); }
        for (var t = 0u; t < params.queries; t++) {
            let share = four_scores(place, t, row0 + i);
            if (place.lane == 0u) { result.score += share; }
            let from_query = query_start(place, t);
            let y = prepared(load_query(from_query + place.column, from_query + params.size), true);
            var across: vec4f;
            for (var r = 0u; r < 4u; r++) {
                let p = product(x[r], y, true);
                let reciprocal = reciprocal_of(p);
                let weighted = share[r] * reciprocal;
                let term = weighted * (p * reciprocal);
                rows[r] += term;
                across += term;
                result.weighted += weighted;
            }
            add_to_d_query(place, t, row0 + i == 0u, across * scale);
        }
        for (var r = 0u; r < 4u; r++) { set_d_key(place, row0 + i + r, rows[r] * scale); }
    }
    return result;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let column = (group.x * LANES + lane) * 4u;
    var place: Place;
    let length = min(lengths[group.z], params.keys);
    place.batch = group.z;
    place.length = length;
    place.column = min(column, params.size - WIDTH);
    place.inside = column < params.size;
    place.lane = lane;
    let scale = 4.0 * load_energy(place.column, params.size);
    var energy_sum: Energy;
    var of_queries: vec4u;
    for (var t = 0u; t < params.queries; t++) {
        let start = query_start(place, t);
        of_queries = reach(of_queries, load_query(start + place.column, start + params.size));
    }
    for (var row0 = params.first_key; row0 < params.end_key; row0 += ROWS) {
        var largest = of_queries;
        for (var r = 0u; r < ROWS; r++) { largest = reach(largest, own_key(place, row0 + r)); }
        var of_tile: Energy;
        // The first tile sets d_query, valid keys or not.
        if (row0 > 0u && row0 >= length) {
            for (var r = 0u; r < ROWS; r++) { set_d_key(place, row0 + r, vec4f()); }
        } else if (lanes_any(outside(largest) > DOMAIN, lane)) {
            of_tile = walk_outside(place, row0, scale);
        } else {
            of_tile = walk(place, row0, scale);
        }
        if (row0 < place.length) { energy_sum.weighted += lost(largest); }
        energy_sum.weighted += of_tile.weighted;
        energy_sum.score += of_tile.score;
    }
    // tanh = 1 - 2 / (1 + p). The gradients of a softmax's scores sum to 0 over a row, but only up to rounding: the 1 stays.
    let of_lane = energy_sum.score.x + energy_sum.score.y + energy_sum.score.z + energy_sum.score.w;
    let score = lanes_sum(vec4f(of_lane), lane).x;
    let start = (place.batch * params.parts + params.part) * params.size;
    if (place.inside) {
        store_d_energy(start + place.column, start + params.size, score - 2.0 * energy_sum.weighted);
    }
}
