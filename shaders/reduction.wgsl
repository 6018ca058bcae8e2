// Workgroup g sums its run of `span` vec4s of x into y[g]; SQUARES: their squares. A second dispatch sums the sums.
#import element
#import linear
#import reduce

struct Params { elements: u32, span: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<element4>;         // [N]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [ceil(N / 4 / span)]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.span;
    let end = min(start + params.span, (params.elements + 3u) / 4u);
    var sum = vec4f();
    for (var i = start + lane; i < end; i += LANES) {
        let value = inside4(i, params.elements, vec4f(x[i]));
#ifdef SQUARES
        sum = fma(value, value, sum);
#else
        sum += value;
#endif
    }
    let total = reduce_sum(sum_of(sum), lane);
    if (lane == 0u) { y[group.x] = total; }
}
