// WGSL's own tanh is indeterminate for large |x| (NaN on several drivers) and loses all relative accuracy near 0 in the forms
// that drivers use. Up to |x| = 1 a rational function of degree 9/8 keeps 6 ulp. Beyond, 1 - 2 / (1 + exp(2|x|)) errs by less
// than 1 ulp: backward passes take 1 - tanh^2, and of a saturated unit that is small.
fn tanh4(value: vec4f) -> vec4f {
    let x = clamp(value, vec4f(-10.0), vec4f(10.0));
    let far = 1.0 - 2.0 / (1.0 + exp(2.0 * abs(x)));
    let y = x * x;
    var p = fma(vec4f(1.33546738e-08), y, vec4f(2.06090918e-05));
    p = fma(p, y, vec4f(0.00349558871));
    p = fma(p, y, vec4f(0.133810261));
    p = fma(p, y, vec4f(0.999999979));
    var q = fma(vec4f(7.77656353e-07), y, vec4f(0.000328563577));
    q = fma(q, y, vec4f(0.0258769844));
    q = fma(q, y, vec4f(0.467143417));
    q = fma(q, y, vec4f(1.0));
    return unless_finite(value, select(x * p / q, sign(x) * far, abs(x) > vec4f(1.0)));
}

fn tanh1(value: f32) -> f32 { return tanh4(vec4f(value)).x; }

// The clamp keeps exp finite; sigmoid(-80) is 2e-35.
fn sigmoid4(value: vec4f) -> vec4f {
    return unless_finite(value, 1.0 / (1.0 + exp(-clamp(value, vec4f(-80.0), vec4f(80.0)))));
}

fn sigmoid1(value: f32) -> f32 { return sigmoid4(vec4f(value)).x; }

// NaN by its bits: a compiler may assume that x != x is false.
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

// `value` where it is not finite, else `result`. Most drivers' clamp, and some drivers' exp, turn NaN into a number: results
// computed from it would look right, and the training step's finite flag would miss them.
fn unless_finite(value: vec4f, result: vec4f) -> vec4f {
    return select(result, value, (bitcast<vec4u>(value) & vec4u(0x7f800000u)) == vec4u(0x7f800000u));
}
