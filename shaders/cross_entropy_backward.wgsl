// Turns the logits of each row into their gradients: d_loss loss_scale (softmax - expected); 0 where the target is padding,
// whatever the logits are. One workgroup a row. VECTOR: classes are a multiple of 4, and 16-byte loads serve.
#import element
#import linear
#import step

struct Params { rows: u32, classes: u32, hit: f32, spread: f32, padding: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> targets: array<u32>;                // [N]
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;            // [N]
@group(0) @binding(4) var<storage, read> d_loss: array<f32>;                 // [1]
#ifdef VECTOR
@group(0) @binding(5) var<storage, read_write> logits: array<element4>;      // [N, C], then its gradient
#else
@group(0) @binding(5) var<storage, read_write> logits: array<element>;       // [N, C], then its gradient
#endif

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(group, groups);
    if (row >= params.rows) { return; }
    let label = targets[row];
    let counts = label != params.padding;
    let hot = min(label, params.classes - 1u);
    let scale = select(0.0, step.loss_scale * d_loss[0], counts);
    let normaliser = log_sum_exp[row];
    let start = row * params.classes;
#ifdef VECTOR
    for (var c = 4u * lane; c < params.classes; c += 4u * LANES) {
        let i = (start + c) / 4u;
        let expected = select(vec4f(), vec4f(params.hit), vec4u(c) + vec4u(0u, 1u, 2u, 3u) == vec4u(hot)) + params.spread;
        var gradient = vec4f();
        if (counts) { gradient = scale * (exp(vec4f(logits[i]) - normaliser) - expected); }
        logits[i] = element4(gradient);
    }
#else
    for (var c = lane; c < params.classes; c += LANES) {
        let expected = select(0.0, params.hit, c == hot) + params.spread;
        var gradient = 0.0;
        if (counts) { gradient = scale * (exp(f32(logits[start + c]) - normaliser) - expected); }
        logits[start + c] = element(gradient);
    }
#endif
}
