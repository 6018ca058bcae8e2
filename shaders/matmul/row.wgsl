// A single row of C = activation(A · B^T + bias), where each element of B serves one product and loads are all that counts: the
// lanes share out k, so that they read rows of B in one run, and a product is a sum over the lanes. A workgroup computes 16 elements.
// VECTOR, WIDE: K and all offsets and strides of A and B are multiples of 4, or of 8.
#import lanes
#import math
#import pieces

struct Params { n: u32, k: u32, a_offset: u32, b_offset: u32, b_stride: u32, c_offset: u32, has_bias: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Word>;             // [1, K]
@group(0) @binding(2) var<storage, read> b: array<Word>;             // [N, K]
@group(0) @binding(3) var<storage, read> bias: array<f32>;           // [N]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;        // [1, N]

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
            var value = select(select(sums.x, sums.y, lane == 1u), select(sums.z, sums.w, lane == 3u), lane >= 2u);
            if (params.has_bias != 0u) { value += bias[column]; }
#ifdef TANH
            value = tanh1(value);
#endif
#ifdef SIGMOID
            value = sigmoid1(value);
#endif
            c[params.c_offset + column] = value;
        }
    }
}
