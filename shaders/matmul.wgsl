// C[batch] = activation(op(A) · op(B) + bias), f32, row-major with leading dimensions.
// op(A) is [M, K] (A is [K, M] under TRANSPOSE_A), op(B) is [K, N] (B is [N, K] under TRANSPOSE_B).
//
// SUBGROUPS: one subgroup per workgroup computes ROWS x (LANES * COLUMNS * 4) elements in registers; each lane loads its own
// part of A, and the subgroup passes it round. Otherwise: a workgroup of LANES x GROUPS invocations computes
// (GROUPS * ROWS) x (LANES * COLUMNS * 4) elements from tiles in workgroup memory.
// VECTOR: leading dimensions, offsets, batch strides and the extents that rows run over are multiples of 4: 16-byte loads serve.
#import math

struct Params {
    m: u32, n: u32, k: u32,
    a_offset: u32, a_stride: u32, a_batch: u32,
    b_offset: u32, b_stride: u32, b_batch: u32,
    c_offset: u32, c_stride: u32, c_batch: u32,
    has_bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> a: array<vec4f>;            // [batch, M, K] or [batch, K, M]
@group(0) @binding(2) var<storage, read> b: array<vec4f>;            // [batch, K, N] or [batch, N, K]
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;         // [N]
@group(0) @binding(4) var<storage, read_write> c: array<vec4f>;      // [batch, M, N]

fn load_a(at: u32, end: u32) -> vec4f { return a[at / 4u]; }
fn load_b(at: u32, end: u32) -> vec4f { return b[at / 4u]; }
fn load_bias(at: u32) -> vec4f { return bias[min(at, params.n - 4u) / 4u]; }
#else
@group(0) @binding(1) var<storage, read> a: array<f32>;              // [batch, M, K] or [batch, K, M]
@group(0) @binding(2) var<storage, read> b: array<f32>;              // [batch, K, N] or [batch, N, K]
@group(0) @binding(3) var<storage, read> bias: array<f32>;           // [N]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;        // [batch, M, N]

// Four elements from `at` on; those at `end` and past it are 0, so that neither a tail nor what lies behind it counts.
fn load_a(at: u32, end: u32) -> vec4f {
    let i = min(vec4u(at) + vec4u(0u, 1u, 2u, 3u), vec4u(end - 1u));
    return select(vec4f(), vec4f(a[i.x], a[i.y], a[i.z], a[i.w]), vec4u(at) + vec4u(0u, 1u, 2u, 3u) < vec4u(end));
}
fn load_b(at: u32, end: u32) -> vec4f {
    let i = min(vec4u(at) + vec4u(0u, 1u, 2u, 3u), vec4u(end - 1u));
    return select(vec4f(), vec4f(b[i.x], b[i.y], b[i.z], b[i.w]), vec4u(at) + vec4u(0u, 1u, 2u, 3u) < vec4u(end));
}
fn load_bias(at: u32) -> vec4f {
    let i = min(vec4u(at) + vec4u(0u, 1u, 2u, 3u), vec4u(params.n - 1u));
    return vec4f(bias[i.x], bias[i.y], bias[i.z], bias[i.w]);
}
#endif

#ifdef VECTOR
const WIDTH = 4u;                       // a clamped column still has its whole vec4 inside the row
fn exists(k: u32) -> bool { return true; }      // four steps of k at a time, and K is a multiple of four
#else
const WIDTH = 1u;
fn exists(k: u32) -> bool { return k < params.k; }
#endif

fn transpose(x: array<vec4f, 4>) -> array<vec4f, 4> {
    return array<vec4f, 4>(
        vec4f(x[0].x, x[1].x, x[2].x, x[3].x),
        vec4f(x[0].y, x[1].y, x[2].y, x[3].y),
        vec4f(x[0].z, x[1].z, x[2].z, x[3].z),
        vec4f(x[0].w, x[1].w, x[2].w, x[3].w));
}

// op(B) at rows k..k+3 (zero past K), columns n..n+3 (clamped).
fn block_of_b(base: u32, k: u32, n: u32) -> array<vec4f, 4> {
#ifdef TRANSPOSE_B
    var block: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
        let start = base + min(n + i, params.n - 1u) * params.b_stride;
        block[i] = load_b(start + k, start + params.k);
    }
    return transpose(block);
#else
    var block: array<vec4f, 4>;
    for (var i = 0u; i < 4u; i++) {
        if (exists(k + i)) {
            let start = base + (k + i) * params.b_stride;
            block[i] = load_b(start + min(n, params.n - WIDTH), start + params.n);
        }
    }
    return block;
#endif
}

fn store(base: u32, row: u32, column: u32, sum: vec4f) {
    if (row >= params.m || column >= params.n) { return; }
    let at = base + row * params.c_stride + column;
    var value = sum;
#ifdef ACCUMULATE
#ifdef VECTOR
    value += c[at / 4u];
#else
    let i = min(vec4u(at) + vec4u(0u, 1u, 2u, 3u), vec4u(at + params.n - 1u - column));
    value += vec4f(c[i.x], c[i.y], c[i.z], c[i.w]);
#endif
#endif
#ifdef TANH
    value = tanh4(value);
#endif
#ifdef SIGMOID
    value = sigmoid4(value);
#endif
#ifdef VECTOR
    c[at / 4u] = value;
#else
    c[at] = value.x;
    if (column + 1u < params.n) { c[at + 1u] = value.y; }
    if (column + 2u < params.n) { c[at + 2u] = value.z; }
    if (column + 3u < params.n) { c[at + 3u] = value.w; }
#endif
}

#ifdef SUBGROUPS
const PARTS = ROWS / LANES;             // vec4s of A that a lane holds for four steps of k
const SPAN = ROWS / 4u;                 // groups of four rows

// This lane's share of the ROWS x 4 tile of op(A) at k.
fn share_of_a(base: u32, row0: u32, k: u32, lane: u32) -> array<vec4f, PARTS> {
    var share: array<vec4f, PARTS>;
    for (var p = 0u; p < PARTS; p++) {
        let i = p * LANES + lane;
#ifdef TRANSPOSE_A
        let start = base + (k + i / SPAN) * params.a_stride;
        if (exists(k + i / SPAN)) {
            share[p] = load_a(start + min(row0 + (i % SPAN) * 4u, params.m - WIDTH), start + params.m);
        }
#else
        let start = base + min(row0 + i, params.m - 1u) * params.a_stride;
        share[p] = load_a(start + k, start + params.k);
#endif
    }
    return share;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let row0 = group.y * ROWS;
    let column0 = (group.x * LANES * COLUMNS + lane) * 4u;
    let a_base = params.a_offset + group.z * params.a_batch;
    let b_base = params.b_offset + group.z * params.b_batch;
    // Indexed by the loops' own variables: that is what makes compilers unroll them and keep arrays in registers.
    var sum: array<array<array<vec4f, COLUMNS>, 4>, SPAN>;
    if (params.has_bias != 0u) {
        for (var j = 0u; j < COLUMNS; j++) {
            let start = load_bias(column0 + j * LANES * 4u);
            for (var s = 0u; s < SPAN; s++) {
                for (var i = 0u; i < 4u; i++) { sum[s][i][j] = start; }
            }
        }
    }
    for (var k = 0u; k < params.k; k += 4u) {
        var share = share_of_a(a_base, row0, k, lane);
        var block: array<array<vec4f, 4>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) { block[j] = block_of_b(b_base, k, column0 + j * LANES * 4u); }
#ifdef TRANSPOSE_A
        for (var kk = 0u; kk < 4u; kk++) {
            for (var s = 0u; s < SPAN; s++) {
                let x = subgroupShuffle(share[(kk * SPAN + s) / LANES], (kk * SPAN + s) % LANES);
                for (var j = 0u; j < COLUMNS; j++) {
                    let y = block[j][kk];
                    sum[s][0][j] = fma(x.xxxx, y, sum[s][0][j]);
                    sum[s][1][j] = fma(x.yyyy, y, sum[s][1][j]);
                    sum[s][2][j] = fma(x.zzzz, y, sum[s][2][j]);
                    sum[s][3][j] = fma(x.wwww, y, sum[s][3][j]);
                }
            }
        }
#else
        for (var s = 0u; s < SPAN; s++) {
            for (var i = 0u; i < 4u; i++) {
                let x = subgroupShuffle(share[(s * 4u + i) / LANES], (s * 4u + i) % LANES);
                for (var j = 0u; j < COLUMNS; j++) {
                    let y = block[j];
                    sum[s][i][j] =
                        fma(x.wwww, y[3], fma(x.zzzz, y[2], fma(x.yyyy, y[1], fma(x.xxxx, y[0], sum[s][i][j]))));
                }
            }
        }
#endif
    }
    let c_base = params.c_offset + group.z * params.c_batch;
    for (var s = 0u; s < SPAN; s++) {
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < COLUMNS; j++) {
                store(c_base, row0 + s * 4u + i, column0 + j * LANES * 4u, sum[s][i][j]);
            }
        }
    }
}
#else
const DEPTH = 16u;                      // steps of k between barriers
const TILE_M = GROUPS * ROWS / 4u;      // vec4s
const TILE_N = LANES * COLUMNS;         // vec4s

var<workgroup> a_tile: array<vec4f, DEPTH * TILE_M>;    // [DEPTH, TILE_M]
var<workgroup> b_tile: array<vec4f, DEPTH * TILE_N>;    // [DEPTH, TILE_N]

// op(A) transposed: rows k..k+3 (zero past K), columns m..m+3 (clamped).
fn block_of_a(base: u32, k: u32, m: u32) -> array<vec4f, 4> {
    var block: array<vec4f, 4>;
#ifdef TRANSPOSE_A
    for (var i = 0u; i < 4u; i++) {
        if (exists(k + i)) {
            let start = base + (k + i) * params.a_stride;
            block[i] = load_a(start + min(m, params.m - WIDTH), start + params.m);
        }
    }
    return block;
#else
    for (var i = 0u; i < 4u; i++) {
        let start = base + min(m + i, params.m - 1u) * params.a_stride;
        block[i] = load_a(start + k, start + params.k);
    }
    return transpose(block);
#endif
}

@compute @workgroup_size(LANES, GROUPS)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) local: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let row0 = group.y * TILE_M * 4u;
    let column0 = group.x * TILE_N * 4u;
    let a_base = params.a_offset + group.z * params.a_batch;
    let b_base = params.b_offset + group.z * params.b_batch;
    var sum: array<array<vec4f, COLUMNS>, ROWS>;
    if (params.has_bias != 0u) {
        for (var j = 0u; j < COLUMNS; j++) {
            let start = load_bias(column0 + (j * LANES + local.x) * 4u);
            for (var r = 0u; r < ROWS; r++) { sum[r][j] = start; }
        }
    }
    for (var k0 = 0u; k0 < params.k; k0 += DEPTH) {
        for (var i = index; i < DEPTH / 4u * TILE_M; i += LANES * GROUPS) {
            let k = i / TILE_M * 4u;
            var block: array<vec4f, 4>;
            if (k0 + k < params.k) { block = block_of_a(a_base, k0 + k, row0 + i % TILE_M * 4u); }
            for (var kk = 0u; kk < 4u; kk++) { a_tile[(k + kk) * TILE_M + i % TILE_M] = block[kk]; }
        }
        for (var i = index; i < DEPTH / 4u * TILE_N; i += LANES * GROUPS) {
            let k = i / TILE_N * 4u;
            var block: array<vec4f, 4>;
            if (k0 + k < params.k) { block = block_of_b(b_base, k0 + k, column0 + i % TILE_N * 4u); }
            for (var kk = 0u; kk < 4u; kk++) { b_tile[(k + kk) * TILE_N + i % TILE_N] = block[kk]; }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            for (var r = 0u; r < ROWS; r += 4u) {
                let x = a_tile[k * TILE_M + (local.y * ROWS + r) / 4u];
                for (var j = 0u; j < COLUMNS; j++) {
                    let y = b_tile[k * TILE_N + j * LANES + local.x];
                    sum[r][j] = fma(x.xxxx, y, sum[r][j]);
                    sum[r + 1u][j] = fma(x.yyyy, y, sum[r + 1u][j]);
                    sum[r + 2u][j] = fma(x.zzzz, y, sum[r + 2u][j]);
                    sum[r + 3u][j] = fma(x.wwww, y, sum[r + 3u][j]);
                }
            }
        }
        workgroupBarrier();
    }
    let c_base = params.c_offset + group.z * params.c_batch;
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < COLUMNS; j++) {
            store(c_base, row0 + local.y * ROWS + r, column0 + (j * LANES + local.x) * 4u, sum[r][j]);
        }
    }
}
#endif
