// Gradients of span_attention's queries. A workgroup owns a tile of queries of one head and walks over the keys that its span reaches.
//     d_query = sum of d_score · (key + position)
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_tiles
#import span_gradients
#import span_keys
#import store_piece(d_query)

@group(0) @binding(7) var<storage, read_write> d_query: array<Word>;         // [B, T, N, D]

fn row_stride(second: bool, place: Place) -> u32 { return query_stride(second); }
fn column_stride(second: bool, place: Place) -> u32 { return select(key_stride(second), params.size, place.columns.is_strip); }
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
    let last_query = params.queries - 1u;
    let span = span_of(n);
    let reach = reach_of(span);
    let last_distance = i32(max(reach, 1u)) - 1;
    // The columns are the keys that one of the rows sees, from the first that the first row sees on; some may lie before all keys.
    let first_key = i32(row0 + behind()) - i32(reach);
    let before = u32(max(-first_key, 0));
    let end = select(0u, reach + ROW_TILE - 1u, reach > 0u);
    let contents = vec2u(head_start(params.query, b, n), head_start(params.d_context, b, n));
    let queries = Line(contents, i32(row0), i32(last_query), false);
    let keys = Line(vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), first_key, i32(params.keys) - 1, false);
    let place = Place(queries, keys, lane, group);
    var strip = Place(queries, Line(vec2u(), 0, last_distance, true), lane, group);
    let first_start = head_start(params.first, b, n);

    var of_rows: array<vec2f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        of_rows[r] = statistics[head * params.queries + min(row0 + group * ROWS + r, last_query)];
    }
    var sums: Sums;
    var farther: Scores;                // the strip of the tile before; what the first tile has of one is out of reach
    var d_farther: Scores;              // the gradients of its scores
    // The last tile's strip has all its gradients when nothing follows.
    let tiles_walked = (end + COLUMN_TILE - 1u) / COLUMN_TILE;
    for (var walked = 0u; walked <= tiles_walked; walked++) {
        let column0 = walked * COLUMN_TILE;
        var d_scores: Scores;
        if (column0 < end) {
            strip.columns.first = i32(reach) - 1 - i32(column0);
            var nearer = products(false, strip, 0u);
            var scores = products(false, place, column0);
            keep_keys(place, column0, before, &scores);
            add_by_distance(place, &nearer, &farther, &scores);
            d_scores = products(true, place, column0);
            keep_keys(place, column0, before, &d_scores);
            for (var r = 0u; r < ROWS; r++) {
                let of_row = Statistics(of_rows[r].xxxx, of_rows[r].yyyy);
                for (var j = 0u; j < BLOCKS; j++) {
                    // No distance is 0; those that would be less wrap.
                    let distances = vec4u(reach + group * ROWS + r - column0) - columns_of_tile(place, j);
                    let seen = distances - 1u < vec4u(reach);
                    d_scores[r][j] = pairs_of(scores[r][j], d_scores[r][j], of_row, masks_at(span, distances), seen).d_score;
                }
            }
            var of_keys = d_scores;
            keep_keys(place, column0, before, &of_keys);
            accumulate(false, place, column0, end - column0, &of_keys, &sums);
            farther = nearer;
        }
        if (walked > 0u) {
            var d_strip = strip_of(place, &d_farther, &d_scores);
            strip.columns.first = i32(reach + COLUMN_TILE) - 1 - i32(column0);
            accumulate(false, strip, 0u, COLUMN_TILE, &d_strip, &sums);
        }
        d_farther = d_scores;
    }

    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.queries) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            var result: Piece;
            for (var p = 0u; p < PARTS; p++) { result[p] = sums[r][j + p]; }
            let start = first_start + row * params.first.row;
            store_piece_d_query(start + feature, start + params.size, result);
        }
    }
}
