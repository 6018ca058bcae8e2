// What the backward passes of relative_attention share: bindings, loads, and gradients of scores.
#import load_piece(queries)
#import load_piece(key)
#import load_piece(value)
#import load_piece(relative)
#import load_piece(d_context)
#import heads
#import attention_lines

struct Params {
    content: Heads, position: Heads, key: Heads, value: Heads, relative: Heads, d_context: Heads,   // layouts
    first: Heads, second: Heads,            // of the gradients
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> queries: array<Word>;               // [B, T, 2, N, D]: content, position
@group(0) @binding(2) var<storage, read> key: array<Word>;                   // [B, S, N, D]
@group(0) @binding(3) var<storage, read> value: array<Word>;                 // [B, S, N, D]
@group(0) @binding(4) var<storage, read> relative: array<Word>;              // [S, N, D], by distance
@group(0) @binding(5) var<storage, read> d_context: array<Word>;             // [B, T, N, D]
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length

// A piece of what queries are compared with, either part; or, second, of the gradient of their contexts.
fn load_query_side(second: bool, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (second) { return load_piece_d_context(start, at + params.size); }
    return load_piece_queries(start, at + params.size);
}
fn query_stride(second: bool) -> u32 { return select(params.content.row, params.d_context.row, second); }

// A piece of a key, of a value, or of the vector of a distance.
fn load_key_side(second: bool, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (second) { return load_piece_value(start, at + params.size); }
    return load_piece_key(start, at + params.size);
}
fn key_stride(second: bool) -> u32 { return select(params.key.row, params.value.row, second); }
fn load_distance(at: u32, feature: u32) -> Piece {
    return load_piece_relative(at + loaded_from(feature), at + params.size);
}

fn length_of(b: u32) -> u32 { return u32(statistics[params.head_count * params.queries + b].x); }

// A weight, made again of a score before its scale. No visible score exceeds its log_sum_exp; a masked one may, without bound.
fn weight_of(score: vec4f, log_sum_exp: vec4f, seen: vec4<bool>) -> vec4f {
    return select(vec4f(), exp(min(fma(score, vec4f(params.scale), -log_sum_exp), vec4f(0.0))), seen);
}

// log_sum_exp and delta of four queries of a head.
struct OfColumns { log_sum_exp: vec4f, delta: vec4f }

fn of_columns(head: u32, columns: vec4u) -> OfColumns {
    let i = head * params.queries + min(columns, vec4u(params.queries - 1u));
    let x = statistics[i.x];
    let y = statistics[i.y];
    let z = statistics[i.z];
    let w = statistics[i.w];
    return OfColumns(vec4f(x.x, y.x, z.x, w.x), vec4f(x.y, y.y, z.y, w.y));
}
