// One step of Adam. Nothing is changed where the gradients are not finite, and before the last batch of an update.
// Buffers of several groups of parameters take part in one step, each at its share of the learning rate and with its weight decay.
// AVERAGE: a moving average of the parameters is kept beside them.
#import element
#import linear

struct Params {
    elements: u32, share1: f32, share2: f32, epsilon: f32,                   // shares: 1 - beta
    rate: f32, weight_decay: f32,                                            // of the learning rate; of it and the parameter
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> settings: array<vec4f>;          // [2]: of the gradient, step, root, made; learning rate, new
@group(0) @binding(2) var<storage, read> gradients: array<Single>;        // [N]
@group(0) @binding(3) var<storage, read_write> parameters: array<Single>; // [N]
@group(0) @binding(4) var<storage, read_write> first: array<Single>;      // [N]
@group(0) @binding(5) var<storage, read_write> second: array<Single>;     // [N]
@group(0) @binding(6) var<storage, read_write> average: array<Single>;    // [N], not touched without AVERAGE

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let setting = settings[0];
    if (i >= (params.elements + 3u) / 4u || setting.w == 0.0) { return; }
    let gradient = setting.x * inside4(i, params.elements, value_of_single(gradients[i]));
    // In this form a beta that f32 rounds does not shift the mean.
    let before1 = inside4(i, params.elements, value_of_single(first[i]));
    let before2 = inside4(i, params.elements, value_of_single(second[i]));
    let mean = fma(vec4f(params.share1), gradient - before1, before1);
    let square = fma(vec4f(params.share2), fma(gradient, gradient, -before2), before2);
    first[i] = single_of(mean);
    second[i] = single_of(square);
    let root = fma(sqrt(square), vec4f(setting.z), vec4f(params.epsilon));
    let kept = (1.0 - params.rate * settings[1].x * params.weight_decay) * value_of_single(parameters[i]);
    let value = inside4(i, params.elements, kept - params.rate * setting.y * mean / root);
    parameters[i] = single_of(value);
#ifdef AVERAGE
    let before = inside4(i, params.elements, value_of_single(average[i]));
    average[i] = single_of(fma(vec4f(settings[1].y), value - before, before));
#endif
}
