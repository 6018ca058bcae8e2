// d_x = y (d_y - y . d_y) of each row; 0 where y is 0, whatever d_y holds there. One workgroup a row.
// VECTOR, WIDE: columns are a multiple of a piece. REGISTERS: a row fits into HELD vec4s of each invocation.
#import linear
#import pieces
#import reduce

struct Params { rows: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<Word>;             // [rows, columns]
@group(0) @binding(2) var<storage, read> d_y: array<Word>;           // [rows, columns]
@group(0) @binding(3) var<storage, read_write> d_x: array<Word>;     // [rows, columns]

#import load_piece(y)
#import load_piece(d_y)
#import store_piece(d_x)

fn gradient(y: vec4f, d_y: vec4f) -> vec4f { return select(d_y, vec4f(), y == vec4f()); }

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let start = min(workgroup, params.rows - 1u) * params.columns;
    let end = start + params.columns;
    var sum = vec4f();
#ifdef REGISTERS
    var held_y: array<vec4f, HELD>;
    var held_d: array<vec4f, HELD>;
    for (var j = 0u; j < HELD; j++) {
        let c = lane * PIECE + j * STRIDE;
        let at = min(c, params.columns - PIECE);
        held_y[j] = select(vec4f(), load_piece_y(start + at, end)[0], c < params.columns);
        held_d[j] = gradient(held_y[j], load_piece_d_y(start + at, end)[0]);
        sum = fma(held_y[j], held_d[j], sum);
    }
    let mean = reduce_sum(sum_of(sum), lane);
    if (workgroup >= params.rows) { return; }
    for (var j = 0u; j < HELD; j++) {
        let c = lane * PIECE + j * STRIDE;
        if (c < params.columns) { store_piece_d_x(start + c, end, Piece(held_y[j] * (held_d[j] - mean))); }
    }
#else
    let whole = params.columns / BLOCK * BLOCK;
    for (var c = lane * PIECE; c < whole; c += BLOCK) {
        var values: array<Piece, UNROLLED>;
        var gradients: array<Piece, UNROLLED>;
        for (var j = 0u; j < UNROLLED; j++) {
            values[j] = load_piece_y(start + c + j * STRIDE, end);
            gradients[j] = load_piece_d_y(start + c + j * STRIDE, end);
        }
        for (var j = 0u; j < UNROLLED; j++) {
            for (var p = 0u; p < PARTS; p++) { sum = fma(values[j][p], gradient(values[j][p], gradients[j][p]), sum); }
        }
    }
    for (var c = whole + lane * PIECE; c < params.columns; c += STRIDE) {
        var values = load_piece_y(start + c, end);
        var gradients = load_piece_d_y(start + c, end);
        for (var p = 0u; p < PARTS; p++) { sum = fma(values[p], gradient(values[p], gradients[p]), sum); }
    }
    let mean = reduce_sum(sum_of(sum), lane);
    if (workgroup >= params.rows) { return; }
    for (var c = lane * PIECE; c < params.columns; c += STRIDE) {
        var values = load_piece_y(start + c, end);
        var gradients = load_piece_d_y(start + c, end);
        for (var p = 0u; p < PARTS; p++) { values[p] *= gradient(values[p], gradients[p]) - mean; }
        store_piece_d_x(start + c, end, values);
    }
#endif
}
