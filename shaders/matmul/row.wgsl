// A single row of C = activation(A · B^T + bias), where each element of B serves one product and loads are all that counts: the
// lanes share out k, so that they read rows of B in one run, and a product is a sum over the lanes. A workgroup computes 16 elements.
// VECTOR, WIDE: K and all offsets and strides of A and B are multiples of 4, or of 8.
#import lanes
#import pieces
#import single_row

@group(0) @binding(1) var<storage, read> a: array<Word>;             // [1, K]
@group(0) @binding(2) var<storage, read> b: array<Word>;             // [N, K]

#import load_piece(a)
#import load_piece(b)

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let column0 = group.x * 16u;
    let a_start = params.a_offset / UNIT;
    let pieces = (params.k + PIECE - 1u) / PIECE;
    for (var i = 0u; i < 16u; i += 4u) {
        // Four columns at a time: on llvmpipe a loop's code must be short.
        var start: array<u32, 4>;
        for (var j = 0u; j < 4u; j++) {
            start[j] = (params.b_offset + min(column0 + i + j, params.n - 1u) * params.b_stride) / UNIT;
        }
        var parts: array<vec4f, 4>;
        for (var q = lane; q < pieces; q += LANES) {
            let x = load_piece_a_nth(a_start, q, params.k);
            for (var j = 0u; j < 4u; j++) {
                let row = load_piece_b_nth(start[j], q, params.k);
                for (var p = 0u; p < PARTS; p++) { parts[j] = fma(x[p], row[p], parts[j]); }
            }
        }
        let own = vec4f(sum_of(parts[0]), sum_of(parts[1]), sum_of(parts[2]), sum_of(parts[3]));
        let sums = lanes_sum(own, lane);
        let column = column0 + i + lane;
        if (lane < 4u && column < params.n) {
            put(column, select(select(sums.x, sums.y, lane == 1u), select(sums.z, sums.w, lane == 3u), lane >= 2u));
        }
    }
}
