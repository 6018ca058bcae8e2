// What the backward passes of span_attention share: bindings, loads, and gradients of scores and masks.
#import attention_lines
#import heads
#import load_piece(query)
#import load_piece(key)
#import load_piece(value)
#import load_piece(position)
#import load_piece(d_context)
#import span_mask

struct Params {
    query: Heads, key: Heads, value: Heads, d_context: Heads,    // layouts
    first: Heads, second: Heads,            // of the gradients
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, limit: u32, ramp: f32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<Word>;                 // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Word>;                   // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Word>;                 // [B, S, N, D]
@group(0) @binding(4) var<storage, read> position: array<SingleWord>;        // [L, D], by distance from 1 on
@group(0) @binding(5) var<storage, read> d_context: array<Word>;             // [B, T, N, D]
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [N, 2]: span

// A piece of a query, or, second, of the gradient of its context.
fn load_query_side(second: bool, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (second) { return load_piece_d_context(start, at + params.size); }
    return load_piece_query(start, at + params.size);
}
fn query_stride(second: bool) -> u32 { return select(params.query.row, params.d_context.row, second); }

// A piece of a key, of a value, or of the vector of a distance.
fn load_key_side(second: bool, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (second) { return load_piece_value(start, at + params.size); }
    return load_piece_key(start, at + params.size);
}
fn key_stride(second: bool) -> u32 { return select(params.key.row, params.value.row, second); }
fn load_distance(at: u32, feature: u32) -> Piece {
    return load_piece_position(at + loaded_from(feature), at + params.size);
}

fn span_of(n: u32) -> f32 { return statistics[params.head_count * params.queries + n].x; }

// The weights of four pairs of a query and a key, made again, and gradients (Dao et al. 2022, algorithm 4).
struct Pairs { weight: vec4f, d_score: vec4f, d_mask: vec4f }

// log_sum_exp and delta of four queries.
struct Statistics { log_sum_exp: vec4f, delta: vec4f }

// `scores` are those before their scale; what is not seen may be anything.
fn pairs_of(scores: vec4f, d_weights: vec4f, queries: Statistics, masks: vec4f, seen: vec4<bool>) -> Pairs {
    // What a weight would be without its mask: at most one over it.
    let unmasked = select(vec4f(), exp(fma(scores, vec4f(params.scale), -queries.log_sum_exp)), seen);
    let d_mask = select(vec4f(), unmasked * (d_weights - queries.delta), seen);
    return Pairs(masks * unmasked, masks * d_mask * params.scale, d_mask);
}

// Of four queries of a head.
fn of_columns(head: u32, columns: vec4u) -> Statistics {
    let i = head * params.queries + min(columns, vec4u(params.queries - 1u));
    let x = statistics[i.x];
    let y = statistics[i.y];
    let z = statistics[i.z];
    let w = statistics[i.w];
    return Statistics(vec4f(x.x, y.x, z.x, w.x), vec4f(x.y, y.y, z.y, w.y));
}
