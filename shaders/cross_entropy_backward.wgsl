// Turns the logits of each row into their gradients: d_loss loss_scale (softmax - expected); 0 where the target is padding,
// whatever the logits are. One workgroup a row. VECTOR: classes are a multiple of 4, and 16-byte loads serve.
// TAUGHT: a part of what is expected are the distributions of teachers.
#import element
#import four
#import linear
#import step

struct Params {
    rows: u32, classes: u32, hit: f32, spread: f32, padding: u32,
    taught: f32, share: f32,            // the part of all teachers, and of each
    impossible: u32,                    // the first classes, which have no part of the smoothing
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> targets: array<u32>;                // [N]
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;            // [N]
@group(0) @binding(4) var<storage, read> d_loss: array<f32>;                 // [1]
@group(0) @binding(5) var<storage, read> taught: array<Element>;             // [N, C], the sum over teachers; read under TAUGHT alone
@group(0) @binding(6) var<storage, read_write> logits: array<Element>;       // [N, C], then its gradient

#ifdef VECTOR
alias Columns = vec4u;
fn columns_from(c: u32) -> Columns { return four_from(c); }
#else
alias Columns = u32;
fn columns_from(c: u32) -> Columns { return c; }
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
    for (var c = WIDTH * lane; c < params.classes; c += WIDTH * LANES) {
        let i = (start + c) / WIDTH;
        let columns = columns_from(c);
        let spread = select(Single(0.0), Single(params.spread), columns >= Columns(params.impossible));
        var expected = select(Single(0.0), Single(params.hit), columns == Columns(hot)) + spread;
#ifdef TAUGHT
        expected = fma(Single(params.share), Single(taught[i]), expected);
#endif
        var gradient = Single(0.0);
        if (counts) { gradient = scale * (exp(Single(logits[i]) - normaliser) - expected); }
        logits[i] = Element(gradient);
    }
}
