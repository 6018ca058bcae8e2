// dot_product_attention where a position sees those around it, and a few see and are seen by everything: attention_window.wgsl says
// which tiles a workgroup walks over. Beltagy, Peters and Cohan 2020, section 3.1. A row that sees nothing has a context of 0.
//
// ADJUSTED: weights have dropout.
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_dropout
#import attention_softmax
#import attention_tiles
#import attention_window
#import heads
#import load_piece(query)
#import load_piece(key)
#import load_piece(value)
#import store_piece(context)

struct Params {
    query: Heads, key: Heads, value: Heads, context: Heads,         // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,               // as many keys as queries
    size: u32, causal: u32, scale: f32, window: u32,
    dilation: u32, reach: u32, globals: u32, everywhere: u32,
    operation: u32, threshold: u32, kept_scale: f32, unused: u32,       // of dropout
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> query: array<Word>;             // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(3) var<storage, read> key: array<Word>;               // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(4) var<storage, read> value: array<Word>;             // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(6) var<storage, read> globals: array<u32>;            // [B, G]
@group(0) @binding(7) var<storage, read_write> context: array<Word>;     // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(8) var<storage, read_write> log_sum_exp: array<f32>;  // [B, N, T]

fn row_stride(second: bool) -> u32 { return params.query.row; }
fn column_stride(second: bool) -> u32 { return select(params.key.row, params.value.row, second); }

fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    return load_piece_query(at + loaded_from(feature), at + params.size);
}
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
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
    let index = workgroup.x + workgroup.y * workgroups.x;
    let head = index / tiles_of_head();
    if (head >= params.head_count) { return; }
    let b = head / params.heads;
    let n = head % params.heads;
    var place = place_of(index % tiles_of_head(), b, params.queries, min(lengths[b], params.keys));
    // Apart from what differs between invocations, for no loop with a barrier in it may end by that.
    let end = place.end;
    place.row_start = vec2u(head_start(params.query, b, n));
    place.column_start = vec2u(head_start(params.key, b, n), head_start(params.value, b, n));
    place.lane = lane;
    place.group = group;
    let context_start = head_start(params.context, b, n);

    var sums: Sums;
    var largest: PerRow;
    var total: PerRow;                  // of this lane's columns
    for (var r = 0u; r < ROWS; r++) { largest[r] = FLOOR; }
    for (var column0 = 0u; column0 < end; column0 += COLUMN_TILE) {
        var weights = products(false, place, column0);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_from(place, column0 + (j * LANES + lane) * 4u);
            for (var r = 0u; r < ROWS; r++) {
                let seen = visible(place, position_of_row(place, group * ROWS + r), columns);
                weights[r][j] = select(vec4f(FLOOR), weights[r][j] * params.scale, seen);
            }
        }
        weigh(place, &weights, &largest, &total, &sums);
#ifdef ADJUSTED
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_from(place, column0 + (j * LANES + lane) * 4u);
            for (var r = 0u; r < ROWS; r++) {
                weights[r][j] *= kept(b, n, vec4u(position_of_row(place, group * ROWS + r)), columns.at);
            }
        }
#endif
        accumulate(true, place, column0, end - column0, &weights, &sums);
    }

    total = sum_of_lanes(place, total);
    for (var r = 0u; r < ROWS; r++) {
        let row = position_of_row(place, group * ROWS + r);
        if (row < params.queries) {
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
}
