// Per row the logarithm of the sum of exponentials, and the cross-entropy against the target with label smoothing; a row
// whose target is padding is not read. One workgroup a row. VECTOR: classes are a multiple of 4, and 16-byte loads serve.
#import element
#import linear
#import reduce

struct Params { rows: u32, classes: u32, hit: f32, spread: f32, padding: u32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> logits: array<element4>;            // [N, C]
fn load(start: u32, c: u32) -> vec4f { return vec4f(logits[(start + c) / 4u]); }
fn at(start: u32, c: u32) -> f32 { return f32(logits[(start + c) / 4u][(start + c) % 4u]); }
#else
@group(0) @binding(1) var<storage, read> logits: array<element>;             // [N, C]
fn load(start: u32, c: u32) -> vec4f {
    let i = vec4u(start) + min(vec4u(c) + vec4u(0u, 1u, 2u, 3u), vec4u(params.classes - 1u));
    return vec4f(element4(logits[i.x], logits[i.y], logits[i.z], logits[i.w]));
}
fn at(start: u32, c: u32) -> f32 { return f32(logits[start + c]); }
#endif
@group(0) @binding(2) var<storage, read> targets: array<u32>;                // [N]
@group(0) @binding(3) var<storage, read_write> log_sum_exp: array<f32>;      // [N]
@group(0) @binding(4) var<storage, read_write> row_loss: array<f32>;         // [N]

const FLOOR = -1e30;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let label = targets[row];
    let classes = select(params.classes, 0u, label == params.padding);
    let start = row * params.classes;
    var largest = FLOOR;
    var sum = vec4f();
    var evenly = vec4f();
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let logit = load(start, c);
        let inside = vec4u(c) + vec4u(0u, 1u, 2u, 3u) < vec4u(classes);
        let x = select(vec4f(FLOOR), logit, inside);
        let before = largest;
        largest = max(largest, max(max(x.x, x.y), max(x.z, x.w)));
        sum = fma(sum, vec4f(exp(before - largest)), select(vec4f(), exp(x - largest), inside));
        // Weighted at once, so that nothing overflows; a NaN or an infinity comes through whatever the weight.
        evenly = fma(vec4f(params.spread), select(vec4f(), logit, inside), evenly);
    }
    let maximum = reduce_max(largest, lane);
    let scale = exp(largest - maximum);
    let total = reduce_sum(((sum.x + sum.y) + (sum.z + sum.w)) * scale, lane);
    let spread = reduce_sum((evenly.x + evenly.y) + (evenly.z + evenly.w), lane);
    if (lane != 0u || workgroup >= params.rows) { return; }
    if (label == params.padding) {
        log_sum_exp[row] = 0.0;
        row_loss[row] = 0.0;
        return;
    }
    let logarithm = log(total);
    log_sum_exp[row] = maximum + logarithm;
    // hit (lse - x[target]) + smoothing (lse - mean of x), taken apart so that large logits of a sure row cancel exactly.
    let target_logit = at(start, min(label, params.classes - 1u));
    let smoothing = params.spread * f32(params.classes);
    row_loss[row] = fma(params.hit, maximum - target_logit, logarithm) + fma(smoothing, maximum, -spread);
}
