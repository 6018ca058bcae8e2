// Logits [rows, C], four at a time, for a choice among them. VECTOR: C and what rows begin at are multiples of 4, and 16-byte
// loads serve.
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> logits: array<vec4f>;               // [rows, C]
#else
@group(0) @binding(1) var<storage, read> logits: array<f32>;                 // [rows, C]
#endif
#import load(logits)

const FLOOR = -1e30;                    // the value of a logit that is less or is NaN
const CEILING = 1e30;

// Four logits; NaN fails both comparisons.
fn bounded(start: u32, c: u32) -> vec4f {
    let x = load_logits(start + c, start + params.classes);
    return select(select(vec4f(FLOOR), vec4f(CEILING), x > vec4f(FLOOR)), x, (x > vec4f(FLOOR)) & (x < vec4f(CEILING)));
}
