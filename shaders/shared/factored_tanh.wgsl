// tanh(q + k) = 1 - 2 / (1 + exp(2q) exp(2k)): one exp per element of q and of k instead of one per pair.
// WGSL's exp errs by up to 3 + 2|x| ulp, so the factors serve only where |q| and |k| are at most DOMAIN; outside, `direct`
// takes exp of the sum. `direct` is a literal wherever these are called, so the branches cost nothing.
const DOMAIN = 20.0;
// 1 - 2 / (1 + 2^60) is 1 in f32, and the product of two such denominators is still finite: they can share one division.
const CEILING = 1.152921504606847e18;
const LOG_CEILING = 41.5;

// The form in which q and k enter `product`.
fn prepared(x: vec4f, direct: bool) -> vec4f {
    if (direct) { return 2.0 * x; }
    return exp(clamp(2.0 * x, vec4f(-2.0 * DOMAIN), vec4f(2.0 * DOMAIN)));
}

// exp(2(q + k)), at most CEILING.
fn product(q: vec4f, k: vec4f, direct: bool) -> vec4f {
    if (direct) { return exp(clamp(q + k, vec4f(-80.0), vec4f(LOG_CEILING))); }
    return min(q * k, vec4f(CEILING));
}

// The largest absolute value seen so far: past DOMAIN the factors do not serve.
fn reach(largest: vec4f, x: vec4f) -> vec4f { return max(largest, abs(x)); }
fn outside(largest: vec4f) -> f32 { return max(max(largest.x, largest.y), max(largest.z, largest.w)); }
