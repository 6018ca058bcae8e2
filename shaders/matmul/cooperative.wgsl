// The product of matmul.wgsl by cooperative matrices: small square ones that the lanes of a subgroup hold and multiply together, as
// GPUs have units for. C[batch] = activation(op(A) · op(B) + bias), row-major with leading dimensions; f16 under HALF_a, HALF_b, HALF_c.
// op(A) is [M, K] (A is [K, M] under TRANSPOSE_A), op(B) is [K, N] (B is [N, K] under TRANSPOSE_B). Factors are multiplied as f16, or
// under SINGLE as f32, and summed in f32.
//
// A workgroup computes 64 x 64 elements, each LANES of its invocations a quarter. LANES is the size of a subgroup, or a multiple of it:
// then several subgroups compute and store the same. Some drivers choose between two sizes, and a trial finds LANES. So nothing asks
// which subgroup it is, and there is no operation on subgroups: a driver of NVIDIA's (595) crashed on modules with both.
// EIGHTS: matrices of 8 x 8, a quarter being 4 x 4 of them; otherwise of 16 x 16, a quarter being 2 x 2. They have names, for there are no
// arrays of them. A matrix that lies row by row is loaded by coopLoadT, one that lies column by column by coopLoad.
// SCALARS: workgroup memory of single elements: MSL loads no matrix from vectors.
// VECTOR_a, VECTOR_b, VECTOR_c: offset, stride, batch stride and row length of that matrix are multiples of 4.
#import product(c)
#import staged(a)
#import staged(b)

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Word_a>;            // [batch, M, K] or [batch, K, M]
@group(0) @binding(2) var<storage, read> b: array<Word_b>;            // [batch, K, N] or [batch, N, K]
#ifdef VECTOR_c
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;          // [batch, N]
@group(0) @binding(4) var<storage, read_write> c: array<vec4<One_c>>; // [batch, M, N]
#else
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [batch, N]
@group(0) @binding(4) var<storage, read_write> c: array<One_c>;       // [batch, M, N]
#endif
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;      // [batch, M], written under APART alone

#ifdef SINGLE
alias Staged = f32;
const DEPTH = 16u;                      // steps of k between barriers
const PAD = 4u;                         // 16 bytes: every row begins at a multiple of it, and not in the bank of the one before
#else
alias Staged = f16;
const DEPTH = 32u;
const PAD = 8u;
#endif
#ifdef EIGHTS
const SIZE = 8u;
alias Left = coop_mat8x8<Staged, A>;
alias Right = coop_mat8x8<Staged, B>;
alias Sums = coop_mat8x8<f32, C>;
#else
const SIZE = 16u;
alias Left = coop_mat16x16<Staged, A>;
alias Right = coop_mat16x16<Staged, B>;
alias Sums = coop_mat16x16<f32, C>;
#endif
const SIDE = 64u;                       // of the square that a workgroup computes
const QUARTER = 32u;                    // the side of a quarter
const WORKERS = 4u * LANES;             // invocations
const MOVES = SIDE * DEPTH / 4u / WORKERS; // pieces of a factor that one of them moves

// The length of a staged line, and how far a step along m or n, or along k, goes in it.
#ifdef TRANSPOSE_A
const LINE_A = SIDE;
const A_M = 1u;
const A_K = SIDE + PAD;
#else
const LINE_A = DEPTH;
const A_M = DEPTH + PAD;
const A_K = 1u;
#endif
#ifdef TRANSPOSE_B
const LINE_B = DEPTH;
const B_N = DEPTH + PAD;
const B_K = 1u;
#else
const LINE_B = SIDE;
const B_N = 1u;
const B_K = SIDE + PAD;
#endif
const STRIDE_A = LINE_A + PAD;
const STRIDE_B = LINE_B + PAD;
const LINES_A = SIDE * DEPTH / LINE_A;
const LINES_B = SIDE * DEPTH / LINE_B;

// As the factors are stored, line after line.
#ifdef SCALARS
const UNIT = 1u;
var<workgroup> a_tile: array<Staged, LINES_A * STRIDE_A>;
var<workgroup> b_tile: array<Staged, LINES_B * STRIDE_B>;
fn put_a(at: u32, piece: vec4<Staged>) {
    a_tile[at] = piece.x;
    a_tile[at + 1u] = piece.y;
    a_tile[at + 2u] = piece.z;
    a_tile[at + 3u] = piece.w;
}
fn put_b(at: u32, piece: vec4<Staged>) {
    b_tile[at] = piece.x;
    b_tile[at + 1u] = piece.y;
    b_tile[at + 2u] = piece.z;
    b_tile[at + 3u] = piece.w;
}
#else
const UNIT = 4u;
var<workgroup> a_tile: array<vec4<Staged>, LINES_A * STRIDE_A / UNIT>;
var<workgroup> b_tile: array<vec4<Staged>, LINES_B * STRIDE_B / UNIT>;
fn put_a(at: u32, piece: vec4<Staged>) { a_tile[at / UNIT] = piece; }
fn put_b(at: u32, piece: vec4<Staged>) { b_tile[at / UNIT] = piece; }
#endif
// Of each quarter, SIZE rows of its sums on their way out: nobody knows which lane holds what of a matrix.
var<workgroup> band: array<f32, 4u * SIZE * QUARTER>;

fn left(m: u32, k: u32) -> Left {
    let first = &a_tile[(m * A_M + k * A_K) / UNIT];
    let stride = STRIDE_A / UNIT;
#ifdef TRANSPOSE_A
    return coopLoad<Left>(first, stride);
#else
    return coopLoadT<Left>(first, stride);
#endif
}

fn right(k: u32, n: u32) -> Right {
    let first = &b_tile[(n * B_N + k * B_K) / UNIT];
    let stride = STRIDE_B / UNIT;
#ifdef TRANSPOSE_B
    return coopLoad<Right>(first, stride);
#else
    return coopLoadT<Right>(first, stride);
#endif
}

// Pointer and stride have names, or naga has no SPIR-V for the store.
fn put_sums(at: u32, sum: Sums) {
    let first = &band[at];
    let stride = QUARTER;
    coopStoreT(sum, first, stride);
}

// Stores the band of a quarter whose first element is (row, column).
fn store_band(batch: u32, quarter: u32, lane: u32, row: u32, column: u32) {
    workgroupBarrier();
    let base = params.c_offset + batch * params.c_batch;
    for (var i = lane * 4u; i < SIZE * QUARTER; i += LANES * 4u) {
        let at = quarter * SIZE * QUARTER + i;
        let n = column + i % QUARTER;
        var sum = vec4f(band[at], band[at + 1u], band[at + 2u], band[at + 3u]);
        if (params.has_bias != 0u) { sum += load_bias(batch, n); }
        store(base, row + i / QUARTER, n, sum);
    }
    workgroupBarrier();
}

@compute @workgroup_size(WORKERS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) worker: u32) {
    let quarter = worker / LANES;
    let lane = worker % LANES;
    let row0 = group.x * SIDE;
    let column0 = group.y * SIDE;
    // Inside the square.
    let m = quarter / 2u * QUARTER;
    let n = quarter % 2u * QUARTER;
    let a_base = params.a_offset + group.z * params.a_batch;
    let b_base = params.b_offset + group.z * params.b_batch;
    var sum00 = Sums();
    var sum01 = Sums();
    var sum10 = Sums();
    var sum11 = Sums();
#ifdef EIGHTS
    var sum02 = Sums();
    var sum03 = Sums();
    var sum12 = Sums();
    var sum13 = Sums();
    var sum20 = Sums();
    var sum21 = Sums();
    var sum22 = Sums();
    var sum23 = Sums();
    var sum30 = Sums();
    var sum31 = Sums();
    var sum32 = Sums();
    var sum33 = Sums();
#endif
#ifdef SUMS
    // Of four rows of op(A), over the steps that this invocation moves.
    var part_sum = vec4f();
#endif
    for (var start = 0u; start < params.k; start += DEPTH) {
        // All loads are under way before the first is waited for.
        var a_pieces: array<vec4<Staged>, MOVES>;
        for (var p = 0u; p < MOVES; p++) {
            let line = (p * WORKERS + worker) / (LINE_A / 4u);
            let column = (p * WORKERS + worker) % (LINE_A / 4u) * 4u;
#ifdef TRANSPOSE_A
            a_pieces[p] = staged_a(a_base, params.a_stride, start + line, params.k, row0 + column, params.m);
#else
            a_pieces[p] = staged_a(a_base, params.a_stride, row0 + line, params.m, start + column, params.k);
#endif
        }
        var b_pieces: array<vec4<Staged>, MOVES>;
        for (var p = 0u; p < MOVES; p++) {
            let line = (p * WORKERS + worker) / (LINE_B / 4u);
            let column = (p * WORKERS + worker) % (LINE_B / 4u) * 4u;
#ifdef TRANSPOSE_B
            b_pieces[p] = staged_b(b_base, params.b_stride, column0 + line, params.n, start + column, params.k);
#else
            b_pieces[p] = staged_b(b_base, params.b_stride, start + line, params.k, column0 + column, params.n);
#endif
        }
        for (var p = 0u; p < MOVES; p++) {
            let i = p * WORKERS + worker;
            put_a(i / (LINE_A / 4u) * STRIDE_A + i % (LINE_A / 4u) * 4u, a_pieces[p]);
            put_b(i / (LINE_B / 4u) * STRIDE_B + i % (LINE_B / 4u) * 4u, b_pieces[p]);
#ifdef SUMS
            part_sum += vec4f(a_pieces[p]);
#endif
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIZE) {
            let b0 = right(k, n);
            let b1 = right(k, n + SIZE);
            let a0 = left(m, k);
            let a1 = left(m + SIZE, k);
            sum00 = coopMultiplyAdd(a0, b0, sum00);
            sum01 = coopMultiplyAdd(a0, b1, sum01);
            sum10 = coopMultiplyAdd(a1, b0, sum10);
            sum11 = coopMultiplyAdd(a1, b1, sum11);
#ifdef EIGHTS
            let b2 = right(k, n + 2u * SIZE);
            let b3 = right(k, n + 3u * SIZE);
            sum02 = coopMultiplyAdd(a0, b2, sum02);
            sum03 = coopMultiplyAdd(a0, b3, sum03);
            sum12 = coopMultiplyAdd(a1, b2, sum12);
            sum13 = coopMultiplyAdd(a1, b3, sum13);
            let a2 = left(m + 2u * SIZE, k);
            sum20 = coopMultiplyAdd(a2, b0, sum20);
            sum21 = coopMultiplyAdd(a2, b1, sum21);
            sum22 = coopMultiplyAdd(a2, b2, sum22);
            sum23 = coopMultiplyAdd(a2, b3, sum23);
            let a3 = left(m + 3u * SIZE, k);
            sum30 = coopMultiplyAdd(a3, b0, sum30);
            sum31 = coopMultiplyAdd(a3, b1, sum31);
            sum32 = coopMultiplyAdd(a3, b2, sum32);
            sum33 = coopMultiplyAdd(a3, b3, sum33);
#endif
        }
        workgroupBarrier();
    }
#ifdef SUMS
    // An invocation has moved pieces of the same four rows throughout, and so have those that lie SIDE / 4 apart.
    band[worker * 4u] = part_sum.x;
    band[worker * 4u + 1u] = part_sum.y;
    band[worker * 4u + 2u] = part_sum.z;
    band[worker * 4u + 3u] = part_sum.w;
    workgroupBarrier();
    if (group.y == 0u && worker < SIDE / 4u) {
        var row_sum = vec4f();
        for (var at = worker * 4u; at < WORKERS * 4u; at += SIDE) {
            row_sum += vec4f(band[at], band[at + 1u], band[at + 2u], band[at + 3u]);
        }
        store_sums(group.z, row0 + worker * 4u, row_sum);
    }
    workgroupBarrier();
#endif
    let row = row0 + m;
    let column = column0 + n;
    let at = quarter * SIZE * QUARTER;
    put_sums(at, sum00);
    put_sums(at + SIZE, sum01);
#ifdef EIGHTS
    put_sums(at + 2u * SIZE, sum02);
    put_sums(at + 3u * SIZE, sum03);
#endif
    store_band(group.z, quarter, lane, row, column);
    put_sums(at, sum10);
    put_sums(at + SIZE, sum11);
#ifdef EIGHTS
    put_sums(at + 2u * SIZE, sum12);
    put_sums(at + 3u * SIZE, sum13);
#endif
    store_band(group.z, quarter, lane, row + SIZE, column);
#ifdef EIGHTS
    put_sums(at, sum20);
    put_sums(at + SIZE, sum21);
    put_sums(at + 2u * SIZE, sum22);
    put_sums(at + 3u * SIZE, sum23);
    store_band(group.z, quarter, lane, row + 2u * SIZE, column);
    put_sums(at, sum30);
    put_sums(at + SIZE, sum31);
    put_sums(at + 2u * SIZE, sum32);
    put_sums(at + 3u * SIZE, sum33);
    store_band(group.z, quarter, lane, row + 3u * SIZE, column);
#endif
}
