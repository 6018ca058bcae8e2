// A single row of C = activation(A · B + bias), where each element of B serves one product and loads are all that counts: a lane
// has a piece of the columns, which it reads of one row of B after the other. SLICED: slices of lanes share out k.
// VECTOR, WIDE: K, N and all offsets and strides of A and B are multiples of 4, or of 8.
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
    let column0 = (group.x * LANES + local.x) * PIECE;
    let column = min(column0, params.n - UNIT);
    var sums: Piece;
    for (var k = local.y * 4u; k < params.k; k += SLICES * 4u) {
        let x = load_a(params.a_offset + k, params.a_offset + params.k);
        for (var i = 0u; i < 4u; i++) {
            // Past the last row A counts as 0.
            let start = params.b_offset + min(k + i, params.k - 1u) * params.b_stride;
            let row = load_piece_b(start + column, start + params.n);
            for (var p = 0u; p < PARTS; p++) { sums[p] = fma(vec4f(x[i]), row[p], sums[p]); }
        }
    }
#ifdef SLICED
    var own: Sums;
    own[0] = sums[0];                   // four columns, for words are no part of this form
    merge(&own, local.y, local.x);
    sums[0] = own[0];
#endif
    if (local.y > 0u) { return; }
    for (var p = 0u; p < PARTS; p++) {
        for (var i = 0u; i < 4u; i++) {
            let own = column0 + p * 4u + i;
            if (own < params.n) { put(own, sums[p][i]); }
        }
    }
}
