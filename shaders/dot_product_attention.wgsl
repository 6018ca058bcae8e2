// context = softmax(query · keyᵀ * scale) · value, with the softmax's denominators kept for the backward. Vaswani et al. 2017,
// section 3.2.1; the softmax is taken online, one tile of keys after the other (Milakov and Gimelshein 2018; Dao et al. 2022),
// so nothing of size queries x keys is stored. Rows are queries, columns keys.
//
// ADJUSTED: scores have a bias by relative position, or weights dropout, or both.
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_bias
#import attention_dropout
#import attention_places
#import attention_softmax
#import attention_tiles
#import heads
#import load_piece(query)
#import load_piece(key)
#import load_piece(value)
#import store_piece(context)

struct Params {
    query: Heads, key: Heads, value: Heads, context: Heads,         // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, causal: u32, scale: f32, biased: u32,
    operation: u32, threshold: u32, kept_scale: f32, unused: u32,       // of dropout
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> query: array<Word>;             // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(3) var<storage, read> key: array<Word>;               // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(4) var<storage, read> value: array<Word>;             // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(6) var<storage, read> bias: array<f32>;               // [N, T + S - 1], by s - t + T - 1
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
    let tiles = (params.queries + ROW_TILE - 1u) / ROW_TILE;
    let index = workgroup.x + workgroup.y * workgroups.x;
    let head = index / tiles;
    if (head >= params.head_count) { return; }
    let row0 = index % tiles * ROW_TILE;
    let length = min(lengths[head / params.heads], params.keys);
    var end = length;
    if (params.causal != 0u) { end = min(end, row0 + ROW_TILE); }
    // With length 0 the last key is wrong, but then no key is read.
    let b = head / params.heads;
    let n = head % params.heads;
    let place = Place(row0, params.queries - 1u, length - 1u, vec2u(head_start(params.query, b, n)),
        vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), lane, group);
    let context_start = head_start(params.context, b, n);

    var sums: Sums;
    var largest: PerRow;
    var total: PerRow;                  // of this lane's columns
    for (var r = 0u; r < ROWS; r++) { largest[r] = FLOOR; }
    for (var column0 = 0u; column0 < end; column0 += COLUMN_TILE) {
        var weights = products(false, place, column0);
#ifdef ADJUSTED
        for (var j = 0u; j < BLOCKS; j++) {
            let column = column0 + (j * LANES + lane) * 4u;
            let biases = biases_from(n, column + params.queries - ROWS - (row0 + group * ROWS));
            for (var r = 0u; r < ROWS; r++) {
                let i = ROWS - 1u - r;
                weights[r][j] = fma(weights[r][j], vec4f(params.scale), vec4f(biases[i], biases[i + 1u], biases[i + 2u], biases[i + 3u]));
            }
        }
#endif
        for (var r = 0u; r < ROWS; r++) {
            let visible = select(length, min(length, row0 + group * ROWS + r + 1u), params.causal != 0u);
            for (var j = 0u; j < BLOCKS; j++) {
                let columns = vec4u(column0 + (j * LANES + lane) * 4u) + vec4u(0u, 1u, 2u, 3u);
#ifdef ADJUSTED
                let scaled = weights[r][j];
#else
                let scaled = weights[r][j] * params.scale;
#endif
                weights[r][j] = select(vec4f(FLOOR), scaled, columns < vec4u(visible));
            }
        }
        weigh(place, &weights, &largest, &total, &sums);
#ifdef ADJUSTED
        for (var r = 0u; r < ROWS; r++) {
            for (var j = 0u; j < BLOCKS; j++) {
                let columns = vec4u(column0 + (j * LANES + lane) * 4u) + vec4u(0u, 1u, 2u, 3u);
                weights[r][j] *= kept(b, n, vec4u(row0 + group * ROWS + r), columns);
            }
        }
#endif
        accumulate(true, place, column0, end - column0, &weights, &sums);
    }

    total = sum_of_lanes(place, total);
    for (var r = 0u; r < ROWS; r++) {
        let row = row0 + group * ROWS + r;
        if (row < params.queries) {
            let seen = length > 0u;
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
