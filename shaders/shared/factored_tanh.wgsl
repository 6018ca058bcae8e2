// tanh(q + k) = 1 - 2 / (1 + exp(2q) exp(2k)): one exp per element of q and of k instead of one per pair.
// The factors serve where |q| and |k| are at most DOMAIN: there 1 + p stays below 2^60, so that two such denominators can share
// one division without a clamp (which costs as much as the rest of an element on CPU drivers), and exp errs little. Outside,
// `direct` takes exp of the sum. `direct` is a literal wherever these are called, so the branches cost nothing.
const DOMAIN = 10.0;
// 1 - 2 / (1 + exp(41.5)) is 1 in f32, and exp(41.5) is just below 2^60.
const LOG_CEILING = 41.5;

// The form in which q and k enter `product`.
fn prepared(x: vec4f, direct: bool) -> vec4f {
    if (direct) { return 2.0 * x; }
    return exp(clamp(2.0 * x, vec4f(-2.0 * DOMAIN), vec4f(2.0 * DOMAIN)));
}

// p = exp(2(q + k)), below 2^60.
fn product(q: vec4f, k: vec4f, direct: bool) -> vec4f {
    if (direct) { return exp(clamp(q + k, vec4f(-80.0), vec4f(LOG_CEILING))); }
    return q * k;
}

// 1 / (1 + p), two to a division.
fn reciprocal_of(p: vec4f) -> vec4f {
    let denominator = 1.0 + p;
    let both = 1.0 / (denominator.xz * denominator.yw);
    return denominator.yxwz * both.xxyy;
}

// The sum over four elements of v / (1 + p), two to a division.
fn sum_of_quotients(v: vec4f, p: vec4f) -> f32 {
    let x = 1.0 + p;
    let pairs = x.xz * x.yw;
    let crossed = fma(v.xz, x.yw, v.yw * x.xz) / pairs;
    return crossed.x + crossed.y;
}

// The bits of the largest absolute value seen so far: past DOMAIN the factors do not serve. As whole numbers they stand in the
// order of the values, infinity and NaN last; a float's max may lose a NaN.
fn reach(largest: vec4u, x: vec4f) -> vec4u { return max(largest, bitcast<vec4u>(x) & vec4u(0x7fffffffu)); }
fn bits_of(largest: vec4u) -> u32 { return max(max(largest.x, largest.y), max(largest.z, largest.w)); }
fn outside(largest: vec4u) -> f32 { return bitcast<f32>(bits_of(largest)); }

// NaN if a value was not finite, else 0. The clamps above, as most drivers have them, make a number of it, and so the forward
// does; the backward, which goes through everything once and has room for it, puts this into a gradient for all to see.
fn lost(largest: vec4u) -> f32 {
    let bits = bits_of(largest);
    return bitcast<f32>(select(0u, bits | 0x00400000u, bits >= 0x7f800000u));
}
