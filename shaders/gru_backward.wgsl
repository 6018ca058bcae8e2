// One step of a gated recurrent unit, backward. The gradient of the state that the step put out is
//
//     d = d_recurrent[of the next step] · W + carry + d_y
//
// where W = [W_hh; anything else that was multiplied with this state] and d_recurrent = [d_gh; the gradients of those
// products]; the carry is what went round the next step's gates, z * d. From d follow the gradients of this step's gates:
//
//     d_r = d_n * (W_hn h + b_hn) * r (1 - r)     d_z = d * (h - n) * z (1 - z)     d_n = d * (1 - z) * (1 - n²)
//     d_gi = [d_r, d_z, d_n]                      d_gh = [d_r, d_z, d_n * r]
//
// In a row that is past its length the gates have no gradient and d goes on unchanged.
// DROPOUT: the products had the state's product with a mask, so what comes through them meets the mask, which lies among the
// states.
// SUBGROUPS: one subgroup computes ROWS x (LANES * 4) elements; each lane loads its own part of d_recurrent, and the subgroup
// passes it round. Otherwise LANES x GROUPS invocations compute (GROUPS * ROWS) x (LANES * 4), SLICES as many each with its part
// of k.
// VECTOR: all sizes, offsets and strides are multiples of 4; WORDS: loads and stores are in 64-bit words (shared/element.wgsl).
// Workgroups of group.z = 1 do the second direction of a layer.
#import block
#import element

// What differs between the directions of a layer, which are done side by side.
struct Direction {
    weight_offset: u32,
    next_offset: u32, own_offset: u32,      // of d_recurrent
    gi_offset: u32, y_offset: u32,
    state_offset: u32, gates_offset: u32, carry_offset: u32, mask_offset: u32,
    time: u32,                              // a row is valid while time < its length
    has_carry: u32,                         // whether the carry holds anything yet
    unused: u32,
}

struct Params {
    rows: u32, hidden: u32, k: u32,         // B, H, K; K is 0 at the last step, which no product follows
    recurrent_stride: u32, gi_stride: u32, y_stride: u32, gates_stride: u32,
    masked: u32,                            // whether rows have lengths
    unused1: u32, unused2: u32, unused3: u32, unused4: u32,
    directions: array<Direction, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<Single>;              // [.., K, H]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;                // [B]
@group(0) @binding(3) var<storage, read> d_y: array<Element>;                // [B, H], rows y_stride apart
@group(0) @binding(4) var<storage, read> states: array<Element>;             // [B, H], before the step
@group(0) @binding(5) var<storage, read> gates: array<Element>;              // [B, 4H], rows gates_stride apart: r, z, n, W_hn h + b_hn
@group(0) @binding(6) var<storage, read_write> d_recurrent: array<Element>;  // [.., B, K]: 3H columns are this kernel's
@group(0) @binding(7) var<storage, read_write> d_gi: array<Element>;         // [B, 3H], rows gi_stride apart
@group(0) @binding(8) var<storage, read_write> carry: array<Element>;        // [B, H]

// That of this workgroup: group.z.
var<private> direction: Direction;

#import load(weight)
#import load(d_y)
#import load(states)
#import load(gates)
#import load(d_recurrent)
#import store(d_recurrent)
#import store(d_gi)
#import load(carry)
#import store(carry)

// Elements k..k+3 (zero past K) of a row (clamped) of the next step's d_recurrent.
fn part_of_recurrent(row: u32, k: u32) -> vec4f {
    let start = direction.next_offset + min(row, params.rows - 1u) * params.recurrent_stride;
    return load_d_recurrent_padded(start + k, start + params.k);
}

// W at rows k..k+3 (any finite value past K, where d_recurrent counts as 0), columns column..column+3 (clamped).
fn block_of_weight(k: u32, column: u32) -> array<vec4f, 4> {
    var block: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
        let start = direction.weight_offset + min(k + i, params.k - 1u) * params.hidden;
        let end = start + params.hidden;
        block[i] = load_weight(min(start + column, end - WIDTH), end);
    }
    return block;
}

// What comes to the state through the products of the next step, and round its gates.
fn through_next(row: u32, column: u32, sum: vec4f) -> vec4f {
    let at = direction.carry_offset + row * params.hidden;
    let carried = select(vec4f(), load_carry(at + column, at + params.hidden), vec4<bool>(direction.has_carry != 0u));
#ifdef DROPOUT
    let mask = direction.mask_offset + row * params.hidden;
    return fma(sum, load_states(mask + column, mask + params.hidden), carried);
#else
    return sum + carried;
#endif
}

// The gates' gradients for four columns of one row, from what comes through the next step.
fn finish(row: u32, column: u32, from_next: vec4f) {
    let h = params.hidden;
    let valid = vec4<bool>(params.masked == 0u || direction.time < lengths[row]);
    let at = row * h;
    var d = from_next;
    let from_y = direction.y_offset + row * params.y_stride;
    d += select(vec4f(), load_d_y(from_y + column, from_y + h), valid);
    let old = load_states(direction.state_offset + at + column, direction.state_offset + at + h);
    var gate: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
        let start = direction.gates_offset + row * params.gates_stride + i * h;
        gate[i] = load_gates(start + column, start + h);
    }
    let r = gate[0];
    let z = gate[1];
    let n = gate[2];
    let d_z = d * (old - n) * z * (1.0 - z);
    let d_n = d * (1.0 - z) * (1.0 - n * n);
    let d_r = d_n * gate[3] * r * (1.0 - r);
    let of_input = array<vec4f, 3>(d_r, d_z, d_n);
    let of_state = array<vec4f, 3>(d_r, d_z, d_n * r);
    for (var i = 0u; i < 3u; i++) {
        let gi = direction.gi_offset + row * params.gi_stride + i * h;
        store_d_gi(gi + column, gi + h, select(vec4f(), of_input[i], valid));
        let gh = direction.own_offset + row * params.recurrent_stride + i * h;
        store_d_recurrent(gh + column, gh + h, select(vec4f(), of_state[i], valid));
    }
    store_carry(direction.carry_offset + at + column, direction.carry_offset + at + h, select(d, z * d, valid));
}

#ifdef SUBGROUPS
// The sums pass through the carry's own memory, so that the loop over rows below needs no array in registers: compilers unroll
// a loop over such an array, and the gates' arithmetic for 32 rows at once costs seconds to compile and spills.
fn stage(row: u32, column: u32, sum: vec4f) {
    if (row >= params.rows || column >= params.hidden) { return; }
    let at = direction.carry_offset + row * params.hidden;
    store_carry(at + column, at + params.hidden, through_next(row, column, sum));
}

fn finish_staged(row: u32, column: u32) {
    if (row >= params.rows || column >= params.hidden) { return; }
    let at = direction.carry_offset + row * params.hidden;
    finish(row, column, load_carry(at + column, at + params.hidden));
}

const PARTS = ROWS / LANES;             // vec4s of d_recurrent that a lane holds for four steps of k

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    direction = params.directions[group.z];
    let row0 = group.y * ROWS;
    let column = (group.x * LANES + lane) * 4u;
    var sum: array<vec4f, ROWS>;
    for (var k = 0u; k < params.k; k += 4u) {
        var share: array<vec4f, PARTS>;
        for (var p = 0u; p < PARTS; p++) { share[p] = part_of_recurrent(row0 + p * LANES + lane, k); }
        let block = block_of_weight(k, column);
        for (var r = 0u; r < ROWS; r++) {
            sum[r] = add_product(sum[r], subgroupShuffle(share[r / LANES], r % LANES), block);
        }
    }
    for (var r = 0u; r < ROWS; r++) { stage(row0 + r, column, sum[r]); }
    for (var r = 0u; r < ROWS; r++) { finish_staged(row0 + r, column); }
}
#else
#import slices

@compute @workgroup_size(LANES, GROUPS, SLICES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    direction = params.directions[group.z];
    let row0 = (group.y * GROUPS + local.y) * ROWS;
    let column = (group.x * LANES + local.x) * 4u;
    var sum: Sums;
    // All loads of eight steps are under way before the first is used.
    for (var k = local.z * 8u; k < params.k; k += SLICES * 8u) {
        let block = block_of_weight(k, column);
        let next_block = block_of_weight(k + 4u, column);
        var rows: Sums;
        var next_rows: Sums;
        for (var r = 0u; r < ROWS; r++) {
            rows[r] = part_of_recurrent(row0 + r, k);
            next_rows[r] = part_of_recurrent(row0 + r, k + 4u);
        }
        for (var r = 0u; r < ROWS; r++) {
            sum[r] = add_product(add_product(sum[r], rows[r], block), next_rows[r], next_block);
        }
    }
    merge(&sum, local.z, local.y * LANES + local.x);
    if (local.z > 0u) { return; }
    for (var r = 0u; r < ROWS; r++) {
        if (row0 + r < params.rows && column < params.hidden) { finish(row0 + r, column, through_next(row0 + r, column, sum[r])); }
    }
}
#endif
