// Gradients of additive attention behind its scores. For the queries, and with the roles exchanged for the keys (KEYS_SIDE):
// d_own[row, a] = energy[a] sum over steps of d_score[row, step] (1 - tanh(own[row, a] + other[step, a])²)
// and, on the keys' side, d_energy[a] = sum over rows and steps of d_score tanh, a part of it per b and tile of rows.
//
// 1 - tanh² = 4 p / (1 + p)² with p = exp(2(own + other)), which does not cancel.
// A workgroup of LANES invocations takes ROWS rows of `own` and LANES * 4 columns, and goes through all steps of `other`.
// SUBGROUPS: each lane loads its part of d_score and the subgroup passes it round; otherwise it is staged in workgroup memory,
// DEPTH steps at a time. VECTOR: A and all strides are multiples of 4. ONE_ROW: ROWS is 1, where factoring tanh cannot pay.
#import element
#import lanes
#import factored_tanh

struct Params {
    rows: u32, steps: u32, size: u32,
    own_offset: u32, own_stride: u32, own_batch: u32,
    other_offset: u32, other_stride: u32, other_batch: u32,
    score_offset: u32, score_row: u32, score_step: u32, score_batch: u32,
    d_own_offset: u32, d_own_stride: u32, d_own_batch: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> own: array<Element>;           // [B, rows, A]
@group(0) @binding(2) var<storage, read> other: array<Element>;         // [B, steps, A]
@group(0) @binding(3) var<storage, read> energy: array<Single>;         // [A]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;           // [B], valid keys
@group(0) @binding(5) var<storage, read> d_score: array<f32>;           // [B, T, S]
@group(0) @binding(6) var<storage, read_write> d_own: array<Element>;   // [B, rows, A]
@group(0) @binding(7) var<storage, read_write> d_energy: array<Single>; // [B, tiles of rows, A]

#import load(own)
#import load(other)
#import load(energy)
#import store(d_own)

#ifdef SUBGROUPS
#ifdef ONE_ROW
const DEPTH = LANES;
#else
const DEPTH = 1u;
#endif
const PARTS = (ROWS + LANES - 1u) / LANES;
#else
const DEPTH = 8u;
var<workgroup> staged: array<f32, ROWS * DEPTH>;        // [DEPTH, ROWS]
#endif

struct Tile {
    row0: u32, rows: u32, steps: u32,   // rows and steps that are valid
    own: u32, other: u32, score: u32,   // first elements of this b
}

// The i-th of the ROWS x DEPTH gradients of scores at a step; 0 outside.
fn d_score_part(tile: Tile, step0: u32, i: u32) -> f32 {
    let row = tile.row0 + i % ROWS;
    let step = step0 + i / ROWS;
    let at = tile.score + min(row, tile.rows - 1u) * params.score_row + min(step, tile.steps - 1u) * params.score_step;
    return select(0.0, d_score[at], row < tile.rows && step < tile.steps);
}

struct Sums {
    rows: array<vec4f, ROWS>,           // of d_score p / (1 + p)²
    energy: vec4f,                      // of d_score / (1 + p)
    score: f32,                         // of d_score
    largest: vec4u,                     // bits of the |own| and |other| that went in
}

fn sums(tile: Tile, column: u32, lane: u32, direct: bool) -> Sums {
    var result: Sums;
    var x: array<vec4f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        let start = tile.own + min(tile.row0 + r, tile.rows - 1u) * params.own_stride;
        let loaded = load_own(start + column, start + params.size);
        result.largest = reach(result.largest, loaded);
        x[r] = prepared(loaded, direct);
    }
    for (var step0 = 0u; step0 < tile.steps; step0 += DEPTH) {
#ifdef SUBGROUPS
        var share: array<f32, PARTS>;
        for (var p = 0u; p < PARTS; p++) { share[p] = d_score_part(tile, step0, (p * LANES + lane) % (ROWS * DEPTH)); }
#else
        workgroupBarrier();
        for (var i = lane; i < ROWS * DEPTH; i += LANES) { staged[i] = d_score_part(tile, step0, i); }
        workgroupBarrier();
#endif
#ifdef SUBGROUPS
#ifdef ONE_ROW
        for (var d = 0u; d < DEPTH; d++) {
#else
        // Not a loop: drivers that would not unroll it would take the array from the registers.
        {
            let d = 0u;
#endif
#else
        for (var d = 0u; d < DEPTH; d++) {
#endif
            let start = tile.other + min(step0 + d, tile.steps - 1u) * params.other_stride;
            let loaded = load_other(start + column, start + params.size);
            result.largest = reach(result.largest, loaded);
            let y = prepared(loaded, direct);
            for (var r = 0u; r < ROWS; r++) {
#ifdef SUBGROUPS
#ifdef ONE_ROW
                let g = subgroupShuffle(share[0], d);
#else
                let g = subgroupShuffle(share[r / LANES], r % LANES);
#endif
#else
                let g = staged[d * ROWS + r];
#endif
                let p = product(x[r], y, direct);
                let reciprocal = reciprocal_of(p);
                let weighted = g * reciprocal;
                result.rows[r] = fma(weighted, p * reciprocal, result.rows[r]);
#ifdef KEYS_SIDE
                result.energy += weighted;
                result.score += g;
#endif
            }
        }
    }
    return result;
}

fn store(tile: Tile, column: u32, batch: u32, tile_number: u32, tiles: u32, result: Sums) {
    if (column >= params.size) { return; }
    let scale = 4.0 * load_energy(column, params.size);
    for (var r = 0u; r < ROWS; r++) {
        let row = tile.row0 + r;
        if (row < params.rows) {
            let start = params.d_own_offset + batch * params.d_own_batch + row * params.d_own_stride;
            let sum = select(vec4f(), result.rows[r] * scale, row < tile.rows);
            store_d_own(start + column, start + params.size, sum);
        }
    }
#ifdef KEYS_SIDE
    // tanh = 1 - 2 / (1 + p). The gradients of a softmax's scores sum to 0 over a row, but only up to rounding: the 1 stays.
    let start = (batch * tiles + tile_number) * params.size;
    let spoilt = select(0.0, lost(result.largest), tile.rows > 0u);
    let sum = result.score - 2.0 * result.energy + spoilt;
#ifdef VECTOR
    d_energy[(start + column) / 4u] = sum;
#else
    for (var i = 0u; i < 4u; i++) {
        if (column + i < params.size) { d_energy[start + column + i] = sum[i]; }
    }
#endif
#endif
}

@compute @workgroup_size(LANES)
#ifdef SUBGROUPS
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
#else
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) lane: u32) {
#endif
    let batch = group.z;
    var tile: Tile;
    tile.row0 = group.y * ROWS;
    tile.rows = params.rows;
    tile.steps = params.steps;
#ifdef KEYS_SIDE
    tile.rows = min(tile.rows, lengths[batch]);
    // A tile without valid keys has nothing to add up.
    if (tile.row0 >= tile.rows) { tile.steps = 0u; }
    tile.rows = max(tile.rows, 1u);
#else
    tile.steps = min(tile.steps, lengths[batch]);
#endif
    let column = (group.x * LANES + lane) * 4u;
    let clamped = min(column, params.size - WIDTH);
    tile.own = params.own_offset + batch * params.own_batch;
    tile.other = params.other_offset + batch * params.other_batch;
    tile.score = params.score_offset + batch * params.score_batch;
#ifdef ONE_ROW
    var result = sums(tile, clamped, lane, true);
#else
    var result = sums(tile, clamped, lane, false);
    if (lanes_any(outside(result.largest) > DOMAIN, lane)) { result = sums(tile, clamped, lane, true); }
#endif
#ifdef KEYS_SIDE
    if (tile.steps == 0u) { tile.rows = 0u; }
#endif
    store(tile, column, batch, group.y, groups.y, result);
}
