// Per row the logarithm of the sum of exponentials, and the cross-entropy against the target with label smoothing; in a row
// whose target is padding logits have no say. One workgroup a row. VECTOR: classes are a multiple of 4, and 16-byte loads serve.
// TAUGHT: a part of what is expected are the distributions of teachers.
// GRADIENT: logits become their gradients, d_loss loss_scale (softmax - expected); 0 in a row of padding.
#import element
#import linear
#import reduce
#import step

struct Params {
    rows: u32, classes: u32, hit: f32, spread: f32, padding: u32,
    taught: f32, share: f32,            // the part of all teachers, and of each
    impossible: u32,                    // the first classes, which have no part of the smoothing
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> targets: array<u32>;                // [N]
@group(0) @binding(3) var<storage, read> taught: array<Element>;             // [N, C], the sum over teachers; read under TAUGHT alone
@group(0) @binding(4) var<storage, read> d_loss: array<f32>;                 // [1]; read under GRADIENT alone
@group(0) @binding(5) var<storage, read_write> log_sum_exp: array<f32>;      // [N]
@group(0) @binding(6) var<storage, read_write> row_loss: array<f32>;         // [N]
@group(0) @binding(7) var<storage, read_write> logits: array<Element>;       // [N, C]; under GRADIENT then its gradient

#import load(logits)
#import store(logits)
#import load(taught)

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
    let end = start + params.classes;
    let hot = min(label, params.classes - 1u);
    let target_logit = load_logits(start + hot / 4u * 4u, end)[hot % 4u];
    var largest = FLOOR;
    var sum = vec4f();
    var evenly = vec4f();
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let logit = load_logits(start + c, end);
        let valid = inside(c, classes);
        let x = select(vec4f(FLOOR), logit, valid);
        let before = largest;
        largest = max(largest, largest_of(x));
        sum = fma(sum, vec4f(exp(before - largest)), select(vec4f(), exp(x - largest), valid));
        var weight = select(vec4f(), vec4f(params.spread), four_from(c) >= vec4u(params.impossible));
#ifdef TAUGHT
        weight = fma(vec4f(params.share), load_taught(start + c, end), weight);
#endif
        // Weighted at once, so that nothing overflows; a NaN or an infinity comes through whatever the weight.
        evenly = fma(weight, select(vec4f(), logit, valid), evenly);
    }
    let maximum = reduce_max(largest, lane);
    let scale = exp(largest - maximum);
    let total = reduce_sum(sum_of(sum) * scale, lane);
    let spread = reduce_sum(sum_of(evenly), lane);
    let logarithm = log(total);
    if (workgroup >= params.rows) { return; }
#ifdef GRADIENT
    storageBarrier();                   // the target's logit has been read
    let normaliser = maximum + logarithm;
    let upstream = step.loss_scale * d_loss[0];
    for (var c = 4u * lane; c < params.classes; c += 4u * LANES) {
        let columns = four_from(c);
        let evenly = select(vec4f(), vec4f(params.spread), columns >= vec4u(params.impossible));
        var expected = select(vec4f(), vec4f(params.hit), columns == vec4u(hot)) + evenly;
#ifdef TAUGHT
        expected = fma(vec4f(params.share), load_taught(start + c, end), expected);
#endif
        var gradient = vec4f();
        if (classes > 0u) { gradient = upstream * (exp(load_logits(start + c, end) - normaliser) - expected); }
        store_logits(start + c, end, gradient);
    }
#endif
    if (lane != 0u) { return; }
    if (label == params.padding) {
        log_sum_exp[row] = 0.0;
        row_loss[row] = 0.0;
        return;
    }
    log_sum_exp[row] = maximum + logarithm;
    // hit (lse - x[target]) + smoothing (lse - mean of x), taken apart so that large logits of a sure row cancel exactly.
    var smoothing = params.spread * f32(params.classes - params.impossible);
#ifdef TAUGHT
    smoothing += params.taught;
#endif
    row_loss[row] = fma(params.hit, maximum - target_logit, logarithm) + fma(smoothing, maximum, -spread);
}
