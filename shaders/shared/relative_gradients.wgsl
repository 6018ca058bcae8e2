// The weight of a query and a key, made again, and the gradient of its score before the scale (Dao et al. 2022, algorithm 4). The
// importing shader has besides what relative_pairs asks for the bindings value [B, S, N, D], d_context [B, T, N, D] and statistics:
// log_sum_exp and delta [B, N, T, 2], then the lengths [B, 2].
#import load(value)
#import load(d_context)
#import relative_pairs

struct Pair { weight: f32, d_score: f32 }

fn context_at(b: u32, n: u32, t: u32) -> u32 { return ((b * params.queries + t) * params.heads + n) * params.size; }

fn length_of(b: u32) -> u32 { return u32(statistics[params.batch * params.heads * params.queries + b].x); }

// 0 for a pair that is not `live`.
fn pair_of(b: u32, n: u32, t: u32, s: u32, live: bool) -> Pair {
    let of_query = statistics[(b * params.heads + n) * params.queries + t];
    let score = score_of(query_at(b, n, t), key_at(b, n, s), relative_at(n, place_of(t) - s));
    let v = key_at(b, n, s);
    let c = context_at(b, n, t);
    var d_weight = vec4f();
    for (var d = 0u; d < params.size; d += 4u) {
        d_weight = fma(load_value(v + d, v + params.size), load_d_context(c + d, c + params.size), d_weight);
    }
    // No visible score exceeds its log_sum_exp; what lies in a key that is not visible may be no number, and min of that is undefined.
    let exponent = select(0.0, score - of_query.x, live);
    let weight = select(0.0, exp(min(exponent, 0.0)), live);
    return Pair(weight, select(0.0, weight * (sum_of(d_weight) - of_query.y) * params.scale, live));
}
