#import four

// The number of a workgroup in a grid that has a second dimension where the first does not reach.
fn linear_workgroup(group: vec3u, groups: vec3u) -> u32 { return group.y * groups.x + group.x; }

// The elements 4i..4i+3 of a tensor of `elements`; elements past its end, where a window is rounded up to 16 bytes, are 0.
fn inside4(i: u32, elements: u32, value: vec4f) -> vec4f {
    return before_end(value, 4u * i, elements);
}
