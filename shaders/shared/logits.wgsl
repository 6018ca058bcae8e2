// Logits [rows, C], four at a time, for a choice among them. VECTOR: C is a multiple of 4, and 16-byte loads serve.
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;               // [rows, C]
fn load(start: u32, c: u32) -> vec4f { return logits[(start + c) / 4u]; }
#else
@group(0) @binding(1) var<storage, read> logits: array<f32>;                 // [rows, C]
fn load(start: u32, c: u32) -> vec4f {
    let i = vec4u(start) + min(vec4u(c) + vec4u(0u, 1u, 2u, 3u), vec4u(params.classes - 1u));
    return vec4f(logits[i.x], logits[i.y], logits[i.z], logits[i.w]);
}
#endif

const FLOOR = -1e30;                    // the value of a logit that is less or is NaN
const CEILING = 1e30;

// Four logits; NaN fails both comparisons.
fn bounded(start: u32, c: u32) -> vec4f {
    let x = load(start, c);
    return select(select(vec4f(FLOOR), vec4f(CEILING), x > vec4f(FLOOR)), x, (x > vec4f(FLOOR)) & (x < vec4f(CEILING)));
}
