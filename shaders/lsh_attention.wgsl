// dot_product_attention where a position sees those of its own chunk, and of chunks beside it, in the orders of several rounds:
// lsh_places.wgsl says which tiles a workgroup walks over. Kitaev, Kaiser and Levskaya 2020, section 2. A dispatch has one round, whose
// contexts are weighed against those of the rounds before by the sums of their exponentials (equation 6). A position that sees none but
// itself has its own value as context; one past its text's end has 0.
//
// ADJUSTED: weights have dropout.
// VECTOR, WIDE: sizes, offsets and strides are multiples of a piece.
#import attention_dropout
#import attention_softmax
#import attention_tiles
#import heads
#import load_piece(query)
#import load_piece(key)
#import load_piece(value)
#import load_piece(context)
#import lsh_places
#import store_piece(context)

struct Params {
    query: Heads, key: Heads, value: Heads, context: Heads,         // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,           // as many keys as queries
    size: u32, causal: u32, scale: f32, excluding: u32,
    rounds: u32, round: u32, hashed: u32, chunk: u32,
    before: u32, after: u32, least: u32, multiple: u32,
    operation: u32, threshold: u32, kept_scale: f32, unused: u32,   // of dropout
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> query: array<Word>;             // [B, T, N, D]
@group(0) @binding(3) var<storage, read> key: array<Word>;               // [B, T, N, D]
@group(0) @binding(4) var<storage, read> value: array<Word>;             // [B, T, N, D]
@group(0) @binding(5) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(6) var<storage, read> sorted: array<u32>;             // [B, N, rounds, T]
@group(0) @binding(7) var<storage, read_write> context: array<Word>;     // [B, T, N, D]
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

// What the contexts of this round and of those before are worth in that of all of them, and its log_sum_exp.
struct Merged { share: f32, share_before: f32, log_sum_exp: f32 }

fn merge(of_round: f32, before: f32) -> Merged {
    if (params.round == 0u) { return Merged(1.0, 0.0, of_round); }
    let top = max(of_round, before);
    let share = exp(of_round - top);
    let share_before = exp(before - top);
    let sum = share + share_before;
    return Merged(share / sum, share_before / sum, top + log(sum));
}

var<workgroup> own_share: array<f32, ROW_TILE>;        // of a row's own value in its context

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
    var place = place_of(index % tiles_of_head(), head, min(lengths[b], params.keys));
    // Apart from what differs between invocations, for no loop with a barrier in it may end by that.
    let end = place.end;
    place.row_start = vec2u(head_start(params.query, b, n));
    place.column_start = vec2u(head_start(params.key, b, n), head_start(params.value, b, n));
    place.lane = lane;
    place.group = group;
    let value_start = place.column_start.y;
    let context_start = head_start(params.context, b, n);
    let first_statistic = head * params.queries;

    gather_rows(place);
    var before: PerRow;                 // log_sum_exp of the rounds before
    for (var r = 0u; r < ROWS; r++) {
        before[r] = log_sum_exp[first_statistic + min(row_positions[group * ROWS + r], params.queries - 1u)];
    }
    var sums: Sums;
    var largest: PerRow;
    var total: PerRow;                  // of this lane's columns
    for (var r = 0u; r < ROWS; r++) { largest[r] = FLOOR; }
    for (var column0 = 0u; column0 < end; column0 += COLUMN_TILE) {
        gather_columns(place, column0);
        var weights = products(false, place, column0);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_of(j, lane);
            for (var r = 0u; r < ROWS; r++) {
                let seen = visible(place, row_positions[group * ROWS + r], columns);
                weights[r][j] = select(vec4f(FLOOR), weights[r][j] * params.scale, seen);
            }
        }
        weigh(place, &weights, &largest, &total, &sums);
#ifdef ADJUSTED
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_of(j, lane);
            for (var r = 0u; r < ROWS; r++) {
                weights[r][j] *= kept(b, n, vec4u(row_positions[group * ROWS + r]), columns);
            }
        }
#endif
        accumulate(true, place, column0, end - column0, &weights, &sums);
    }

    total = sum_of_lanes(place, total);
    // The log_sum_exp of the rounds before is read by all, and replaced by one.
    storageBarrier();
    for (var r = 0u; r < ROWS; r++) {
        let row = row_positions[group * ROWS + r];
        let valid = row < place.length;
        // Past the text's end the first round has written zeros.
        if (row >= params.queries || (params.round > 0u && !valid)) { continue; }
        let alone = valid && !(total[r] > 0.0);
        let merged = merge(select(largest[r] + log(max(total[r], 1e-30)), BY_ITSELF, alone), before[r]);
        let inverse = select(0.0, merged.share / max(total[r], 1e-30), valid);
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            var result: Piece;
            for (var p = 0u; p < PARTS; p++) { result[p] = sums[r][j + p] * inverse; }
            let start = context_start + row * params.context.row;
            if (params.round > 0u) {
                var made = load_piece_context(start + feature, start + params.size);
                for (var p = 0u; p < PARTS; p++) { result[p] = fma(made[p], vec4f(merged.share_before), result[p]); }
            }
            store_piece_context(start + feature, start + params.size, result);
        }
        if (lane == 0u) {
            log_sum_exp[first_statistic + row] = select(0.0, merged.log_sum_exp, valid);
            own_share[group * ROWS + r] = select(0.0, merged.share, alone);
        }
    }
    // In a loop of its own, which stays one: the rows above are unrolled, and there is seldom such a one.
    if (params.excluding == 0u) { return; }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        let row = row_positions[group * ROWS + r];
        let share = own_share[group * ROWS + r];
        if (row >= place.length || share == 0.0) { continue; }
        for (var j = 0u; j < FEATURES; j += PARTS) {
            let feature = feature_of(j, lane);
            if (feature >= params.size) { continue; }
            let start = context_start + row * params.context.row;
            let own = value_start + row * params.value.row;
            var result = load_piece_context(start + feature, start + params.size);
            var own_value = load_piece_value(own + feature, own + params.size);
            for (var p = 0u; p < PARTS; p++) { result[p] = fma(own_value[p], vec4f(share), result[p]); }
            store_piece_context(start + feature, start + params.size, result);
        }
    }
}
