// Gradients of lsh_attention, in passes like those of dot_product_attention_backward: one owns rows of queries and, under KEY, another
// rows of keys, and either walks over the other side as lsh_places.wgsl says. A dispatch has one round, and adds to what those before have
// made.
//     weight  = exp(query · key * scale - log_sum_exp)
//     d_score = weight * (d_context · value - delta) * scale
//     d_query = d_score · key        d_key = d_scoreᵀ · query        d_value = weightᵀ · d_context
// where dropout, if there is any, scales d_context · value, and the weights behind d_value, by what it has scaled weights by.
//
// ADJUSTED: weights have dropout.
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_dropout
#import attention_loads
#import attention_tiles
#import heads
#import load_piece(d_first)
#import lsh_places
#import store_piece(d_first)
#ifdef KEY
#import load_piece(d_second)
#import store_piece(d_second)
#endif

struct Params {
    query: Heads, key: Heads, value: Heads, d_context: Heads, d_first: Heads, d_second: Heads,  // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,           // as many keys as queries
    size: u32, causal: u32, scale: f32, excluding: u32,
    rounds: u32, round: u32, hashed: u32, chunk: u32,
    before: u32, after: u32, least: u32, multiple: u32,
    operation: u32, threshold: u32, kept_scale: f32, unused: u32,   // of dropout
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> query: array<Word>;                    // [B, T, N, D]
@group(0) @binding(3) var<storage, read> key: array<Word>;                      // [B, T, N, D]
@group(0) @binding(4) var<storage, read> value: array<Word>;                    // [B, T, N, D]
@group(0) @binding(5) var<storage, read> d_context: array<Word>;                // [B, T, N, D]
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;              // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length
@group(0) @binding(7) var<storage, read> sorted: array<u32>;                    // [B, N, rounds, T]
@group(0) @binding(8) var<storage, read_write> d_first: array<Word>;            // [B, T, N, D]: d_query; KEY: d_key
@group(0) @binding(9) var<storage, read_write> d_second: array<Word>;           // KEY: d_value; else not used

#ifdef KEY
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_key_side(second, at, feature); }
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }
fn row_stride(second: bool) -> u32 { return key_stride(second); }
fn column_stride(second: bool) -> u32 { return query_stride(second); }
#else
fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_key_side(second, at, feature); }
fn row_stride(second: bool) -> u32 { return query_stride(second); }
fn column_stride(second: bool) -> u32 { return key_stride(second); }
#endif

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
    let length = u32(statistics[params.head_count * params.queries + b].x);
    var place = place_of(index % tiles_of_head(), head, length);
    // Apart from what differs between invocations, for no loop with a barrier in it may end by that.
    let end = place.end;
    place.lane = lane;
    place.group = group;
    let query_start = vec2u(head_start(params.query, b, n), head_start(params.d_context, b, n));
    let key_start = vec2u(head_start(params.key, b, n), head_start(params.value, b, n));
#ifdef KEY
    place.row_start = key_start;
    place.column_start = query_start;
#else
    place.row_start = query_start;
    place.column_start = key_start;
#endif
    let first_start = head_start(params.d_first, b, n);
    let second_start = head_start(params.d_second, b, n);
    let first_statistic = head * params.queries;
    let last = params.queries - 1u;

    gather_rows(place);
    var first: Sums;
#ifdef KEY
    var second: Sums;
#else
    var row_statistics: array<vec2f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row_statistics[r] = statistics[first_statistic + min(row_positions[group * ROWS + r], last)];
    }
#endif
    for (var column0 = 0u; column0 < end; column0 += COLUMN_TILE) {
        gather_columns(place, column0);
        var weights = products(false, place, column0);
        var d_scores = products(true, place, column0);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_of(j, lane);
#ifdef KEY
            let i = first_statistic + min(columns, vec4u(last));
            let x = statistics[i.x];
            let y = statistics[i.y];
            let z = statistics[i.z];
            let w = statistics[i.w];
            let column_log_sum_exp = vec4f(x.x, y.x, z.x, w.x);
            let column_delta = vec4f(x.y, y.y, z.y, w.y);
#endif
            for (var r = 0u; r < ROWS; r++) {
                let row = row_positions[group * ROWS + r];
                let seen = visible(place, row, columns);
#ifdef KEY
                let log_sum_exp = column_log_sum_exp;
                let delta = column_delta;
#else
                let log_sum_exp = vec4f(row_statistics[r].x);
                let delta = vec4f(row_statistics[r].y);
#endif
#ifdef ADJUSTED
#ifdef KEY
                let multiplied = kept(b, n, columns, vec4u(row));
#else
                let multiplied = kept(b, n, vec4u(row), columns);
#endif
#else
                let multiplied = vec4f(1.0);
#endif
                // No visible score exceeds its log_sum_exp; a masked one may, without bound.
                let exponent = min(fma(weights[r][j], vec4f(params.scale), -log_sum_exp), vec4f(0.0));
                let weight = select(vec4f(), exp(exponent), seen);
                let d_weight = d_scores[r][j] * multiplied;
                d_scores[r][j] = select(vec4f(), weight * (d_weight - delta) * params.scale, seen);
                weights[r][j] = weight * multiplied;
            }
        }
        accumulate(false, place, column0, end - column0, &d_scores, &first);
#ifdef KEY
        accumulate(true, place, column0, end - column0, &weights, &second);
#endif
    }

    for (var r = 0u; r < ROWS; r++) {
        let row = row_positions[group * ROWS + r];
        let valid = row < length;
        // Past the text's end the first round has written zeros.
        if (row >= params.queries || (params.round > 0u && !valid)) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            let first_at = first_start + row * params.d_first.row;
            var first_piece: Piece;
            for (var p = 0u; p < PARTS; p++) { first_piece[p] = first[r][j + p]; }
            if (params.round > 0u) {
                var made = load_piece_d_first(first_at + feature, first_at + params.size);
                for (var p = 0u; p < PARTS; p++) { first_piece[p] += made[p]; }
            }
            store_piece_d_first(first_at + feature, first_at + params.size, first_piece);
#ifdef KEY
            let second_at = second_start + row * params.d_second.row;
            var second_piece: Piece;
            for (var p = 0u; p < PARTS; p++) { second_piece[p] = second[r][j + p]; }
            if (params.round > 0u) {
                var made = load_piece_d_second(second_at + feature, second_at + params.size);
                for (var p = 0u; p < PARTS; p++) { second_piece[p] += made[p]; }
            }
            store_piece_d_second(second_at + feature, second_at + params.size, second_piece);
#endif
        }
    }
#ifdef KEY
    if (params.excluding == 0u || params.round > 0u) { return; }
    // The context of a position that sees none but itself is its own value. In a loop of its own, as in the forward pass.
    for (var r = 0u; r < ROWS; r++) {
        let row = row_positions[group * ROWS + r];
        if (row >= length || statistics[first_statistic + min(row, last)].x > BY_ITSELF) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            let own = second_start + row * params.d_second.row;
            let from_context = query_start.y + row * params.d_context.row;
            var d_own = load_piece_d_second(own + feature, own + params.size);
            var d_made = load_piece_d_context(from_context + feature, from_context + params.size);
            for (var p = 0u; p < PARTS; p++) { d_own[p] += d_made[p]; }
            store_piece_d_second(own + feature, own + params.size, d_own);
        }
    }
#endif
}
