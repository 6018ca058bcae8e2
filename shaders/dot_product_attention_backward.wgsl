// Gradients of dot_product_attention, in one of two passes. The query pass owns rows of queries and walks over the keys; under
// KEY the pass owns rows of keys and walks over the queries. Either recomputes the weights from log_sum_exp (Dao et al. 2022,
// algorithm 4), so nothing of size queries x keys is stored, and either writes what it owns, so nothing is added atomically:
//     weight  = exp(query · key * scale - log_sum_exp)
//     d_score = weight * (d_context · value - delta) * scale
//     d_query = d_score · key        d_key = d_scoreᵀ · query        d_value = weightᵀ · d_context
//
// VECTOR, WIDE: the size of a head is a multiple of a piece.
#import attention_tiles

struct Params { heads: u32, head_count: u32, queries: u32, keys: u32, size: u32, causal: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Word>;                    // [B, N, T, D]
@group(0) @binding(2) var<storage, read> key: array<Word>;                      // [B, N, S, D]
@group(0) @binding(3) var<storage, read> value: array<Word>;                    // [B, N, S, D]
@group(0) @binding(4) var<storage, read> d_context: array<Word>;                // [B, N, T, D]
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>;              // [B, N, T, 2]: log_sum_exp, delta
@group(0) @binding(6) var<storage, read> lengths: array<u32>;                   // [B]
@group(0) @binding(7) var<storage, read_write> d_first: array<Word>;            // d_query [B, N, T, D]; KEY: d_key [B, N, S, D]
@group(0) @binding(8) var<storage, read_write> d_second: array<Word>;           // KEY: d_value [B, N, S, D]; else not used

// A piece of a row or column; features at the size and past it are 0 in the scalar form, and in the others are not stored.
#ifdef VECTOR
fn start_of(row: u32, feature: u32) -> u32 { return (row * params.size + min(feature, params.size - PIECE)) / PIECE; }
fn load_query(row: u32, feature: u32) -> Piece { return unpack(query[start_of(row, feature)]); }
fn load_key(row: u32, feature: u32) -> Piece { return unpack(key[start_of(row, feature)]); }
fn load_value(row: u32, feature: u32) -> Piece { return unpack(value[start_of(row, feature)]); }
fn load_d_context(row: u32, feature: u32) -> Piece { return unpack(d_context[start_of(row, feature)]); }
#else
fn start_of(row: u32, feature: u32) -> vec4u {
    return row * params.size + min(vec4u(feature) + vec4u(0u, 1u, 2u, 3u), vec4u(params.size - 1u));
}
fn keep(loaded: vec4f, feature: u32) -> Piece {
    return Piece(select(vec4f(), loaded, vec4u(feature) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.size)));
}
fn load_query(row: u32, feature: u32) -> Piece {
    let i = start_of(row, feature);
    return keep(vec4f(element4(query[i.x], query[i.y], query[i.z], query[i.w])), feature);
}
fn load_key(row: u32, feature: u32) -> Piece {
    let i = start_of(row, feature);
    return keep(vec4f(element4(key[i.x], key[i.y], key[i.z], key[i.w])), feature);
}
fn load_value(row: u32, feature: u32) -> Piece {
    let i = start_of(row, feature);
    return keep(vec4f(element4(value[i.x], value[i.y], value[i.z], value[i.w])), feature);
}
fn load_d_context(row: u32, feature: u32) -> Piece {
    let i = start_of(row, feature);
    return keep(vec4f(element4(d_context[i.x], d_context[i.y], d_context[i.z], d_context[i.w])), feature);
}
#endif

fn load_query_side(second: bool, row: u32, feature: u32) -> Piece {
    if (second) { return load_d_context(row, feature); }
    return load_query(row, feature);
}
fn load_key_side(second: bool, row: u32, feature: u32) -> Piece {
    if (second) { return load_value(row, feature); }
    return load_key(row, feature);
}
#ifdef KEY
fn load_row(second: bool, row: u32, feature: u32) -> Piece { return load_key_side(second, row, feature); }
fn load_column(second: bool, column: u32, feature: u32) -> Piece { return load_query_side(second, column, feature); }
#else
fn load_row(second: bool, row: u32, feature: u32) -> Piece { return load_query_side(second, row, feature); }
fn load_column(second: bool, column: u32, feature: u32) -> Piece { return load_key_side(second, column, feature); }
#endif

fn store(row: u32, feature: u32, first: Piece, second: Piece) {
    let at = row * params.size + feature;
#ifdef VECTOR
    if (feature < params.size) {
        d_first[at / PIECE] = pack(first);
#ifdef KEY
        d_second[at / PIECE] = pack(second);
#endif
    }
#else
    for (var i = 0u; i < 4u; i++) {
        if (feature + i < params.size) {
            d_first[at + i] = element(first[0][i]);
#ifdef KEY
            d_second[at + i] = element(second[0][i]);
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
    let first_query = head * params.queries;
    let last_query = first_query + params.queries - 1u;
    // With length 0 the last key is wrong, but then no key is read.
    let first_key = head * params.keys;
    let last_key = first_key + length - 1u;
#ifdef KEY
    let place = Place(first_key + row0, last_key, first_query, last_query, lane, group);
    let begin = select(0u, row0 / COLUMN_TILE * COLUMN_TILE, causal);
    let end = select(0u, params.queries, row0 < length);
#else
    let place = Place(first_query + row0, last_query, first_key, last_key, lane, group);
    let begin = 0u;
    let end = select(length, min(length, row0 + ROW_TILE), causal);
    var row_statistics: array<vec2f, ROWS>;
    for (var r = 0u; r < ROWS; r++) { row_statistics[r] = statistics[row_of(place, group * ROWS + r)]; }
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
            let x = statistics[column_of(place, columns.x)];
            let y = statistics[column_of(place, columns.y)];
            let z = statistics[column_of(place, columns.z)];
            let w = statistics[column_of(place, columns.w)];
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
#ifdef KEY
                store(first_key + row, feature_of(j, lane), first_piece, second_piece);
#else
                store(first_query + row, feature_of(j, lane), first_piece, second_piece);
#endif
            }
        }
    }
}
