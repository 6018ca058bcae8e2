// Which row wrote each position of a hypothesis, after a choice of parents: up to the position that the last step has written it is
// what it was for the parent, and from there on the row itself.
#import cache

struct Params { rows: u32, capacity: u32, step: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> origins: array<u32>;                // [R, capacity]
@group(0) @binding(2) var<storage, read> parents: array<u32>;                // [R]
@group(0) @binding(3) var<storage, read> starts: array<u32>;                 // [R]
@group(0) @binding(4) var<storage, read> counter: array<u32>;                // [1]
@group(0) @binding(5) var<storage, read_write> next_origins: array<u32>;     // [R, capacity]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (workgroup.x + workgroup.y * workgroups.x) * LANES + local;
    if (i >= params.rows * params.capacity) { return; }
    let row = i / params.capacity;
    let parent = min(parents[row], params.rows - 1u);
    let position = i % params.capacity;
    if (position <= position_of(parent)) {
        next_origins[i] = origins[parent * params.capacity + position];
    } else {
        next_origins[i] = row;
    }
}
