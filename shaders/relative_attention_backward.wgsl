// Gradients of relative_attention's queries. A workgroup owns a tile of queries of one head and walks over the keys; weights are made again
// (Dao et al. 2022, algorithm 4).
//     d_content = sum of d_score * key        d_position = sum of d_score * relative
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_tiles
#import relative_gradients
#import store_piece(d_queries)

@group(0) @binding(7) var<storage, read_write> d_queries: array<Word>;       // [B, T, 2, N, D]

fn row_stride(second: bool, place: Place) -> u32 { return query_stride(second); }
fn column_stride(second: bool, place: Place) -> u32 { return select(key_stride(second), params.relative.row, place.columns.is_strip); }
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    if (place.columns.is_strip) { return load_distance(at, feature); }
    return load_key_side(second, at, feature);
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
    let length = length_of(b);
    let end = min(length, own + ROW_TILE);
    let last_query = params.queries - 1u;
    let contents = vec2u(head_start(params.content, b, n), head_start(params.d_context, b, n));
    let keys = Line(vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), 0, i32(max(length, 1u)) - 1, false);
    let distances = Line(vec2u(head_start(params.relative, 0u, n)), 0, i32(params.keys) - 1, true);
    let place = Place(Line(contents, i32(row0), i32(last_query), false), keys, lane, group);
    var strip = Place(Line(vec2u(head_start(params.position, b, n)), i32(row0), i32(last_query), false), distances, lane, group);
    let first_start = head_start(params.first, b, n);
    let second_start = head_start(params.second, b, n);

    var of_rows: array<vec2f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        of_rows[r] = statistics[head * params.queries + min(row0 + group * ROWS + r, last_query)];
    }
    var d_content: Sums;
    var d_position: Sums;
    var farther: Scores;                // the strip of the tile before
    var d_farther: Scores;              // the gradients of its scores
    // The first strip is the one before the first tile, and the last tile's has its gradients when nothing follows.
    let tiles_walked = (end + COLUMN_TILE - 1u) / COLUMN_TILE;
    for (var walked = 0u; walked < tiles_walked + 2u; walked++) {
        strip.columns.first = i32(own + COLUMN_TILE) - i32(walked * COLUMN_TILE);
        var nearer = products(false, strip, 0u);
        var d_scores: Scores;
        let column0 = walked * COLUMN_TILE - COLUMN_TILE;       // wraps before the first tile
        if (column0 < end) {
            var scores = products(false, place, column0);
            add_by_distance(place, &nearer, &farther, &scores);
            d_scores = products(true, place, column0);
            for (var r = 0u; r < ROWS; r++) {
                let visible = min(length, own + group * ROWS + r + 1u);
                for (var j = 0u; j < BLOCKS; j++) {
                    let seen = vec4u(column0) + columns_of_tile(place, j) < vec4u(visible);
                    let weight = weight_of(scores[r][j], vec4f(of_rows[r].x), seen);
                    d_scores[r][j] = select(vec4f(), weight * (d_scores[r][j] - of_rows[r].y) * params.scale, seen);
                }
            }
            accumulate(false, place, column0, end - column0, &d_scores, &d_content);
        }
        var d_strip = strip_of(place, &d_farther, &d_scores);
        strip.columns.first += i32(COLUMN_TILE);
        accumulate(false, strip, 0u, COLUMN_TILE, &d_strip, &d_position);
        farther = nearer;
        d_farther = d_scores;
    }

    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.queries) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            var content: Piece;
            var position: Piece;
            for (var p = 0u; p < PARTS; p++) {
                content[p] = d_content[r][j + p];
                position[p] = d_position[r][j + p];
            }
            let first_at = first_start + row * params.first.row;
            let second_at = second_start + row * params.second.row;
            store_piece_d_queries(first_at + feature, first_at + params.size, content);
            store_piece_d_queries(second_at + feature, second_at + params.size, position);
        }
    }
}
