// context = sum of mask · exp(score) · value over the distances that a head sees, by the sum of mask · exp(score), taken online; a mask is
// its logarithm in the score. Products with the vectors of distances are those of attention_distances.wgsl. A workgroup owns a tile of
// queries of one head and walks over the keys that its span reaches.
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_lines
#import attention_softmax
#import attention_tiles
#import heads
#import load_piece(query)
#import load_piece(key)
#import load_piece(value)
#import load_piece(position)
#import span_keys
#import span_mask
#import store_piece(context)

struct Params {
    query: Heads, key: Heads, value: Heads, context: Heads,      // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, limit: u32, ramp: f32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Word>;             // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Word>;               // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Word>;             // [B, S, N, D]
@group(0) @binding(4) var<storage, read> position: array<SingleWord>;    // [L, D], by distance from 1 on
@group(0) @binding(5) var<storage, read> spans: array<f32>;              // [N]
@group(0) @binding(6) var<storage, read_write> context: array<Word>;     // [B, T, N, D]
@group(0) @binding(7) var<storage, read_write> log_sum_exp: array<f32>;  // [B, N, T]

fn row_stride(second: bool, place: Place) -> u32 { return params.query.row; }
fn column_stride(second: bool, place: Place) -> u32 {
    if (place.columns.is_strip) { return params.size; }
    return select(params.key.row, params.value.row, second);
}
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    return load_piece_query(at + loaded_from(feature), at + params.size);
}
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (place.columns.is_strip) { return load_piece_position(start, at + params.size); }
    if (second) { return load_piece_value(start, at + params.size); }
    return load_piece_key(start, at + params.size);
}

// Exactly 0 where the mask is 1.
fn log_of(mask: vec4f) -> vec4f { return select(log(mask), vec4f(), mask >= vec4f(1.0)); }

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
    let span = spans[n];
    let reach = reach_of(span);
    let last_distance = i32(max(reach, 1u)) - 1;
    // The columns are the keys that one of the rows sees, from the first that the first row sees on; some may lie before all keys.
    let first_key = i32(row0 + behind()) - i32(reach);
    let before = u32(max(-first_key, 0));
    let end = select(0u, reach + ROW_TILE - 1u, reach > 0u);
    let queries = Line(vec2u(head_start(params.query, b, n)), i32(row0), i32(params.queries) - 1, false);
    let keys = Line(vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), first_key, i32(params.keys) - 1, false);
    let place = Place(queries, keys, lane, group);
    var strip = Place(queries, Line(vec2u(), 0, last_distance, true), lane, group);
    let context_start = head_start(params.context, b, n);

    var sums: Sums;
    var largest: PerRow;
    var total: PerRow;                  // of this lane's columns
    for (var r = 0u; r < ROWS; r++) { largest[r] = FLOOR; }
    var farther: Scores;                // the strip of the tile before; what the first tile has of one is out of reach
    for (var column0 = 0u; column0 < end; column0 += COLUMN_TILE) {
        strip.columns.first = i32(reach) - 1 - i32(column0);
        var nearer = products(false, strip, 0u);
        var weights = products(false, place, column0);
        keep_keys(place, column0, before, &weights);
        add_by_distance(place, &nearer, &farther, &weights);
        for (var r = 0u; r < ROWS; r++) {
            for (var j = 0u; j < BLOCKS; j++) {
                let distances = vec4u(reach + group * ROWS + r - column0) - columns_of_tile(place, j);
                let score = fma(weights[r][j], vec4f(params.scale), log_of(masks_at(span, distances)));
                // No distance is 0; those that would be less wrap.
                weights[r][j] = select(vec4f(FLOOR), score, distances - 1u < vec4u(reach));
            }
        }
        weigh(place, &weights, &largest, &total, &sums);
        keep_keys(place, column0, before, &weights);
        accumulate(true, place, column0, end - column0, &weights, &sums);
        farther = nearer;
    }

    total = sum_of_lanes(place, total);
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row >= params.queries) { continue; }
        var inverse = select(0.0, 1.0 / max(total[r], 1e-30), reach > 0u);
        // A span that is no number must show.
        inverse = select(span, inverse, is_finite(span));
        for (var j = 0u; j < FEATURES; j += PARTS) {
            var result: Piece;
            for (var p = 0u; p < PARTS; p++) { result[p] = sums[r][j + p] * inverse; }
            let feature = feature_of(j, lane);
            let start = context_start + row * params.context.row;
            if (feature < params.size) { store_piece_context(start + feature, start + params.size, result); }
        }
        if (lane == 0u) {
            log_sum_exp[head * params.queries + row] = select(0.0, largest[r] + log(max(total[r], 1e-30)), reach > 0u);
        }
    }
}
