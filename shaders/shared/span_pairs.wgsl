// Scores and masks of attention over an adaptive span (Sukhbaatar et al. 2019, section 2), a query and a distance at a time. The
// importing shader has params.size, heads, queries, keys, limit, ramp and scale, and the bindings query [B, T, N, D], key [B, S, N, D]
// and position [L, D]. Before the first key there are zeros, which are seen like any others.
//
// VECTOR: sizes are multiples of 4. SHARE: vec4s of a head that a lane sums up.
#import load(query)
#import load(key)
#import load(position)
#import span_mask

// What lies at a distance behind a query. Before the first key nothing is there, and what is read is not used.
struct Behind { there: bool, at: u32 }

// Where a head's rows start.
fn query_at(b: u32, n: u32, t: u32) -> u32 { return ((b * params.queries + t) * params.heads + n) * params.size; }
fn key_at(b: u32, n: u32, s: u32) -> u32 { return ((b * params.keys + s) * params.heads + n) * params.size; }

// The key of a query's own place: the last keys are those of the queries.
fn place_of(t: u32) -> u32 { return t + params.keys - params.queries; }

fn behind(b: u32, n: u32, t: u32, distance: u32) -> Behind {
    let place = place_of(t);
    return Behind(distance <= place, key_at(b, n, place - min(distance, place)));
}

// Four features of what a query is compared with.
fn compared(key: Behind, distance: u32, feature: u32) -> vec4f {
    let p = (distance - 1u) * params.size;
    let k = select(vec4f(), load_key(key.at + feature, key.at + params.size), key.there);
    return k + load_position(p + feature, p + params.size);
}

fn score_of(q: u32, key: Behind, distance: u32) -> f32 {
    var products = vec4f();
    for (var d = 0u; d < params.size; d += 4u) {
        products = fma(load_query(q + d, q + params.size), compared(key, distance, d), products);
    }
    return sum_of(products) * params.scale;
}
