// d_table[v] = the sum of d_y[n] over the places n of token v, in ascending order; 0 for the padding, if there is one.
// VECTOR: rows are a multiple of 4 elements long and begin at such multiples, and 16-byte loads serve.
#import element
#import linear

struct Params {
    vocabulary: u32, size: u32, tokens: u32, places: u32, padding: u32,
    offset: u32, stride: u32,           // of the first row of d_y, and between rows
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<vec4u>;            // [V] ends, then from `places` on [N] places
@group(0) @binding(2) var<storage, read> d_y: array<Element>;            // [N, E], rows apart
@group(0) @binding(3) var<storage, read_write> d_table: array<Single>;   // [V, E]

fn word(i: u32) -> u32 { return order[i / 4u][i % 4u]; }

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let size = params.size / WIDTH;
    let token = i / size;
    if (token >= params.vocabulary) { return; }
    let column = i % size;
    let end = min(word(token), params.tokens);
    var start = 0u;
    if (token > 0u) { start = min(word(token - 1u), end); }
    let first = params.offset / WIDTH + column;
    let stride = params.stride / WIDTH;
    var sum = Value(0.0);
    // Most tokens of a large vocabulary do not occur: an empty list must not cost a load.
    let last = select(0u, (end + 3u) / 4u, start < end && token != params.padding);
    for (var at = start / 4u; at < last; at++) {
        let places = min(order[params.places / 4u + at], vec4u(params.tokens - 1u));
        for (var j = 0u; j < 4u; j++) {
            if (4u * at + j >= start && 4u * at + j < end) { sum += value_of(d_y[first + places[j] * stride]); }
        }
    }
    d_table[i] = single_of(sum);
}
