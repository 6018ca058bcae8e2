// C[batch] = activation(op(A) · op(B) + bias), row-major with leading dimensions; f16 under HALF_A, HALF_B, HALF_C, summed in f32.
// op(A) is [M, K] (A is [K, M] under TRANSPOSE_A), op(B) is [K, N] (B is [N, K] under TRANSPOSE_B).
//
// SUBGROUPS: one subgroup per workgroup computes ROWS x (LANES * COLUMNS * 4) elements in registers; each lane loads its own
// part of A, and the subgroup passes it round. Otherwise: a workgroup of LANES x GROUPS invocations computes
// (GROUPS * ROWS) x (LANES * COLUMNS * 4) elements from tiles in workgroup memory; or SLICES as many, each its part of the sums,
// where tiles are too few to keep a GPU busy. Workgroups run down the rows of C first:
// neighbours share the columns of B, which stay in a cache, and go through A once per column of tiles.
// VECTOR_A, VECTOR_B, VECTOR_C: offset, stride, batch stride and row length of that matrix are multiples of 4: 16-byte loads
// serve, for A and B in 64-bit words under WIDE: llvmpipe loads lane after lane, at a cost per word. TEXTURE_A, TEXTURE_B: that matrix
// has been copied into a texture, from which some llvmpipe loads in less time. TAIL: K is no multiple of 4; the steps past the last
// block of four come by themselves, and burden no other.
// SUMS: the sums of op(A)'s rows are stored, too: where C is the gradient of a weight, they are that of a bias. They lie in C's binding,
// or under APART in one of their own.
#import block
#import factor(A)
#import factor(B)
#import product(C)

@group(0) @binding(0) var<uniform> params: Params;
#ifdef TEXTURE_A
@group(0) @binding(1) var A: texture_2d<f32>;                         // [batch, M, K] or [batch, K, M]
#else
@group(0) @binding(1) var<storage, read> A: array<Word_A>;            // [batch, M, K] or [batch, K, M]
#endif
#ifdef TEXTURE_B
@group(0) @binding(2) var B: texture_2d<f32>;                         // [batch, K, N] or [batch, N, K]
#else
@group(0) @binding(2) var<storage, read> B: array<Word_B>;            // [batch, K, N] or [batch, N, K]
#endif
#ifdef VECTOR_C
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;          // [batch, N]
@group(0) @binding(4) var<storage, read_write> C: array<vec4<One_C>>; // [batch, M, N]
#else
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [batch, N]
@group(0) @binding(4) var<storage, read_write> C: array<One_C>;       // [batch, M, N]
#endif
@group(0) @binding(5) var<storage, read_write> sums: array<f32>;      // [batch, M], written under APART alone

// The first of four rows or columns, kept inside the matrix: elements loaded past its end are never stored.
#ifdef VECTOR_A
fn inside_m(m: u32) -> u32 { return min(m, params.m - 4u); }
#else
fn inside_m(m: u32) -> u32 { return min(m, params.m - 1u); }
#endif
#ifdef VECTOR_B
fn inside_n(n: u32) -> u32 { return min(n, params.n - 4u); }
#else
fn inside_n(n: u32) -> u32 { return min(n, params.n - 1u); }
#endif

#ifdef TAIL
// Four rows of op(A), or four columns of op(B), at one of the last steps, which fill no block.
fn a_last(base: u32, m: u32, k: u32) -> vec4f {
#ifdef TRANSPOSE_A
    return across_A(base + k * params.a_stride + inside_m(m), inside_m(m), params.m);
#else
    return gather_A(vec4u(base + k) + four_at(m, params.m) * params.a_stride);
#endif
}
fn b_last(base: u32, n: u32, k: u32) -> vec4f {
#ifdef TRANSPOSE_B
    return gather_B(vec4u(base + k) + four_at(n, params.n) * params.b_stride);
#else
    return across_B(base + k * params.b_stride + inside_n(n), inside_n(n), params.n);
#endif
}
#endif

#ifdef SUBGROUPS
const PARTS = ROWS / LANES;             // vec4s of A that a lane holds for four steps of k
const SPAN = ROWS / 4u;                 // groups of four rows

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
    let row0 = group.x * ROWS;
    let column0 = (group.y * LANES * COLUMNS + lane) * 4u;
    let a_base = params.a_offset + group.z * params.a_batch;
    let b_base = params.b_offset + group.z * params.b_batch;
    // Indexed by the loops' own variables: that is what makes compilers unroll them and keep arrays in registers.
    var sum: array<array<array<vec4f, COLUMNS>, 4>, SPAN>;
    if (params.has_bias != 0u) {
        for (var j = 0u; j < COLUMNS; j++) {
            let start = load_bias(group.z, column0 + j * LANES * 4u);
            for (var s = 0u; s < SPAN; s++) {
                for (var i = 0u; i < 4u; i++) { sum[s][i][j] = start; }
            }
        }
    }
    // The offsets of this lane's next loads.
    var a_at: array<u32, PARTS>;
    for (var p = 0u; p < PARTS; p++) {
        let i = p * LANES + lane;
#ifdef TRANSPOSE_A
        a_at[p] = a_base + i / SPAN * params.a_stride + inside_m(row0 + i % SPAN * 4u);
#else
        a_at[p] = a_base + min(row0 + i, params.m - 1u) * params.a_stride;
#endif
    }
    var b_at: array<array<u32, 4>, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        for (var i = 0u; i < 4u; i++) {
            let n = column0 + j * LANES * 4u;
#ifdef TRANSPOSE_B
            b_at[j][i] = b_base + min(n + i, params.n - 1u) * params.b_stride;
#else
            b_at[j][i] = b_base + i * params.b_stride + inside_n(n);
#endif
        }
    }
#ifdef SUMS
    // Of four rows, at one of every four steps, as this lane loads them.
    var part_sum: array<vec4f, PARTS>;
#endif
    // Not up to a multiple of 4 that is computed before: with it llvmpipe takes a quarter longer for NT.
    for (var k = 0u; k + 3u < params.k; k += 4u) {
        // This lane's share of ROWS x 4 elements of op(A).
        var share: array<vec4f, PARTS>;
        for (var p = 0u; p < PARTS; p++) {
#ifdef TRANSPOSE_A
            let i = p * LANES + lane;
            share[p] = across_A(a_at[p], inside_m(row0 + i % SPAN * 4u), params.m);
            a_at[p] += 4u * params.a_stride;
#ifdef SUMS
            part_sum[p] += share[p];
#endif
#else
            share[p] = along_A(a_at[p]);
            a_at[p] += 4u;
#endif
        }
        var block: array<array<vec4f, 4>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) {
            for (var i = 0u; i < 4u; i++) {
#ifdef TRANSPOSE_B
                block[j][i] = along_B(b_at[j][i]);
                b_at[j][i] += 4u;
#else
                block[j][i] = across_B(b_at[j][i], inside_n(column0 + j * LANES * 4u), params.n);
                b_at[j][i] += 4u * params.b_stride;
#endif
            }
#ifdef TRANSPOSE_B
            block[j] = transpose(block[j]);
#endif
        }
        // Each sum is read and written once for four steps, and few other values are held at a time: most of the sums live in
        // memory, not in registers.
        for (var j = 0u; j < COLUMNS; j++) {
            let y = block[j];
            for (var s = 0u; s < SPAN; s++) {
                for (var i = 0u; i < 4u; i++) {
#ifdef TRANSPOSE_A
                    let row = vec4f(
                        subgroupShuffle(share[s / LANES][i], s % LANES),
                        subgroupShuffle(share[(SPAN + s) / LANES][i], (SPAN + s) % LANES),
                        subgroupShuffle(share[(2u * SPAN + s) / LANES][i], (2u * SPAN + s) % LANES),
                        subgroupShuffle(share[(3u * SPAN + s) / LANES][i], (3u * SPAN + s) % LANES));
#else
                    let row = subgroupShuffle(share[(s * 4u + i) / LANES], (s * 4u + i) % LANES);
#endif
                    sum[s][i][j] =
                        fma(row.wwww, y[3], fma(row.zzzz, y[2], fma(row.yyyy, y[1], fma(row.xxxx, y[0], sum[s][i][j]))));
                }
            }
        }
    }
#ifdef TAIL
    for (var k = params.k / 4u * 4u; k < params.k; k++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let y = b_last(b_base, column0 + j * LANES * 4u, k);
            for (var s = 0u; s < SPAN; s++) {
                let x = a_last(a_base, row0 + s * 4u, k);
                for (var i = 0u; i < 4u; i++) { sum[s][i][j] = fma(vec4f(x[i]), y, sum[s][i][j]); }
            }
        }
    }
#endif
#ifdef SUMS
    for (var s = 0u; s < SPAN; s++) {
        var row_sum = subgroupShuffle(part_sum[s / LANES], s % LANES)
            + subgroupShuffle(part_sum[(SPAN + s) / LANES], (SPAN + s) % LANES)
            + subgroupShuffle(part_sum[(2u * SPAN + s) / LANES], (2u * SPAN + s) % LANES)
            + subgroupShuffle(part_sum[(3u * SPAN + s) / LANES], (3u * SPAN + s) % LANES);
#ifdef TAIL
        for (var k = params.k / 4u * 4u; k < params.k; k++) { row_sum += a_last(a_base, row0 + s * 4u, k); }
#endif
        if (group.y == 0u && lane == 0u) { store_sums(group.z, row0 + s * 4u, row_sum); }
    }
#endif
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
const WORKERS = LANES * GROUPS;         // invocations of a slice
const BLOCKS_M = DEPTH / 4u * TILE_M;   // blocks of 4 x 4 elements, and how many of them one invocation moves
const BLOCKS_N = DEPTH / 4u * TILE_N;
const MOVES_M = (BLOCKS_M + WORKERS - 1u) / WORKERS;
const MOVES_N = (BLOCKS_N + WORKERS - 1u) / WORKERS;

// Of each slice: op(A) transposed [DEPTH, TILE_M], then op(B) [DEPTH, TILE_N]. At the end, the sums of half of the slices.
var<workgroup> tiles: array<vec4f, max(SLICES * DEPTH * (TILE_M + TILE_N), SLICES / 2u * ROWS * COLUMNS * WORKERS)>;

@compute @workgroup_size(LANES, GROUPS, SLICES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let worker = local.y * LANES + local.x;
    let row0 = group.x * TILE_M * 4u;
    let column0 = group.y * TILE_N * 4u;
    let a_tile = local.z * DEPTH * (TILE_M + TILE_N);
    let b_tile = a_tile + DEPTH * TILE_M;
    // The offsets of this invocation's next loads.
    let a_base = params.a_offset + group.z * params.a_batch;
    let b_base = params.b_offset + group.z * params.b_batch;
    var a_at: array<array<u32, 4>, MOVES_M>;
    for (var p = 0u; p < MOVES_M; p++) {
        let k = local.z * DEPTH + (p * WORKERS + worker) / TILE_M * 4u;
        let m = row0 + (p * WORKERS + worker) % TILE_M * 4u;
        for (var i = 0u; i < 4u; i++) {
#ifdef TRANSPOSE_A
            a_at[p][i] = a_base + (k + i) * params.a_stride + inside_m(m);
#else
            a_at[p][i] = a_base + min(m + i, params.m - 1u) * params.a_stride + k;
#endif
        }
    }
    var b_at: array<array<u32, 4>, MOVES_N>;
    for (var p = 0u; p < MOVES_N; p++) {
        let k = local.z * DEPTH + (p * WORKERS + worker) / TILE_N * 4u;
        let n = column0 + (p * WORKERS + worker) % TILE_N * 4u;
        for (var i = 0u; i < 4u; i++) {
#ifdef TRANSPOSE_B
            b_at[p][i] = b_base + min(n + i, params.n - 1u) * params.b_stride + k;
#else
            b_at[p][i] = b_base + (k + i) * params.b_stride + inside_n(n);
#endif
        }
    }
#ifdef TRANSPOSE_A
    let a_step = SLICES * DEPTH * params.a_stride;
#else
    let a_step = SLICES * DEPTH;
#endif
#ifdef TRANSPOSE_B
    let b_step = SLICES * DEPTH;
#else
    let b_step = SLICES * DEPTH * params.b_stride;
#endif
    var sum: array<array<vec4f, COLUMNS>, ROWS>;
#ifdef SUMS
    // Of four rows, over the steps that this invocation moves.
    var part_sum: array<vec4f, MOVES_M>;
#endif
    let blocks_end = params.k / 4u * 4u;
    for (var start = 0u; start < blocks_end; start += SLICES * DEPTH) {
        let k0 = start + local.z * DEPTH;
        // All loads are under way before the first is waited for.
        var a_blocks: array<array<vec4f, 4>, MOVES_M>;
        for (var p = 0u; p < MOVES_M; p++) {
            let block = p * WORKERS + worker;
            let k = k0 + block / TILE_M * 4u;
            if (k < blocks_end && block < BLOCKS_M) {
                for (var i = 0u; i < 4u; i++) {
#ifdef TRANSPOSE_A
                    a_blocks[p][i] = across_A(a_at[p][i], inside_m(row0 + block % TILE_M * 4u), params.m);
#else
                    a_blocks[p][i] = along_A(a_at[p][i]);
#endif
                }
            }
        }
        var b_blocks: array<array<vec4f, 4>, MOVES_N>;
        for (var p = 0u; p < MOVES_N; p++) {
            let block = p * WORKERS + worker;
            let k = k0 + block / TILE_N * 4u;
            if (k < blocks_end && block < BLOCKS_N) {
                for (var i = 0u; i < 4u; i++) {
#ifdef TRANSPOSE_B
                    b_blocks[p][i] = along_B(b_at[p][i]);
#else
                    b_blocks[p][i] = across_B(b_at[p][i], inside_n(column0 + block % TILE_N * 4u), params.n);
#endif
                }
            }
        }
        for (var p = 0u; p < MOVES_M; p++) {
            let block = p * WORKERS + worker;
            for (var i = 0u; i < 4u; i++) { a_at[p][i] += a_step; }
#ifdef SUMS
            for (var i = 0u; i < 4u; i++) { part_sum[p] += a_blocks[p][i]; }
#endif
#ifdef TRANSPOSE_A
            let columns = a_blocks[p];
#else
            let columns = transpose(a_blocks[p]);
#endif
            let at = a_tile + block / TILE_M * 4u * TILE_M + block % TILE_M;
            if (block < BLOCKS_M) {
                for (var i = 0u; i < 4u; i++) { tiles[at + i * TILE_M] = columns[i]; }
            }
        }
        for (var p = 0u; p < MOVES_N; p++) {
            let block = p * WORKERS + worker;
            for (var i = 0u; i < 4u; i++) { b_at[p][i] += b_step; }
#ifdef TRANSPOSE_B
            let rows = transpose(b_blocks[p]);
#else
            let rows = b_blocks[p];
#endif
            let at = b_tile + block / TILE_N * 4u * TILE_N + block % TILE_N;
            if (block < BLOCKS_N) {
                for (var i = 0u; i < 4u; i++) { tiles[at + i * TILE_N] = rows[i]; }
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += 4u) {
            // Constants are added last: they become part of the instruction.
            let x_at = a_tile + k * TILE_M + local.y * (ROWS / 4u);
            let y_at = b_tile + k * TILE_N + local.x;
            for (var i = 0u; i < 4u; i++) {
                var y: array<vec4f, COLUMNS>;
                for (var j = 0u; j < COLUMNS; j++) { y[j] = tiles[y_at + (i * TILE_N + j * LANES)]; }
                for (var r = 0u; r < ROWS; r += 4u) {
                    let x = tiles[x_at + (i * TILE_M + r / 4u)];
                    for (var j = 0u; j < COLUMNS; j++) {
                        sum[r][j] = fma(x.xxxx, y[j], sum[r][j]);
                        sum[r + 1u][j] = fma(x.yyyy, y[j], sum[r + 1u][j]);
                        sum[r + 2u][j] = fma(x.zzzz, y[j], sum[r + 2u][j]);
                        sum[r + 3u][j] = fma(x.wwww, y[j], sum[r + 3u][j]);
                    }
                }
            }
        }
        workgroupBarrier();
    }
#ifdef TAIL
    if (local.z == 0u) {
        for (var k = blocks_end; k < params.k; k++) {
            for (var j = 0u; j < COLUMNS; j++) {
                let y = b_last(b_base, column0 + (j * LANES + local.x) * 4u, k);
                for (var r = 0u; r < ROWS; r += 4u) {
                    let x = a_last(a_base, row0 + local.y * ROWS + r, k);
                    for (var i = 0u; i < 4u; i++) { sum[r + i][j] = fma(vec4f(x[i]), y, sum[r + i][j]); }
                }
            }
        }
    }
#endif
#ifdef SUMS
    for (var p = 0u; p < MOVES_M; p++) {
        let block = p * WORKERS + worker;
        if (block < BLOCKS_M) { tiles[local.z * BLOCKS_M + block] = part_sum[p]; }
    }
    workgroupBarrier();
    if (group.y == 0u && local.z == 0u && worker < TILE_M) {
        var row_sum = vec4f();
        for (var part = 0u; part < SLICES * DEPTH / 4u; part++) { row_sum += tiles[part * TILE_M + worker]; }
#ifdef TAIL
        for (var k = blocks_end; k < params.k; k++) { row_sum += a_last(a_base, row0 + worker * 4u, k); }
#endif
        store_sums(group.z, row0 + worker * 4u, row_sum);
    }
    workgroupBarrier();
#endif
    // The upper half of the slices hands its sums to the lower one, until one is left.
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        for (var r = 0u; r < ROWS; r++) {
            for (var j = 0u; j < COLUMNS; j++) {
                let at = ((local.z - half) * ROWS * COLUMNS + r * COLUMNS + j) * WORKERS + worker;
                if (local.z >= half && local.z < 2u * half) { tiles[at] = sum[r][j]; }
            }
        }
        workgroupBarrier();
        for (var r = 0u; r < ROWS; r++) {
            for (var j = 0u; j < COLUMNS; j++) {
                let at = (local.z * ROWS * COLUMNS + r * COLUMNS + j) * WORKERS + worker;
                if (local.z < half) { sum[r][j] += tiles[at]; }
            }
        }
        if (half > 1u) { workgroupBarrier(); }
    }
    if (local.z > 0u) { return; }
    let c_base = params.c_offset + group.z * params.c_batch;
    for (var j = 0u; j < COLUMNS; j++) {
        let column = column0 + (j * LANES + local.x) * 4u;
        var first = vec4f();
        if (params.has_bias != 0u) { first = load_bias(group.z, column); }
        for (var r = 0u; r < ROWS; r++) { store(c_base, row0 + local.y * ROWS + r, column, sum[r][j] + first); }
    }
}
#endif
