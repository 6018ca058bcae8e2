// A single row of C = activation(A · B + bias), where each element of B serves one product and loads are all that counts: a lane
// has RUNS pieces of the columns, side by side with those of other lanes, which it reads of one row of B after the other.
// SLICED: slices of lanes share out k. VECTOR, WIDE: K, N and all offsets and strides of A and B are multiples of 4, or of 8.
#import pieces
#import single_row
#ifdef SLICED
#import slices
#endif

@group(0) @binding(1) var<storage, read> a: array<Element>;          // [1, K]
@group(0) @binding(2) var<storage, read> b: array<Word>;             // [K, N]

#import load(a)
#import load_piece(b)

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let column0 = group.x * RUNS * STRIDE + local.x * PIECE;
    var sums: array<Piece, RUNS>;
    for (var k = local.y * 4u; k < params.k; k += SLICES * 4u) {
        let x = load_a(params.a_offset + k, params.a_offset + params.k);
        for (var i = 0u; i < 4u; i++) {
            // Past the last row A counts as 0.
            let start = params.b_offset + min(k + i, params.k - 1u) * params.b_stride;
            for (var r = 0u; r < RUNS; r++) {
                let column = min(column0 + r * STRIDE, params.n - UNIT);
                let row = load_piece_b(start + column, start + params.n);
                for (var p = 0u; p < PARTS; p++) { sums[r][p] = fma(vec4f(x[i]), row[p], sums[r][p]); }
            }
        }
    }
#ifdef SLICED
    var own: Sums;
    for (var r = 0u; r < RUNS; r++) { own[r] = sums[r][0]; }    // words are no part of this form
    merge(&own, local.y, local.x);
    for (var r = 0u; r < RUNS; r++) { sums[r][0] = own[r]; }
#endif
    if (local.y > 0u) { return; }
    for (var r = 0u; r < RUNS; r++) {
        for (var p = 0u; p < PARTS; p++) {
            for (var i = 0u; i < 4u; i++) {
                let column = column0 + r * STRIDE + p * 4u + i;
                if (column < params.n) { put(column, sums[r][p][i]); }
            }
        }
    }
}
