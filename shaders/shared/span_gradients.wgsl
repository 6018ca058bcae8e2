// The weight of a query and a distance, made again, and gradients (Dao et al. 2022, algorithm 4). The importing shader has besides what
// span_pairs asks for the bindings value [B, S, N, D], d_context [B, T, N, D] and statistics: log_sum_exp and delta [B, N, T, 2], then
// the spans [N, 2].
#import load(value)
#import load(d_context)
#import span_pairs

struct Pair { weight: f32, d_score: f32, d_mask: f32 }

fn span_of(n: u32) -> f32 { return statistics[params.batch * params.heads * params.queries + n].x; }

// 0 for a pair that is not `live`.
fn pair_of(b: u32, n: u32, t: u32, distance: u32, live: bool) -> Pair {
    let of_query = statistics[(b * params.heads + n) * params.queries + t];
    let key = behind(b, n, t, distance);
    let q = query_at(b, n, t);
    let score = score_of(q, key, distance);
    var d_weight = vec4f();
    for (var d = 0u; d < params.size; d += 4u) {
        let v = select(vec4f(), load_value(key.at + d, key.at + params.size), key.there);
        d_weight = fma(v, load_d_context(q + d, q + params.size), d_weight);
    }
    // What the weight would be without its mask: at most one over it.
    let unmasked = select(0.0, exp(score - of_query.x), live);
    let mask = mask_at(span_of(n), distance);
    let d_mask = unmasked * (sum_of(d_weight) - of_query.y);
    return Pair(mask * unmasked, mask * d_mask * params.scale, d_mask);
}
