// The standard normal distribution: the share of it that lies below x, which errs by less than 2e-7 and relative to itself by less
// than 2e-6 from -5 on, and its density at x. A tail is t exp(-x^2 / 2) times a polynomial of degree 7 in t = 1 / (1 + 0.3 |x|).
struct Normal { below: vec4f, density: vec4f }

fn normal4(x: vec4f) -> Normal {
    let z = min(abs(x), vec4f(20.0));
    let bell = exp(-0.5 * z * z);
    let t = 1.0 / fma(vec4f(0.3), z, vec4f(1.0));
    var p = fma(vec4f(0.0377277918), t, vec4f(-0.16591078));
    p = fma(p, t, vec4f(0.221695989));
    p = fma(p, t, vec4f(-0.0682027787));
    p = fma(p, t, vec4f(0.136511222));
    p = fma(p, t, vec4f(0.0974011049));
    p = fma(p, t, vec4f(0.121177509));
    p = fma(p, t, vec4f(0.119599946));
    let tail = p * t * bell;
    return Normal(select(1.0 - tail, tail, x < vec4f()), 0.398942280 * bell);
}

// GELU's tanh form is x sigmoid(e) = x (1 + tanh(e / 2)) / 2, e being this.
fn gelu_exponent(x: vec4f) -> vec4f {
    let z = clamp(x, vec4f(-20.0), vec4f(20.0));
    return 1.59576912 * fma(0.044715 * z * z, z, z);
}
fn gelu_exponent_slope(x: vec4f) -> vec4f {
    let z = clamp(x, vec4f(-20.0), vec4f(20.0));
    return 1.59576912 * fma(0.134145 * z, z, vec4f(1.0));
}
