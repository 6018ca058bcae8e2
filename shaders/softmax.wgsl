// y = softmax of the first lengths[row] columns of each row of x; 0 in the others, and in a row without any finite element.
// One workgroup a row; ALONE: one invocation a row. VECTOR, WIDE: columns are a multiple of a piece. REGISTERS: a row fits
// into HELD vec4s of each invocation, and is read once; otherwise twice. LENGTHS: there are lengths.
#import linear
#import pieces
#import reduce

struct Params { rows: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Word>;             // [rows, columns]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;        // [rows]
@group(0) @binding(3) var<storage, read_write> y: array<Word>;       // [rows, columns]

#import load_piece(x)
#import store_piece(y)

const FLOOR = -1e30;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
#ifdef ALONE
    let wanted = workgroup * LANES + lane;
    let first = 0u;
#else
    let wanted = workgroup;
    let first = lane * PIECE;
#endif
    let row = min(wanted, params.rows - 1u);
    let start = row * params.columns;
    let end = start + params.columns;
    var length = params.columns;
#ifdef LENGTHS
    length = min(lengths[row], params.columns);
#endif
    var largest = vec4f(FLOOR);
    var sum = vec4f();
#ifdef REGISTERS
    var held: array<vec4f, HELD>;
    for (var j = 0u; j < HELD; j++) {
        let c = first + j * STRIDE;
        held[j] = select(vec4f(FLOOR), load_piece_x(start + min(c, params.columns - PIECE), end)[0], inside(c, length));
        largest = max(largest, held[j]);
    }
    let maximum = reduce_max(largest_of(largest), lane);
    for (var j = 0u; j < HELD; j++) {
        held[j] = select(vec4f(), exp(held[j] - maximum), inside(first + j * STRIDE, length));
        sum += held[j];
    }
    let total = reduce_sum(sum_of(sum), lane);
    if (wanted >= params.rows) { return; }
    let scale = select(1.0 / total, 0.0, maximum <= FLOOR);
    for (var j = 0u; j < HELD; j++) {
        let c = first + j * STRIDE;
        if (c < params.columns) { store_piece_y(start + c, end, Piece(held[j] * scale)); }
    }
#else
    // Up to here whole blocks of every lane are inside the row, and nothing is masked.
    let whole = length / BLOCK * BLOCK;
    for (var c = first; c < whole; c += BLOCK) {
        var values: array<Piece, UNROLLED>;
        let before = largest;
        for (var j = 0u; j < UNROLLED; j++) {
            values[j] = load_piece_x(start + c + j * STRIDE, end);
            for (var p = 0u; p < PARTS; p++) { largest = max(largest, values[j][p]); }
        }
        sum *= exp(before - largest);
        for (var j = 0u; j < UNROLLED; j++) {
            for (var p = 0u; p < PARTS; p++) { sum += exp(values[j][p] - largest); }
        }
    }
    for (var c = whole + first; c < length; c += STRIDE) {
        var values = load_piece_x(start + c, end);
        for (var p = 0u; p < PARTS; p++) {
            let visible = inside(c + 4u * p, length);
            let value = select(vec4f(FLOOR), values[p], visible);
            let before = largest;
            largest = max(largest, value);
            sum = fma(sum, exp(before - largest), select(vec4f(), exp(value - largest), visible));
        }
    }
#ifdef ALONE
    let maximum = largest_of(largest);
    let total = sum_of(sum * exp(largest - maximum));
#else
    let maximum = reduce_max(largest_of(largest), lane);
    let total = reduce_sum(sum_of(sum * exp(largest - maximum)), lane);
#endif
    if (wanted >= params.rows) { return; }
    let scale = select(1.0 / total, 0.0, maximum <= FLOOR);
    for (var c = first; c < whole; c += BLOCK) {
        var values: array<Piece, UNROLLED>;
        for (var j = 0u; j < UNROLLED; j++) { values[j] = load_piece_x(start + c + j * STRIDE, end); }
        for (var j = 0u; j < UNROLLED; j++) {
            for (var p = 0u; p < PARTS; p++) { values[j][p] = exp(values[j][p] - maximum) * scale; }
            store_piece_y(start + c + j * STRIDE, end, values[j]);
        }
    }
    for (var c = whole + first; c < params.columns; c += STRIDE) {
        var values = load_piece_x(start + c, end);
        for (var p = 0u; p < PARTS; p++) {
            values[p] = select(vec4f(), exp(values[p] - maximum) * scale, inside(c + 4u * p, length));
        }
        store_piece_y(start + c, end, values);
    }
#endif
}
