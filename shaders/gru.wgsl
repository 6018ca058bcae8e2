// One step of a gated recurrent unit (Cho et al. 2014, in the form of cuDNN and PyTorch): the recurrent product of a tile of
// rows and hidden columns for all three gates, and the gates' arithmetic on it.
//
//     r = sigmoid(gi_r + W_hr h + b_hr)      z = sigmoid(gi_z + W_hz h + b_hz)
//     n = tanh(gi_n + r * (W_hn h + b_hn))   h' = (1 - z) * n + z * h
//
// A row that is past its length keeps its state and puts out 0. States that begin with zeros need no product: the first step leaves
// the zeros where they belong.
// DROPOUT: what enters the recurrent product is the state's product with a mask that is the same at all steps; what z weights
// is the state. The mask, and the product with it that the next step will read, lie among the states.
// PICKED: what the input contributes is picked from a table, which is f32 where activations are not.
// ATTENDED: the input has a second part, the context, that differs from step to step: gi gains W_ic context, where W_ic are
// the last columns of weight_ih. The context lies beside the output, in the same tensor. Every row runs on.
// SUBGROUPS: one subgroup computes ROWS x (LANES * 4) elements; each lane loads its own part of the state, and the subgroup
// passes it round. ONE_ROW: it computes one row, where a weight serves a single product, and loads are all that counts: lanes
// share out k, so that they read rows of weights in one run (WIDE: in 64-bit words). Otherwise LANES x GROUPS invocations compute
// (GROUPS * ROWS) x (LANES * 4), SLICES as many each with its part of k, whose loads lie side by side along it.
// VECTOR: all sizes, offsets and strides are multiples of 4; WORDS: loads and stores are in 64-bit words (shared/element.wgsl).
// TEXTURE_weight_hh, TEXTURE_weight_ih: those weights have been copied into a texture, from which some llvmpipe loads in less time.
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
    time: u32,                              // a row is valid while time < its length; its token is that of this time
}

struct Params {
    rows: u32, hidden: u32,                 // B, H
    gi_stride: u32, y_stride: u32,
    masked: u32,                            // whether rows have lengths
    context: u32,                           // V
    weight_offset: u32, weight_stride: u32, // of weight_ih
    entering: u32,                          // elements of a state in the recurrent product: H, or 0 where states begin with zeros
    picked: u32, steps: u32,                // rows of gi that tokens pick from, and tokens of a row; 0 where each row has its own
    unused: u32,
    directions: array<Direction, 2>,
}

#ifdef WIDE
alias Weight = Word;
#else
alias Weight = Single;
#endif

@group(0) @binding(0) var<uniform> params: Params;
#ifdef PICKED
@group(0) @binding(1) var<storage, read> gi: array<Single>;              // [V, 3H], rows gi_stride apart: W_i x + b_i of a table
#else
@group(0) @binding(1) var<storage, read> gi: array<Element>;             // the same, or [B, 3H]
#endif
#ifdef TEXTURE_weight_hh
@group(0) @binding(2) var weight_hh: texture_2d<f32>;                    // [.., 3H, H]
#else
@group(0) @binding(2) var<storage, read> weight_hh: array<Weight>;       // [.., 3H, H]
#endif
@group(0) @binding(3) var<storage, read> bias_hh: array<Single>;         // [.., 3H]
#ifdef ATTENDED
#ifdef TEXTURE_weight_ih
@group(0) @binding(4) var weight_ih: texture_2d<f32>;                    // [3H, E+V]
#else
@group(0) @binding(4) var<storage, read> weight_ih: array<Weight>;       // [3H, E+V]
#endif
#else
@group(0) @binding(4) var<storage, read> lengths: array<u32>;            // [B]
#endif
@group(0) @binding(5) var<storage, read> tokens: array<u32>;             // [B, S], where gi is picked from
@group(0) @binding(6) var<storage, read_write> states: array<Element>;   // [.., B, H]
@group(0) @binding(7) var<storage, read_write> y: array<Element>;        // [B, H], rows y_stride apart
@group(0) @binding(8) var<storage, read_write> gates: array<Element>;    // [B, 4H]: r, z, n, W_hn h + b_hn

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

// Zeros for the states before the first step, and for what enters its recurrent product.
fn begin(row: u32, column: u32) {
    let before = direction.from_offset + row * params.hidden;
    store_states(before + column, before + params.hidden, vec4f());
#ifdef DROPOUT
    let entering = direction.recurrent_offset + row * params.hidden;
    store_states(entering + column, entering + params.hidden, vec4f());
#endif
}

// The gates' arithmetic for four columns of one row, from the products with the state (and the context), biases included.
fn finish(row: u32, column: u32, reset: vec4f, update: vec4f, recurrent: vec4f, candidate: vec4f) {
    if (row >= params.rows || column >= params.hidden) { return; }
    let h = params.hidden;
    var source = row;
    if (params.picked > 0u) { source = min(tokens[row * params.steps + direction.time], params.picked - 1u); }
    let from_x = direction.gi_offset + source * params.gi_stride;
    let from_h = direction.from_offset + row * h;
    var old: vec4f;
    if (params.entering > 0u) { old = load_states(from_h + column, from_h + h); }
    else { begin(row, column); }
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
        for (var k = lane * PIECE; k < params.entering; k += STRIDE) {
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
    finish(row, column, reset, update, recurrent, candidate);
}

#ifdef ATTENDED
fn row_of_weight_ih(gate: u32, column: u32, k: u32) -> Piece {
    let row = gate * params.hidden + min(column, params.hidden - 1u);
    let start = params.weight_offset + row * params.weight_stride;
    return load_piece_weight_ih(start + k, start + params.context);
}
#endif
#else
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

fn finish_staged(row: u32, column: u32) {
    if (row >= params.rows || column >= params.hidden) { return; }
#ifdef ATTENDED
    let candidate = staged(row, column, 3u);
#else
    let candidate = vec4f();
#endif
    finish(row, column, staged(row, column, 0u), staged(row, column, 1u), staged(row, column, 2u), candidate);
}

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
    for (var k = 0u; k < params.entering; k += 4u) {
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
    for (var r = 0u; r < ROWS; r++) { finish_staged(row0 + r, column); }
}
#endif
#else
#import slices

fn accumulate(rows: Sums, block: array<vec4f, 4>, sums: ptr<function, Sums>) {
    for (var r = 0u; r < ROWS; r++) { (*sums)[r] = add_product((*sums)[r], rows[r], block); }
}

@compute @workgroup_size(SLICES, LANES, GROUPS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    direction = params.directions[group.z];
    let row0 = (group.y * GROUPS + local.z) * ROWS;
    let column = (group.x * LANES + local.y) * 4u;
    // Per gate: r, z, W_hn h, and W_in context.
    var reset: Sums;
    var update: Sums;
    var recurrent: Sums;
    var candidate: Sums;
#ifdef ATTENDED
    for (var k = local.x * 4u; k < params.context; k += SLICES * 4u) {
        var rows: Sums;
        for (var r = 0u; r < ROWS; r++) { rows[r] = part_of_context(row0 + r, k); }
        accumulate(rows, block_of_weight_ih(0u, k, column), &reset);
        accumulate(rows, block_of_weight_ih(1u, k, column), &update);
        accumulate(rows, block_of_weight_ih(2u, k, column), &candidate);
    }
#endif
    for (var k = local.x * 4u; k < params.entering; k += SLICES * 4u) {
        var rows: Sums;
        for (var r = 0u; r < ROWS; r++) { rows[r] = part_of_state(row0 + r, k); }
        accumulate(rows, block_of_weight_hh(0u, k, column), &reset);
        accumulate(rows, block_of_weight_hh(1u, k, column), &update);
        accumulate(rows, block_of_weight_hh(2u, k, column), &recurrent);
    }
    let worker = local.z * LANES + local.y;
    merge(&reset, local.x, worker);
    merge(&update, local.x, worker);
    merge(&recurrent, local.x, worker);
#ifdef ATTENDED
    merge(&candidate, local.x, worker);
#endif
    if (local.x > 0u) { return; }
    for (var r = 0u; r < ROWS; r++) {
        finish(row0 + r, column, reset[r] + bias(0u, column), update[r] + bias(1u, column),
            recurrent[r] + bias(2u, column), candidate[r]);
    }
}
#endif
