// context = softmax((content · key + position · relative) * scale) · value for each query, with the softmax taken online. The paper's
// relative shift (Dai et al. 2019, appendix B) is that of attention_distances.wgsl, a tile at a time: nothing of size queries x keys is
// stored. A workgroup owns a tile of queries of one head and walks over the keys.
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_softmax
#import attention_tiles
#import heads
#import load_piece(queries)
#import load_piece(key)
#import load_piece(value)
#import load_piece(relative)
#import attention_lines
#import store_piece(context)

struct Params {
    content: Heads, position: Heads, key: Heads, value: Heads, relative: Heads, context: Heads,     // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<Word>;           // [B, T, 2, N, D]: content, position
@group(0) @binding(2) var<storage, read> key: array<Word>;               // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Word>;             // [B, S, N, D]
@group(0) @binding(4) var<storage, read> relative: array<Word>;          // [S, N, D], by distance
@group(0) @binding(5) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(6) var<storage, read_write> context: array<Word>;     // [B, T, N, D]
@group(0) @binding(7) var<storage, read_write> log_sum_exp: array<f32>;  // [B, N, T]

fn row_stride(second: bool, place: Place) -> u32 { return params.content.row; }
fn column_stride(second: bool, place: Place) -> u32 {
    if (place.columns.is_strip) { return params.relative.row; }
    return select(params.key.row, params.value.row, second);
}
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    return load_piece_queries(at + loaded_from(feature), at + params.size);
}
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (place.columns.is_strip) { return load_piece_relative(start, at + params.size); }
    if (second) { return load_piece_value(start, at + params.size); }
    return load_piece_key(start, at + params.size);
}

@compute @workgroup_size(LANES, GROUPS)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
#ifdef SUBGROUPS
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = 0u;
#else
    @builtin(local_invocation_id) local: vec3u,
) {
    let lane = local.x;
    let group = local.y;
#endif
    let tiles = (params.queries + ROW_TILE - 1u) / ROW_TILE;
    let index = workgroup.x + workgroup.y * workgroups.x;
    let head = index / tiles;
    if (head >= params.head_count) { return; }
    let b = head / params.heads;
    let n = head % params.heads;
    let row0 = index % tiles * ROW_TILE;
    let own = row0 + behind();          // the place of the first row
    let length = min(lengths[b], params.keys);
    let end = min(length, own + ROW_TILE);
    let last_query = i32(params.queries) - 1;
    let keys = Line(vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), 0, i32(max(length, 1u)) - 1, false);
    let distances = Line(vec2u(head_start(params.relative, 0u, n)), 0, i32(params.keys) - 1, true);
    let place = Place(Line(vec2u(head_start(params.content, b, n)), i32(row0), last_query, false), keys, lane, group);
    var strip = Place(Line(vec2u(head_start(params.position, b, n)), i32(row0), last_query, false), distances, lane, group);
    let context_start = head_start(params.context, b, n);

    var sums: Sums;
    var largest: PerRow;
    var total: PerRow;                  // of this lane's columns
    for (var r = 0u; r < ROWS; r++) { largest[r] = FLOOR; }
    var farther: Scores;                // the strip of the tile before
    // The first strip is the one before the first tile.
    for (var walked = 0u; walked < end + COLUMN_TILE; walked += COLUMN_TILE) {
        strip.columns.first = i32(own + COLUMN_TILE) - i32(walked);
        var nearer = products(false, strip, 0u);
        if (walked > 0u) {
            let column0 = walked - COLUMN_TILE;
            var weights = products(false, place, column0);
            add_by_distance(place, &nearer, &farther, &weights);
            for (var r = 0u; r < ROWS; r++) {
                let visible = min(length, own + group * ROWS + r + 1u);
                for (var j = 0u; j < BLOCKS; j++) {
                    let columns = vec4u(column0) + columns_of_tile(place, j);
                    weights[r][j] = select(vec4f(FLOOR), weights[r][j] * params.scale, columns < vec4u(visible));
                }
            }
            weigh(place, &weights, &largest, &total, &sums);
            accumulate(true, place, column0, end - column0, &weights, &sums);
        }
        farther = nearer;
    }

    total = sum_of_lanes(place, total);
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.queries) { continue; }
        let seen = total[r] > 0.0;
        let inverse = select(0.0, 1.0 / max(total[r], 1e-30), seen);
        for (var j = 0u; j < FEATURES; j += PARTS) {
            var result: Piece;
            for (var p = 0u; p < PARTS; p++) { result[p] = sums[r][j + p] * inverse; }
            let feature = feature_of(j, lane);
            let start = context_start + row * params.context.row;
            if (feature < params.size) { store_piece_context(start + feature, start + params.size, result); }
        }
        if (lane == 0u) {
            log_sum_exp[head * params.queries + row] = select(0.0, largest[r] + log(max(total[r], 1e-30)), seen);
        }
    }
}
