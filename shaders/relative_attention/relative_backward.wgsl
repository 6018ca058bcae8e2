// The gradient of relative_attention's vectors of distances. A workgroup owns a tile of distances of one head and walks over the queries of
// all rows, each of which has one key so far behind it.
//     d_relative[distance] = sum of d_score * position
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_tiles
#import relative_gradients
#import store_piece(d_relative)

@group(0) @binding(7) var<storage, read_write> d_relative: array<Word>;      // [S, N, D]

fn row_stride(second: bool, place: Place) -> u32 { return select(params.relative.row, key_stride(second), place.rows.is_strip); }
fn column_stride(second: bool, place: Place) -> u32 { return query_stride(second); }
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    if (place.rows.is_strip) { return load_key_side(second, at, feature); }
    return load_distance(at, feature);
}
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }

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
    let tiles = (params.keys + ROW_TILE - 1u) / ROW_TILE;
    let index = workgroup.x + workgroup.y * workgroups.x;
    let n = index / tiles;
    if (n >= params.heads) { return; }
    let row0 = index % tiles * ROW_TILE;
    // The first query that has a key so far behind it.
    let begin = row0 - min(row0, behind());
    let last_query = i32(params.queries) - 1;
    let distances = Line(vec2u(head_start(params.relative, 0u, n)), i32(row0), i32(params.keys) - 1, false);

    var sums: Sums;
    for (var b = 0u; b < params.head_count / params.heads; b++) {
        let length = length_of(b);
        // Later ones have but keys that are not there.
        let end = select(0u, min(params.queries, length + row0 + ROW_TILE - min(length + row0 + ROW_TILE, behind())), length > 0u);
        let contents = vec2u(head_start(params.content, b, n), head_start(params.d_context, b, n));
        let keys = Line(vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), 0, i32(max(length, 1u)) - 1, true);
        let place = Place(distances, Line(vec2u(head_start(params.position, b, n)), 0, last_query, false), lane, group);
        var strip = Place(keys, Line(contents, 0, last_query, false), lane, group);
        let head = b * params.heads + n;
        for (var column0 = begin; column0 < end; column0 += COLUMN_TILE) {
            strip.rows.first = i32(column0 + behind()) - i32(row0);     // the key that the first row and column meet at
            var scores = products(false, place, column0);
            var of_keys = products_across(false, strip, column0);
            add_tile(&of_keys, &scores);
            var d_scores = products_across(true, strip, column0);
            for (var j = 0u; j < BLOCKS; j++) {
                let columns = vec4u(column0) + columns_of_tile(place, j);
                let queries = of_columns(head, columns);
                for (var r = 0u; r < ROWS; r++) {
                    // Keys before the first one wrap, and are masked as those past the length are.
                    let keys = columns + behind() - vec4u(row0 + group * ROWS + r);
                    let seen = (columns < vec4u(params.queries)) & (keys < vec4u(length));
                    let weight = weight_of(scores[r][j], queries.log_sum_exp, seen);
                    d_scores[r][j] = select(vec4f(), weight * (d_scores[r][j] - queries.delta) * params.scale, seen);
                }
            }
            accumulate(false, place, column0, end - column0, &d_scores, &sums);
        }
    }

    let first_start = head_start(params.first, 0u, n);
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.keys) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            var result: Piece;
            for (var p = 0u; p < PARTS; p++) { result[p] = sums[r][j + p]; }
            let first_at = first_start + row * params.first.row;
            store_piece_d_relative(first_at + feature, first_at + params.size, result);
        }
    }
}
