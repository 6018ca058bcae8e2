// The norm of all gradients from their partial sums, whether the step is to be made, and the numbers that it needs.
// One workgroup. SCALED: the gradients are those of the loss times a power of two, which is halved after a step that is not finite
// and doubled after many that are.
#import math
#import reduce
#import step

struct Params {
    partials: u32, has_loss: u32, has_clip: u32, clip_norm: f32,
    average_share: f32,
    powers: array<vec4f, 12>,           // 1 - beta^(2^k): (beta1, beta2) for k = 0, 2, .., then (beta1, beta2) for k + 1
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> loss: array<f32>;                   // [1], read where there is one
@group(0) @binding(3) var<storage, read_write> scratch: array<vec2f>;        // [4] settings, [partials]
@group(0) @binding(4) var<storage, read_write> norm: array<f32>;             // [6]: norm, 1 if the step is made; as u32:
                                                                             // faulty steps so far, the last of them;
                                                                             // the loss of the update's batches so far,
                                                                             // the loss scale
@group(0) @binding(5) var<storage, read_write> scaling: array<f32>;          // [2]: the loss scale, finite steps since it changed;
                                                                             // not touched without SCALED

const UP = 281474976710656.0;                   // 2^48
const DOWN = 3.5527136788005009e-15;            // 2^-48
const LARGEST = 9.2e18;                         // its square is nearly f32's largest number
const LARGEST_SCALE = 16777216.0;               // 2^24
const GROWTH = 2000.0;                          // finite steps

// 1 - beta^step of both betas, as sums of positive terms: 1 - p q = (1 - p) + (1 - q) p. The power itself would cancel.
fn corrections() -> vec2f {
    let exponent = clamp(step.step, 1u, 0xffffffu);
    var sum = vec2f();
    for (var k = 0u; k < 24u; k++) {
        let pair = params.powers[k / 2u];
        let term = select(pair.xy, pair.zw, k % 2u == 1u);
        if (((exponent >> k) & 1u) == 1u) { sum = fma(term, 1.0 - sum, sum); }
    }
    return sum;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sums = vec2f();
    for (var i = lane; i < params.partials; i += LANES) { sums += scratch[4u + i]; }
    let small = reduce_sum(sums.x, lane);
    let large = reduce_sum(sums.y, lane);
    if (lane != 0u) { return; }
    var finite = is_finite(small + large);
    var value = small + large;
    if (finite) {
        value = sqrt(small) * DOWN;
        // The roots keep the two scales apart: their product is no number that f32 has.
        if (large > 0.0) {
            let part = sqrt(large) * UP;
            value = part * sqrt(fma(value / part, value / part, 1.0));
        }
    }
    var scale = 1.0;
    var unscale = 1.0;
#ifdef SCALED
    scale = scaling[0];
    // The reciprocal by its exponent: a division may round.
    unscale = bitcast<f32>(0x7f000000u - bitcast<u32>(scale));
    value *= unscale;
#endif
    // PyTorch adds the 1e-6, against division by zero.
    let coefficient = select(1.0, min(params.clip_norm / (value + 1e-6), 1.0), params.has_clip != 0u);
    // A moment that overflows would stay so for good.
    finite = finite && coefficient * value < LARGEST;
    var total = select(0.0, norm[4], step.batch > 0u);
    if (params.has_loss != 0u) {
        total += loss[0];
        finite = finite && is_finite(total);
    }
    let last = step.batch + 1u >= step.batches;
    norm[0] = value;
    norm[1] = select(0.0, 1.0, finite && last);
    norm[4] = total;
#ifdef SCALED
    if (last) {
        let steps = scaling[1] + 1.0;
        let grows = finite && steps >= GROWTH;
        scaling[0] = select(max(0.5 * scale, 1.0), select(scale, min(2.0 * scale, LARGEST_SCALE), grows), finite);
        scaling[1] = select(0.0, steps, finite && !grows);
    }
    norm[5] = scale;
#endif
    // A step that a smaller scale may mend is no fault.
    if (last && !finite && scale <= 1.0) {
        norm[2] = bitcast<f32>(bitcast<u32>(norm[2]) + 1u);
        norm[3] = bitcast<f32>(step.step);
    }
    let correction = corrections();
    scratch[0] = vec2f(coefficient * unscale, step.learning_rate / correction.x);
    scratch[1] = vec2f(inverseSqrt(correction.y), select(0.0, 1.0, finite && last));
    // The average follows its parameters closely at first: its oldest values are the worst.
    let share = max(params.average_share, 9.0 / (9.0 + f32(step.step)));
    scratch[2] = vec2f(step.learning_rate, share);
}
