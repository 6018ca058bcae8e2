// One step of a gated recurrent unit (Cho et al. 2014, in the form of cuDNN and PyTorch): the recurrent product of a tile of
// rows and hidden columns for all three gates, and the gates' arithmetic on it.
//
//     r = sigmoid(gi_r + W_hr h + b_hr)      z = sigmoid(gi_z + W_hz h + b_hz)
//     n = tanh(gi_n + r * (W_hn h + b_hn))   h' = (1 - z) * n + z * h
//
// A row that is past its length keeps its state and puts out 0.
// DROPOUT: what enters the recurrent product is the state's product with a mask that is the same at all steps; what z weights
// is the state. The mask, and the product with it that the next step will read, lie among the states.
// ATTENDED: the input has a second part, the context, that differs from step to step: gi gains W_ic context, where W_ic are
// the last columns of weight_ih. The context lies beside the output, in the same tensor. Every row runs on.
// SUBGROUPS: one subgroup computes ROWS x (LANES * 4) elements; each lane loads its own part of the state, and the subgroup
// passes it round. ONE_ROW: it computes one row, where a weight serves a single product, and loads are all that counts: lanes
// share out k, so that they read rows of weights in one run (WIDE: in 64-bit words). Otherwise LANES x GROUPS invocations
// compute (GROUPS * ROWS) x (LANES * 4) from tiles in workgroup memory.
// VECTOR: all sizes, offsets and strides are multiples of 4; WORDS: loads and stores are in 64-bit words (shared/element.wgsl).
// Workgroups of group.z = 1 do the second direction of a layer.
#import block
#import element
#import gru_gates

// What differs between the directions of a layer, which are done side by side.
struct Direction {
    weight_hh_offset: u32, bias_hh_offset: u32,
    gi_offset: u32, y_offset: u32,
    from_offset: u32, to_offset: u32,       // of the states before and after
    recurrent_offset: u32,                  // of what enters the recurrent product
    mask_offset: u32, dropped_offset: u32,  // of the mask, and of its product with the state after
    gates_offset: u32,
    context_offset: u32,                    // rows y_stride apart
    time: u32,                              // a row is valid while time < its length
}

struct Params {
    rows: u32, hidden: u32,                 // B, H
    gi_stride: u32, y_stride: u32,
    masked: u32,                            // whether rows have lengths
    context: u32,                           // V
    weight_offset: u32, weight_stride: u32, // of weight_ih
    directions: array<Direction, 2>,
}

#ifdef WIDE
alias Weight = Word;
#else
alias Weight = Single;
#endif

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gi: array<Element>;             // [B, 3H], rows gi_stride apart: W_i x + b_i
@group(0) @binding(2) var<storage, read> weight_hh: array<Weight>;       // [.., 3H, H]
@group(0) @binding(3) var<storage, read> bias_hh: array<Single>;         // [.., 3H]
#ifdef ATTENDED
@group(0) @binding(4) var<storage, read> weight_ih: array<Weight>;       // [3H, E+V]
#else
@group(0) @binding(4) var<storage, read> lengths: array<u32>;            // [B]
#endif
@group(0) @binding(5) var<storage, read_write> states: array<Element>;   // [.., B, H]
@group(0) @binding(6) var<storage, read_write> y: array<Element>;        // [B, H], rows y_stride apart
@group(0) @binding(7) var<storage, read_write> gates: array<Element>;    // [B, 4H]: r, z, n, W_hn h + b_hn

// That of this workgroup: group.z.
var<private> direction: Direction;

#import load(gi)
#import load(bias_hh)
#import load(states)
#import store(states)
#import store(y)
#import load(gates)
#import store(gates)
#ifdef ONE_ROW
#import load_piece(weight_hh)
#else
#import load(weight_hh)
#endif
#ifdef ATTENDED
#import load(y)
#ifdef ONE_ROW
#import load_piece(weight_ih)
#else
#import load(weight_ih)
#endif
#endif

// Elements k..k+3 (zero past H) of a row (clamped) of what enters the recurrent product.
fn part_of_state(row: u32, k: u32) -> vec4f {
    let start = direction.recurrent_offset + min(row, params.rows - 1u) * params.hidden;
    return load_states_padded(start + k, start + params.hidden);
}

#ifdef ATTENDED
// The same of the context.
fn part_of_context(row: u32, k: u32) -> vec4f {
    let start = direction.context_offset + min(row, params.rows - 1u) * params.y_stride;
    return load_y_padded(start + k, start + params.context);
}
#endif

#ifdef ONE_ROW
#else
// W_h of `gate`, transposed: its columns k..k+3 (zero past H), hidden columns column..column+3 (clamped).
fn block_of_weight_hh(gate: u32, k: u32, column: u32) -> array<vec4f, 4> {
    var block: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
        let row = gate * params.hidden + min(column + i, params.hidden - 1u);
        let start = direction.weight_hh_offset + row * params.hidden;
        block[i] = load_weight_hh_padded(start + k, start + params.hidden);
    }
    return transpose(block);
}

#ifdef ATTENDED
// The same of W_ic.
fn block_of_weight_ih(gate: u32, k: u32, column: u32) -> array<vec4f, 4> {
    var block: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
        let row = gate * params.hidden + min(column + i, params.hidden - 1u);
        let start = params.weight_offset + row * params.weight_stride;
        block[i] = load_weight_ih_padded(start + k, start + params.context);
    }
    return transpose(block);
}
#endif

#endif

fn bias(gate: u32, column: u32) -> vec4f {
    let start = direction.bias_hh_offset + gate * params.hidden;
    let end = start + params.hidden;
    return load_bias_hh(min(start + column, end - WIDTH), end);
}

// The sums pass through the gates' own memory, so that the loop over rows below needs no array in registers: compilers unroll
// a loop over such an array, and the gates' arithmetic for 16 rows at once costs seconds to compile and spills.
fn stage(row: u32, column: u32, gate: u32, sum: vec4f) {
    if (row >= params.rows || column >= params.hidden) { return; }
    let at = direction.gates_offset + (row * 4u + gate) * params.hidden;
    store_gates(at + column, at + params.hidden, sum);
}

fn staged(row: u32, column: u32, gate: u32) -> vec4f {
    let at = direction.gates_offset + (row * 4u + gate) * params.hidden;
    return load_gates(at + column, at + params.hidden);
}

// The gates' arithmetic for four columns of one row, from the staged products with the state (and the context).
fn finish(row: u32, column: u32) {
    if (row >= params.rows || column >= params.hidden) { return; }
    let reset = staged(row, column, 0u);
    let update = staged(row, column, 1u);
    let recurrent = staged(row, column, 2u);
#ifdef ATTENDED
    let candidate = staged(row, column, 3u);
#else
    let candidate = vec4f();
#endif
    let h = params.hidden;
    let from_x = direction.gi_offset + row * params.gi_stride;
    let from_h = direction.from_offset + row * h;
    let old = load_states(from_h + column, from_h + h);
    let input = array<vec4f, 3>(
        load_gi(from_x + column, from_x + h),
        load_gi(from_x + h + column, from_x + 2u * h),
        load_gi(from_x + 2u * h + column, from_x + 3u * h));
    let result = gates_of(input, reset, update, recurrent, candidate, old);
    var next = result.next;
    var output = next;
    var saved = array<vec4f, 4>(result.reset, result.update, result.candidate, recurrent);
#ifdef ATTENDED
#else
    let valid = vec4<bool>(params.masked == 0u || direction.time < lengths[row]);
    next = select(old, next, valid);
    output = select(vec4f(), output, valid);
    for (var i = 0u; i < 4u; i++) { saved[i] = select(vec4f(), saved[i], valid); }
#endif
    let to = direction.to_offset + row * h;
    store_states(to + column, to + h, next);
#ifdef DROPOUT
    let mask = direction.mask_offset + row * h;
    let dropped = direction.dropped_offset + row * h;
    store_states(dropped + column, dropped + h, next * load_states(mask + column, mask + h));
#endif
    let out = direction.y_offset + row * params.y_stride;
    store_y(out + column, out + h, output);
    for (var i = 0u; i < 4u; i++) {
        let gate = direction.gates_offset + (row * 4u + i) * h;
        store_gates(gate + column, gate + h, saved[i]);
    }
}

#ifdef SUBGROUPS
#ifdef ONE_ROW
alias Parts = array<vec4f, 4>;          // this lane's part of the products of four rows of weights, by element

fn row_of_weight_hh(gate: u32, column: u32, k: u32) -> Piece {
    let start = direction.weight_hh_offset + (gate * params.hidden + min(column, params.hidden - 1u)) * params.hidden;
    return load_piece_weight_hh(start + k, start + params.hidden);
}

fn accumulate(x: Piece, weights: Piece, sum: vec4f) -> vec4f {
    var result = sum;
    for (var p = 0u; p < PARTS; p++) { result = fma(x[p], weights[p], result); }
    return result;
}

// Adds the products to those of the lane whose columns they are for.
fn gather(parts: Parts, owns: bool, sum: vec4f) -> vec4f {
    var all = vec4f(sum_of(parts[0]), sum_of(parts[1]), sum_of(parts[2]), sum_of(parts[3]));
    for (var step = 1u; step < LANES; step *= 2u) { all += subgroupShuffleXor(all, step); }
    return select(sum, sum + all, owns);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    direction = params.directions[group.z];
    let row = group.y;
    let column0 = group.x * LANES * 4u;
    let column = column0 + lane * 4u;
    var reset = bias(0u, column);
    var update = bias(1u, column);
    var recurrent = bias(2u, column);
    var candidate: vec4f;
    for (var owner = 0u; owner < LANES; owner++) {
        let first = column0 + owner * 4u;
        var parts_r: Parts;
        var parts_z: Parts;
        var parts_h: Parts;
#ifdef ATTENDED
        var parts_c: Parts;
        for (var k = lane * PIECE; k < params.context; k += STRIDE) {
            var x: Piece;
            for (var p = 0u; p < PARTS; p++) { x[p] = part_of_context(row, k + p * 4u); }
            for (var i = 0u; i < 4u; i++) {
                parts_r[i] = accumulate(x, row_of_weight_ih(0u, first + i, k), parts_r[i]);
                parts_z[i] = accumulate(x, row_of_weight_ih(1u, first + i, k), parts_z[i]);
                parts_c[i] = accumulate(x, row_of_weight_ih(2u, first + i, k), parts_c[i]);
            }
        }
        candidate = gather(parts_c, lane == owner, candidate);
#endif
        for (var k = lane * PIECE; k < params.hidden; k += STRIDE) {
            var x: Piece;
            for (var p = 0u; p < PARTS; p++) { x[p] = part_of_state(row, k + p * 4u); }
            for (var i = 0u; i < 4u; i++) {
                parts_r[i] = accumulate(x, row_of_weight_hh(0u, first + i, k), parts_r[i]);
                parts_z[i] = accumulate(x, row_of_weight_hh(1u, first + i, k), parts_z[i]);
                parts_h[i] = accumulate(x, row_of_weight_hh(2u, first + i, k), parts_h[i]);
            }
        }
        reset = gather(parts_r, lane == owner, reset);
        update = gather(parts_z, lane == owner, update);
        recurrent = gather(parts_h, lane == owner, recurrent);
    }
    stage(row, column, 0u, reset);
    stage(row, column, 1u, update);
    stage(row, column, 2u, recurrent);
#ifdef ATTENDED
    stage(row, column, 3u, candidate);
#endif
    finish(row, column);
}

#ifdef ATTENDED
fn row_of_weight_ih(gate: u32, column: u32, k: u32) -> Piece {
    let row = gate * params.hidden + min(column, params.hidden - 1u);
    let start = params.weight_offset + row * params.weight_stride;
    return load_piece_weight_ih(start + k, start + params.context);
}
#endif
#else
const PARTS = ROWS / LANES;             // vec4s of the state that a lane holds for four steps of k
alias Share = array<vec4f, PARTS>;
alias Sums = array<vec4f, ROWS>;        // of one gate

fn accumulate(share: Share, block: array<vec4f, 4>, sums: ptr<function, Sums>) {
    var own = share;
    for (var r = 0u; r < ROWS; r++) {
        (*sums)[r] = add_product((*sums)[r], subgroupShuffle(own[r / LANES], r % LANES), block);
    }
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    direction = params.directions[group.z];
    let row0 = group.y * ROWS;
    let column = (group.x * LANES + lane) * 4u;
    var reset: Sums;
    var update: Sums;
    var recurrent: Sums;
    var candidate: Sums;
    for (var r = 0u; r < ROWS; r++) {
        reset[r] = bias(0u, column);
        update[r] = bias(1u, column);
        recurrent[r] = bias(2u, column);
    }
    // One gate after the other: the weights of one stay in registers while they meet all rows.
#ifdef ATTENDED
    for (var k = 0u; k < params.context; k += 4u) {
        var share: Share;
        for (var p = 0u; p < PARTS; p++) { share[p] = part_of_context(row0 + p * LANES + lane, k); }
        accumulate(share, block_of_weight_ih(0u, k, column), &reset);
        accumulate(share, block_of_weight_ih(1u, k, column), &update);
        accumulate(share, block_of_weight_ih(2u, k, column), &candidate);
    }
#endif
    for (var k = 0u; k < params.hidden; k += 4u) {
        var share: Share;
        for (var p = 0u; p < PARTS; p++) { share[p] = part_of_state(row0 + p * LANES + lane, k); }
        accumulate(share, block_of_weight_hh(0u, k, column), &reset);
        accumulate(share, block_of_weight_hh(1u, k, column), &update);
        accumulate(share, block_of_weight_hh(2u, k, column), &recurrent);
    }
    for (var r = 0u; r < ROWS; r++) {
        stage(row0 + r, column, 0u, reset[r]);
        stage(row0 + r, column, 1u, update[r]);
        stage(row0 + r, column, 2u, recurrent[r]);
#ifdef ATTENDED
        stage(row0 + r, column, 3u, candidate[r]);
#endif
    }
    for (var r = 0u; r < ROWS; r++) { finish(row0 + r, column); }
}
#endif
#else
const DEPTH = 16u;                      // steps of k between barriers
const TILE_M = GROUPS * ROWS / 4u;      // vec4s

var<workgroup> state_tile: array<vec4f, DEPTH * TILE_M>;        // [DEPTH, TILE_M]
var<workgroup> weight_tile: array<vec4f, DEPTH * 3u * LANES>;   // [DEPTH, 3, LANES]

// Fills both tiles from k0 on, zero past the end of k: from the state and W_h, or from the context and W_ic.
fn fill(from_context: bool, k0: u32, row0: u32, column0: u32, index: u32) {
    for (var i = index; i < DEPTH / 4u * TILE_M; i += LANES * GROUPS) {
        let k = i / TILE_M * 4u;
        var block: array<vec4f, 4>;
        for (var r = 0u; r < 4u; r++) {
            let row = row0 + i % TILE_M * 4u + r;
            block[r] = part_of_state(row, k0 + k);
#ifdef ATTENDED
            if (from_context) { block[r] = part_of_context(row, k0 + k); }
#endif
        }
        block = transpose(block);
        for (var kk = 0u; kk < 4u; kk++) { state_tile[(k + kk) * TILE_M + i % TILE_M] = block[kk]; }
    }
    for (var i = index; i < DEPTH / 4u * 3u * LANES; i += LANES * GROUPS) {
        let k = i / (3u * LANES) * 4u;
        let gate = i / LANES % 3u;
        let column = column0 + i % LANES * 4u;
        var block = block_of_weight_hh(gate, k0 + k, column);
#ifdef ATTENDED
        if (from_context) { block = block_of_weight_ih(gate, k0 + k, column); }
#endif
        for (var kk = 0u; kk < 4u; kk++) { weight_tile[(k + kk) * 3u * LANES + i % (3u * LANES)] = block[kk]; }
    }
}

@compute @workgroup_size(LANES, GROUPS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) local: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    direction = params.directions[group.z];
    let row0 = group.y * TILE_M * 4u;
    let column0 = group.x * LANES * 4u;
    let column = column0 + local.x * 4u;
    // Per gate and row: r, z, W_hn h, and W_in context.
    var reset: array<vec4f, ROWS>;
    var update: array<vec4f, ROWS>;
    var recurrent: array<vec4f, ROWS>;
    var candidate: array<vec4f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        reset[r] = bias(0u, column);
        update[r] = bias(1u, column);
        recurrent[r] = bias(2u, column);
    }
#ifdef ATTENDED
    for (var k0 = 0u; k0 < params.context; k0 += DEPTH) {
        fill(true, k0, row0, column0, index);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let y_r = weight_tile[k * 3u * LANES + local.x];
            let y_z = weight_tile[(k * 3u + 1u) * LANES + local.x];
            let y_n = weight_tile[(k * 3u + 2u) * LANES + local.x];
            for (var r = 0u; r < ROWS; r += 4u) {
                let x = state_tile[k * TILE_M + (local.y * ROWS + r) / 4u];
                var parts = array<vec4f, 4>(x.xxxx, x.yyyy, x.zzzz, x.wwww);
                for (var i = 0u; i < 4u; i++) {
                    reset[r + i] = fma(parts[i], y_r, reset[r + i]);
                    update[r + i] = fma(parts[i], y_z, update[r + i]);
                    candidate[r + i] = fma(parts[i], y_n, candidate[r + i]);
                }
            }
        }
        workgroupBarrier();
    }
#endif
    for (var k0 = 0u; k0 < params.hidden; k0 += DEPTH) {
        fill(false, k0, row0, column0, index);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let y_r = weight_tile[k * 3u * LANES + local.x];
            let y_z = weight_tile[(k * 3u + 1u) * LANES + local.x];
            let y_n = weight_tile[(k * 3u + 2u) * LANES + local.x];
            for (var r = 0u; r < ROWS; r += 4u) {
                let x = state_tile[k * TILE_M + (local.y * ROWS + r) / 4u];
                var parts = array<vec4f, 4>(x.xxxx, x.yyyy, x.zzzz, x.wwww);
                for (var i = 0u; i < 4u; i++) {
                    reset[r + i] = fma(parts[i], y_r, reset[r + i]);
                    update[r + i] = fma(parts[i], y_z, update[r + i]);
                    recurrent[r + i] = fma(parts[i], y_n, recurrent[r + i]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < ROWS; r++) {
        stage(row0 + local.y * ROWS + r, column, 0u, reset[r]);
        stage(row0 + local.y * ROWS + r, column, 1u, update[r]);
        stage(row0 + local.y * ROWS + r, column, 2u, recurrent[r]);
#ifdef ATTENDED
        stage(row0 + local.y * ROWS + r, column, 3u, candidate[r]);
#endif
    }
    for (var r = 0u; r < ROWS; r++) { finish(row0 + local.y * ROWS + r, column); }
}
#endif
