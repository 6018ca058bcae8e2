// Gradients of span_attention's keys and values. A workgroup owns a tile of keys of one head and walks over the queries that see one of them.
//     d_key = sum of d_score · query        d_value = sum of weight · d_context
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_tiles
#import span_gradients
#import store_piece(d_key)
#import store_piece(d_value)

@group(0) @binding(7) var<storage, read_write> d_key: array<Word>;           // [B, S, N, D]
@group(0) @binding(8) var<storage, read_write> d_value: array<Word>;         // [B, S, N, D]

fn row_stride(second: bool, place: Place) -> u32 { return select(key_stride(second), params.size, place.rows.is_strip); }
fn column_stride(second: bool, place: Place) -> u32 { return query_stride(second); }
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    if (place.rows.is_strip) { return load_distance(at, feature); }
    return load_key_side(second, at, feature);
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
    let head = index / tiles;
    if (head >= params.head_count) { return; }
    let b = head / params.heads;
    let n = head % params.heads;
    let row0 = index % tiles * ROW_TILE;
    let span = span_of(n);
    let reach = reach_of(span);
    let last_distance = i32(max(reach, 1u)) - 1;
    // The first query behind the first key, and the one behind those that see the last.
    let begin = row0 + 1u - min(row0 + 1u, behind());
    let past = row0 + ROW_TILE + reach;
    let end = select(0u, min(params.queries, past - min(past, behind())), reach > 0u);
    let last_query = i32(params.queries) - 1;
    let contents = vec2u(head_start(params.query, b, n), head_start(params.d_context, b, n));
    let keys = Line(vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), i32(row0), i32(params.keys) - 1, false);
    let queries = Line(contents, 0, last_query, false);
    let place = Place(keys, queries, lane, group);
    var strip = Place(Line(vec2u(), 0, last_distance, true), queries, lane, group);
    let first_start = head_start(params.first, b, n);
    let second_start = head_start(params.second, b, n);

    var d_keys: Sums;
    var d_values: Sums;
    for (var column0 = begin; column0 < end; column0 += COLUMN_TILE) {
        var weights = products(false, place, column0);
        strip.rows.first = i32(column0 + behind()) - i32(row0) - 1;     // vectors of distances begin with that of 1
        var of_distances = products_across(false, strip, column0);
        add_tile(&of_distances, &weights);
        var d_scores = products(true, place, column0);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = vec4u(column0) + columns_of_tile(place, j);
            let of_queries = of_columns(head, columns);
            for (var r = 0u; r < ROWS; r++) {
                // No distance is 0; those that would be less wrap.
                let distances = columns + vec4u(behind()) - vec4u(row0 + group * ROWS + r);
                let seen = (distances - 1u < vec4u(reach)) & (columns < vec4u(params.queries));
                let pairs = pairs_of(weights[r][j], d_scores[r][j], of_queries, masks_at(span, distances), seen);
                weights[r][j] = pairs.weight;
                d_scores[r][j] = pairs.d_score;
            }
        }
        accumulate(false, place, column0, end - column0, &d_scores, &d_keys);
        accumulate(true, place, column0, end - column0, &weights, &d_values);
    }

    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.keys) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            var of_key: Piece;
            var of_value: Piece;
            for (var p = 0u; p < PARTS; p++) {
                of_key[p] = d_keys[r][j + p];
                of_value[p] = d_values[r][j + p];
            }
            let first_at = first_start + row * params.first.row;
            let second_at = second_start + row * params.second.row;
            store_piece_d_key(first_at + feature, first_at + params.size, of_key);
            store_piece_d_value(second_at + feature, second_at + params.size, of_value);
        }
    }
}
