// Gradients of dot_product_attention, in one of two passes. The query pass owns rows of queries and walks over the keys; under
// KEY the pass owns rows of keys and walks over the queries. Either recomputes the weights from log_sum_exp (Dao et al. 2022,
// algorithm 4), so nothing of size queries x keys is stored, and either writes what it owns, so nothing is added atomically:
//     weight  = exp(query · key * scale - log_sum_exp)
//     d_score = weight * (d_context · value - delta) * scale
//     d_query = d_score · key        d_key = d_scoreᵀ · query        d_value = weightᵀ · d_context
//
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_tiles

struct Params {
    query: vec4u, key: vec4u, value: vec4u, d_context: vec4u, d_first: vec4u, d_second: vec4u,  // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, causal: u32, scale: f32, unused: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Word>;                    // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Word>;                      // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Word>;                    // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(4) var<storage, read> d_context: array<Word>;                // as query
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>;              // [B, N, T, 2]: log_sum_exp, delta
@group(0) @binding(6) var<storage, read> lengths: array<u32>;                   // [B]
@group(0) @binding(7) var<storage, read_write> d_first: array<Word>;            // d_query, as query; KEY: d_key, as key
@group(0) @binding(8) var<storage, read_write> d_second: array<Word>;           // KEY: d_value, as value; else not used

// A piece of a row or column; features at the size and past it are 0 in the scalar form, and in the others are not stored.
#ifdef VECTOR
fn piece_at(at: u32, feature: u32) -> u32 { return (at + min(feature, params.size - PIECE)) / PIECE; }
fn load_query(at: u32, feature: u32) -> Piece { return unpack(query[piece_at(at, feature)]); }
fn load_key(at: u32, feature: u32) -> Piece { return unpack(key[piece_at(at, feature)]); }
fn load_value(at: u32, feature: u32) -> Piece { return unpack(value[piece_at(at, feature)]); }
fn load_d_context(at: u32, feature: u32) -> Piece { return unpack(d_context[piece_at(at, feature)]); }
#else
fn piece_at(at: u32, feature: u32) -> vec4u {
    return at + min(vec4u(feature) + vec4u(0u, 1u, 2u, 3u), vec4u(params.size - 1u));
}
fn keep(loaded: vec4f, feature: u32) -> Piece {
    return Piece(select(vec4f(), loaded, vec4u(feature) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.size)));
}
fn load_query(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(query[i.x], query[i.y], query[i.z], query[i.w])), feature);
}
fn load_key(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(key[i.x], key[i.y], key[i.z], key[i.w])), feature);
}
fn load_value(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(value[i.x], value[i.y], value[i.z], value[i.w])), feature);
}
fn load_d_context(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(d_context[i.x], d_context[i.y], d_context[i.z], d_context[i.w])), feature);
}
#endif

fn load_query_side(second: bool, at: u32, feature: u32) -> Piece {
    if (second) { return load_d_context(at, feature); }
    return load_query(at, feature);
}
fn load_key_side(second: bool, at: u32, feature: u32) -> Piece {
    if (second) { return load_value(at, feature); }
    return load_key(at, feature);
}
#ifdef KEY
fn load_row(second: bool, at: u32, feature: u32) -> Piece { return load_key_side(second, at, feature); }
fn load_column(second: bool, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }
#else
fn load_row(second: bool, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }
fn load_column(second: bool, at: u32, feature: u32) -> Piece { return load_key_side(second, at, feature); }
#endif

fn store(first_at: u32, second_at: u32, feature: u32, first: Piece, second: Piece) {
#ifdef VECTOR
    if (feature < params.size) {
        d_first[(first_at + feature) / PIECE] = pack(first);
#ifdef KEY
        d_second[(second_at + feature) / PIECE] = pack(second);
#endif
    }
#else
    for (var i = 0u; i < 4u; i++) {
        if (feature + i < params.size) {
            d_first[first_at + feature + i] = element(first[0][i]);
#ifdef KEY
            d_second[second_at + feature + i] = element(second[0][i]);
#endif
        }
    }
#endif
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
    let length = min(lengths[head / params.heads], params.keys);
    let causal = params.causal != 0u;
    let b = head / params.heads;
    let n = head % params.heads;
    let query_rows = rows_of(params.query, b, n);
    let d_context_rows = rows_of(params.d_context, b, n);
    let key_rows = rows_of(params.key, b, n);
    let value_rows = rows_of(params.value, b, n);
    let d_first_rows = rows_of(params.d_first, b, n);
    let d_second_rows = rows_of(params.d_second, b, n);
    // With length 0 the last key is wrong, but then no key is read.
    let last_key = length - 1u;
    let last_query = params.queries - 1u;
    let first_statistic = head * params.queries;
#ifdef KEY
    let place = Place(row0, last_key, last_query, key_rows, value_rows, query_rows, d_context_rows, lane, group);
    let begin = select(0u, row0 / COLUMN_TILE * COLUMN_TILE, causal);
    let end = select(0u, params.queries, row0 < length);
#else
    let place = Place(row0, last_query, last_key, query_rows, d_context_rows, key_rows, value_rows, lane, group);
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
            for (var r = 0u; r < ROWS; r++) {
                let row = row0 + group * ROWS + r;
#ifdef KEY
                let visible = (columns >= vec4u(select(0u, row, causal))) & (columns < vec4u(select(0u, end, row < length)));
#else
                let visible = columns < vec4u(select(length, min(length, row + 1u), causal));
                let log_sum_exp = vec4f(row_statistics[r].x);
                let delta = vec4f(row_statistics[r].y);
#endif
                // No visible score exceeds its log_sum_exp; a masked one may, without bound.
                let exponent = min(fma(weights[r][j], vec4f(params.scale), -log_sum_exp), vec4f(0.0));
                let weight = select(vec4f(), exp(exponent), visible);
                d_scores[r][j] = select(vec4f(), weight * (d_scores[r][j] - delta) * params.scale, visible);
                weights[r][j] = weight;
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
                store(start_of(d_first_rows, row), start_of(d_second_rows, row), feature_of(j, lane), first_piece, second_piece);
            }
        }
    }
}
