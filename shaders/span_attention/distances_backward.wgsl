// The parts that a row of the batch and a head have in the gradients of span_attention's position vectors and spans. A workgroup owns
// a tile of distances of one head in one row and walks over the queries.
//     d_position = sum of d_score · query        d_span = sum of d_mask / ramp, where the mask is neither 0 nor 1
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_tiles
#import span_gradients

@group(0) @binding(7) var<storage, read_write> d_position: array<f32>;       // [B, N, L, D]
@group(0) @binding(8) var<storage, read_write> d_span: array<f32>;           // [B, L, N]

fn row_stride(second: bool, place: Place) -> u32 { return select(params.size, key_stride(second), place.rows.is_strip); }
fn column_stride(second: bool, place: Place) -> u32 { return query_stride(second); }
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    if (place.rows.is_strip) { return load_key_side(second, at, feature); }
    return load_distance(at, feature);
}
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }

// Where a query's own place is so far on that its key at a row's distance is there; before the first key there are zeros.
fn keep_keys(place: Place, row0: u32, column0: u32, tile: ptr<function, Scores>) {
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let there = columns_of_tile(place, j) + vec4u(column0 + behind()) > vec4u(row0 + place.group * ROWS + r);
            (*tile)[r][j] = select(vec4f(), (*tile)[r][j], there);
        }
    }
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
    let tiles = (params.limit + ROW_TILE - 1u) / ROW_TILE;
    let index = workgroup.x + workgroup.y * workgroups.x;
    let head = index / tiles;
    if (head >= params.head_count) { return; }
    let b = head / params.heads;
    let n = head % params.heads;
    let row0 = index % tiles * ROW_TILE;        // the first row's distance is one more
    let span = span_of(n);
    let reach = reach_of(span);
    let last_distance = i32(max(reach, 1u)) - 1;
    let end = select(0u, params.queries, row0 < reach);
    let contents = vec2u(head_start(params.query, b, n), head_start(params.d_context, b, n));
    let queries = Line(contents, 0, i32(params.queries) - 1, false);
    let place = Place(Line(vec2u(), i32(row0), last_distance, false), queries, lane, group);
    let starts = vec2u(head_start(params.key, b, n), head_start(params.value, b, n));
    var strip = Place(Line(starts, 0, i32(params.keys) - 1, true), queries, lane, group);

    var sums: Sums;
    var d_masks: PerRow;                // of this lane's columns
    for (var column0 = 0u; column0 < end; column0 += COLUMN_TILE) {
        strip.rows.first = i32(column0 + behind()) - i32(row0) - 1;     // the key that the first row and column meet at
        var scores = products(false, place, column0);
        var of_keys = products_across(false, strip, column0);
        keep_keys(place, row0, column0, &of_keys);
        add_tile(&of_keys, &scores);
        var d_scores = products_across(true, strip, column0);
        keep_keys(place, row0, column0, &d_scores);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = vec4u(column0) + columns_of_tile(place, j);
            let of_queries = of_columns(head, columns);
            for (var r = 0u; r < ROWS; r++) {
                let distance = row0 + group * ROWS + r + 1u;
                let seen = (columns < vec4u(params.queries)) & vec4<bool>(distance <= reach);
                let pairs = pairs_of(scores[r][j], d_scores[r][j], of_queries, masks_at(span, vec4u(distance)), seen);
                d_masks[r] += (pairs.d_mask.x + pairs.d_mask.y) + (pairs.d_mask.z + pairs.d_mask.w);
                d_scores[r][j] = pairs.d_score;
            }
        }
        accumulate(false, place, column0, end - column0, &d_scores, &sums);
    }

    d_masks = sum_of_lanes(place, d_masks);
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.limit) { continue; }
        let start = (head * params.limit + row) * params.size;
        for (var j = 0u; j < FEATURES; j++) {
            let first = feature_of(j / PARTS * PARTS, lane) + j % PARTS * 4u;
            for (var c = 0u; c < 4u; c++) {
                if (first + c < params.size) { d_position[start + first + c] = sums[r][j][c]; }
            }
        }
        let mask = mask_at(span, row + 1u);
        if (lane == 0u) {
            d_span[(b * params.limit + row) * params.heads + n] = select(0.0, d_masks[r] / params.ramp, mask > 0.0 && mask < 1.0);
        }
    }
}
