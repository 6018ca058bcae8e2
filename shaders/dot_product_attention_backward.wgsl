// Gradients of dot_product_attention, in one of two passes. The query pass owns rows of queries and walks over the keys; under
// KEY the pass owns rows of keys and walks over the queries. Either recomputes the weights from log_sum_exp (Dao et al. 2022,
// algorithm 4), so nothing of size queries x keys is stored, and either writes what it owns, so nothing is added atomically:
//     weight  = exp(query · key * scale + bias - log_sum_exp)
//     d_score = weight * (d_context · value - delta) * scale
//     d_query = d_score · key        d_key = d_scoreᵀ · query        d_value = weightᵀ · d_context
// where dropout, if there is any, scales d_context · value, and the weights behind d_value, by what it has scaled weights by.
//
// ADJUSTED: scores have a bias by relative position, or weights dropout, or both.
// TOGETHER: d_key and d_value lie in one tensor.
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_bias
#import attention_dropout
#import attention_loads
#import attention_places
#import attention_tiles
#import heads
#import store_piece(d_first)
#import store_piece(d_second)

struct Params {
    query: Heads, key: Heads, value: Heads, d_context: Heads, d_first: Heads, d_second: Heads,  // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, causal: u32, scale: f32, biased: u32,
    operation: u32, threshold: u32, kept_scale: f32, unused: u32,       // of dropout
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> query: array<Word>;                    // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(3) var<storage, read> key: array<Word>;                      // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(4) var<storage, read> value: array<Word>;                    // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(5) var<storage, read> d_context: array<Word>;                // as query
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;              // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length
@group(0) @binding(7) var<storage, read> bias: array<f32>;                      // [N, T + S - 1], by s - t + T - 1
@group(0) @binding(8) var<storage, read_write> d_first: array<Word>;            // d_query, as query; KEY: d_key, as key
@group(0) @binding(9) var<storage, read_write> d_second: array<Word>;           // KEY without TOGETHER: d_value, as value; else not used

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

fn store(first_at: u32, second_at: u32, feature: u32, first: Piece, second: Piece) {
    if (feature < params.size) {
        store_piece_d_first(first_at + feature, first_at + params.size, first);
#ifdef KEY
#ifdef TOGETHER
        store_piece_d_first(second_at + feature, second_at + params.size, second);
#else
        store_piece_d_second(second_at + feature, second_at + params.size, second);
#endif
#endif
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
#ifdef KEY
    let rows = params.keys;
#else
    let rows = params.queries;
#endif
    let tiles = (rows + ROW_TILE - 1u) / ROW_TILE;
    let index = workgroup.x + workgroup.y * workgroups.x;
    let head = index / tiles;
    if (head >= params.head_count) { return; }
    let row0 = index % tiles * ROW_TILE;
    let length = u32(statistics[params.head_count * params.queries + head / params.heads].x);
    let causal = params.causal != 0u;
    let b = head / params.heads;
    let n = head % params.heads;
    let query_start = vec2u(head_start(params.query, b, n), head_start(params.d_context, b, n));
    let key_start = vec2u(head_start(params.key, b, n), head_start(params.value, b, n));
    let first_start = head_start(params.d_first, b, n);
    let second_start = head_start(params.d_second, b, n);
    // With length 0 the last key is wrong, but then no key is read.
    let last_key = length - 1u;
    let last_query = params.queries - 1u;
    let first_statistic = head * params.queries;
#ifdef KEY
    let place = Place(row0, last_key, last_query, key_start, query_start, lane, group);
    let begin = select(0u, row0 / COLUMN_TILE * COLUMN_TILE, causal);
    let end = select(0u, params.queries, row0 < length);
#else
    let place = Place(row0, last_query, last_key, query_start, key_start, lane, group);
    let begin = 0u;
    let end = select(length, min(length, row0 + ROW_TILE), causal);
    var row_statistics: array<vec2f, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row_statistics[r] = statistics[first_statistic + min(row0 + group * ROWS + r, last_query)];
    }
#endif

    var first: Sums;
#ifdef KEY
    var second: Sums;
#endif
    for (var column0 = begin; column0 < end; column0 += COLUMN_TILE) {
        var weights = products(false, place, column0);
        var d_scores = products(true, place, column0);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = vec4u(column0 + (j * LANES + lane) * 4u) + vec4u(0u, 1u, 2u, 3u);
#ifdef KEY
            let i = first_statistic + min(columns, vec4u(last_query));
            let x = statistics[i.x];
            let y = statistics[i.y];
            let z = statistics[i.z];
            let w = statistics[i.w];
            let log_sum_exp = vec4f(x.x, y.x, z.x, w.x);
            let delta = vec4f(x.y, y.y, z.y, w.y);
#endif
#ifdef ADJUSTED
            let row_first = row0 + group * ROWS;
#ifdef KEY
            let biases = biases_from(n, row_first + params.queries - 4u - columns.x);
#else
            let biases = biases_from(n, columns.x + params.queries - ROWS - row_first);
#endif
#endif
            for (var r = 0u; r < ROWS; r++) {
                let row = row0 + group * ROWS + r;
#ifdef KEY
                let visible = (columns >= vec4u(select(0u, row, causal))) & (columns < vec4u(select(0u, end, row < length)));
#else
                let visible = columns < vec4u(select(length, min(length, row + 1u), causal));
                let log_sum_exp = vec4f(row_statistics[r].x);
                let delta = vec4f(row_statistics[r].y);
#endif
#ifdef ADJUSTED
#ifdef KEY
                let added = vec4f(biases[r + 3u], biases[r + 2u], biases[r + 1u], biases[r]) - log_sum_exp;
                let multiplied = kept(b, n, columns, vec4u(row));
#else
                let i = ROWS - 1u - r;
                let added = vec4f(biases[i], biases[i + 1u], biases[i + 2u], biases[i + 3u]) - log_sum_exp;
                let multiplied = kept(b, n, vec4u(row), columns);
#endif
                let d_weight = d_scores[r][j] * multiplied;
#else
                let added = -log_sum_exp;
                let d_weight = d_scores[r][j];
#endif
                // No visible score exceeds its log_sum_exp; a masked one may, without bound.
                let exponent = min(fma(weights[r][j], vec4f(params.scale), added), vec4f(0.0));
                let weight = select(vec4f(), exp(exponent), visible);
                d_scores[r][j] = select(vec4f(), weight * (d_weight - delta) * params.scale, visible);
#ifdef ADJUSTED
                weights[r][j] = weight * multiplied;
#else
                weights[r][j] = weight;
#endif
            }
        }
        accumulate(false, place, column0, end - column0, &d_scores, &first);
#ifdef KEY
        accumulate(true, place, column0, end - column0, &weights, &second);
#endif
    }

    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row < rows) {
            for (var j = 0u; j < FEATURES; j += PARTS) {
                var first_piece: Piece;
                var second_piece: Piece;
                for (var p = 0u; p < PARTS; p++) {
                    first_piece[p] = first[r][j + p];
#ifdef KEY
                    second_piece[p] = second[r][j + p];
#endif
                }
                store(first_start + row * params.d_first.row, second_start + row * params.d_second.row, feature_of(j, lane), first_piece, second_piece);
            }
        }
    }
}
