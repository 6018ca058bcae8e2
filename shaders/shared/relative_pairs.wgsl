// Scores of attention with relative positions (Dai et al. 2019, section 3.3), a query and a key at a time. The importing shader has
// params.size, heads, queries, keys and scale, and the bindings queries [B, T, 2, N, D], key [B, S, N, D] and relative [S, N, D].
// A query's first part is compared with the key, its second with the vector of the distance.
//
// VECTOR: sizes are multiples of 4. SHARE: vec4s of a head that a lane sums up.
#import load(queries)
#import load(key)
#import load(relative)

// Where a head's rows start.
fn query_at(b: u32, n: u32, t: u32) -> u32 { return ((b * params.queries + t) * 2u * params.heads + n) * params.size; }
fn key_at(b: u32, n: u32, s: u32) -> u32 { return ((b * params.keys + s) * params.heads + n) * params.size; }
fn relative_at(n: u32, distance: u32) -> u32 { return (distance * params.heads + n) * params.size; }

// From a query's first part to its second.
fn second() -> u32 { return params.heads * params.size; }

// The last key that a query may see: its own place, as the last keys are those of the queries.
fn place_of(t: u32) -> u32 { return t + params.keys - params.queries; }

fn score_of(q: u32, k: u32, r: u32) -> f32 {
    var products = vec4f();
    for (var d = 0u; d < params.size; d += 4u) {
        products = fma(load_queries(q + d, q + params.size), load_key(k + d, k + params.size), products);
        let p = q + second();
        products = fma(load_queries(p + d, p + params.size), load_relative(r + d, r + params.size), products);
    }
    return sum_of(products) * params.scale;
}
