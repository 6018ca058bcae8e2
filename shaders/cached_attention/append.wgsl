// A step's keys and values into each row's cache, at the row's position.
#import cache
#import element

struct Params {
    rows: u32, width: u32, capacity: u32, step: u32,
    key_offset: u32, key_stride: u32, value_offset: u32, value_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<element>;                // [R, N D], rows key_stride apart
@group(0) @binding(2) var<storage, read> value: array<element>;              // [R, N D], rows value_stride apart
@group(0) @binding(3) var<storage, read> starts: array<u32>;                 // [R]
@group(0) @binding(4) var<storage, read> counter: array<u32>;                // [1]
@group(0) @binding(5) var<storage, read_write> key_cache: array<element>;    // [R, capacity, N D]
@group(0) @binding(6) var<storage, read_write> value_cache: array<element>;  // [R, capacity, N D]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (workgroup.x + workgroup.y * workgroups.x) * LANES + local;
    if (i >= params.rows * params.width) { return; }
    let row = i / params.width;
    let column = i % params.width;
    let to = (row * params.capacity + position_of(row)) * params.width + column;
    key_cache[to] = key[params.key_offset + row * params.key_stride + column];
    value_cache[to] = value[params.value_offset + row * params.value_stride + column];
}
