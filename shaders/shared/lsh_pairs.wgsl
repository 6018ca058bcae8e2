// The weight of a query and a key in lsh_attention, made again, and the gradient of their product (Dao et al. 2022, algorithm 4). The
// importing shader has besides what lsh_places asks for the bindings query, key, value and d_context [B, T, N, D] and statistics:
// log_sum_exp and delta [B, N, T, 2], then the lengths [B, 2].
//
// SHARE: vec4s of a head that a lane sums up.
#import load(query)
#import load(key)
#import load(value)
#import load(d_context)
#import lsh_places

struct Pair { weight: f32, d_product: f32 }

fn length_of(b: u32) -> u32 { return u32(statistics[params.batch * params.heads * params.steps + b].x); }

// Of the rows of query t and key s, by the query's statistics; 0 for a pair that is not `live`.
fn pair_of(t: u32, s: u32, of_query: vec2f, live: bool) -> Pair {
    var products = vec4f();
    var squares = vec4f();
    var d_weight = vec4f();
    for (var d = 0u; d < params.size; d += 4u) {
        let x = load_key(s + d, s + params.size);
        products = fma(load_query(t + d, t + params.size), x, products);
        squares = fma(x, x, squares);
        d_weight = fma(load_value(s + d, s + params.size), load_d_context(t + d, t + params.size), d_weight);
    }
    let factor = factor_of(sum_of(squares));
    // No visible score exceeds its log_sum_exp; what lies in a key that is not visible may be no number, and min of that is undefined.
    let exponent = select(0.0, sum_of(products) * factor - of_query.x, live);
    let weight = select(0.0, exp(min(exponent, 0.0)), live);
    return Pair(weight, select(0.0, weight * (sum_of(d_weight) - of_query.y) * factor, live));
}
