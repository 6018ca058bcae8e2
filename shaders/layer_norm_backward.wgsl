// d_x = (d - mean of d - n * mean of d n) / deviation of each row, where n is the row as it was normalised and d = d_y * gain. One
// workgroup a row. CENTRED: else nothing was subtracted, and no mean of d is. VECTOR: columns are a multiple of 4. REGISTERS: a row
// fits into HELD vec4s of each invocation, and is read once; otherwise twice.
#import element
#import four
#import linear
#import load(x)
#import load(gain)
#import load(d_y)
#import reduce
#import store(d_x)

struct Params { rows: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<Single>;            // [columns]
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;       // [rows]: mean, 1 / deviation
@group(0) @binding(4) var<storage, read> d_y: array<Element>;            // [rows, columns]
@group(0) @binding(5) var<storage, read_write> d_x: array<Element>;      // [rows, columns]

// An invocation's pieces of a row, four elements each: the row as it was normalised, and d, which behind the row is 0.
struct Piece { normalised: vec4f, d: vec4f }
fn column(lane: u32, j: u32) -> u32 { return 4u * (lane + j * LANES); }
fn load(row: u32, lane: u32, j: u32) -> Piece {
    let c = column(lane, j);
    let start = row * params.columns;
    let end = start + params.columns;
    let d = load_d_y_padded(start + c, end) * load_gain_padded(c, params.columns);
    return Piece((load_x_padded(start + c, end) - statistics[row].x) * statistics[row].y, d);
}
#ifdef REGISTERS
var<private> held: array<Piece, HELD>;
fn pieces() -> u32 { return HELD; }
fn fetch(row: u32, lane: u32) { for (var j = 0u; j < HELD; j++) { held[j] = load(row, lane, j); } }
fn piece(row: u32, lane: u32, j: u32) -> Piece { return held[j]; }
#else
fn pieces() -> u32 { return (params.columns + 4u * LANES - 1u) / (4u * LANES); }
fn fetch(row: u32, lane: u32) {}
fn piece(row: u32, lane: u32, j: u32) -> Piece { return load(row, lane, j); }
#endif

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = linear_workgroup(group, groups);
    let row = min(wanted, params.rows - 1u);
    fetch(row, lane);
    var sum = vec4f();
    var products = vec4f();
    for (var j = 0u; j < pieces(); j++) {
        let of_lane = piece(row, lane, j);
        sum += of_lane.d;
        products = fma(of_lane.d, of_lane.normalised, products);
    }
    let slope = reduce_sum(sum_of(products), lane) / f32(params.columns);
    var shift = 0.0;
#ifdef CENTRED
    shift = reduce_sum(sum_of(sum), lane) / f32(params.columns);
#endif
    if (wanted >= params.rows) { return; }
    let scale = statistics[row].y;
    let start = row * params.columns;
    for (var j = 0u; j < pieces(); j++) {
        let c = column(lane, j);
        let of_lane = piece(row, lane, j);
        if (c < params.columns) {
            let value = scale * fma(-of_lane.normalised, vec4f(slope), of_lane.d - shift);
            store_d_x(start + c, start + params.columns, value);
        }
    }
}
