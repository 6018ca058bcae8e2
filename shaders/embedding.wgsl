// y[n] = table[tokens[n]]. VECTOR: rows are a multiple of 4 elements long and begin at such multiples, and 16-byte loads serve.
#import element
#import linear

struct Params {
    vocabulary: u32, size: u32, tokens: u32,
    offset: u32, stride: u32,           // of the first row of y, and between rows
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;         // [N]
@group(0) @binding(2) var<storage, read> table: array<Single>;       // [V, E]
@group(0) @binding(3) var<storage, read_write> y: array<Element>;    // [N, E], rows apart

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) index: u32,
) {
    let i = linear_workgroup(group, groups) * LANES + index;
    let size = params.size / WIDTH;
    let n = i / size;
    if (n >= params.tokens) { return; }
    let token = min(tokens[n], params.vocabulary - 1u);
    y[(params.offset + n * params.stride) / WIDTH + i % size] = element_of(value_of_single(table[token * size + i % size]));
}
