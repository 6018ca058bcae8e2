// Workgroup g sums the squares of its run of `span` vec4s into two partial sums: of the elements below 1, scaled up, and of
// the others, scaled down, so that neither sum leaves f32 before the norm itself nearly does.
// ACCUMULATE: the gradients first join those of the update's earlier batches in `total`.
#import linear
#import reduce
#import step

struct Params { elements: u32, span: u32, partial: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> gradients: array<vec4f>;            // [N]
@group(0) @binding(3) var<storage, read_write> total: array<vec4f>;          // [N], not touched without ACCUMULATE
@group(0) @binding(4) var<storage, read_write> scratch: array<vec2f>;        // [4] settings, [partials]

const UP = 281474976710656.0;                   // 2^48
const DOWN = 3.5527136788005009e-15;            // 2^-48

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.span;
    let end = min(start + params.span, (params.elements + 3u) / 4u);
    var small = vec4f();
    var large = vec4f();
    for (var i = start + lane; i < end; i += LANES) {
        var gradient = inside4(i, params.elements, gradients[i]);
#ifdef ACCUMULATE
        // The first batch replaces the total of the update before.
        gradient += select(vec4f(), inside4(i, params.elements, total[i]), step.batch > 0u);
        total[i] = gradient;
#endif
        // By bits, since compilers may take a comparison with NaN either way: a NaN counts as large, and stays.
        let is_large = (bitcast<vec4u>(gradient) & vec4u(0x7fffffffu)) >= vec4u(0x3f800000u);
        let scaled = gradient * select(vec4f(UP), vec4f(DOWN), is_large);
        small += select(scaled * scaled, vec4f(), is_large);
        large += select(vec4f(), scaled * scaled, is_large);
    }
    let small_sum = reduce_sum(sum_of(small), lane);
    let large_sum = reduce_sum(sum_of(large), lane);
    if (lane == 0u) { scratch[4u + params.partial + group.x] = vec2f(small_sum, large_sum); }
}
