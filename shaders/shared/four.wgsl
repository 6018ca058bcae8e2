// Four elements at a time: those from `at` on, of a run that ends at `end`.
fn four_from(at: u32) -> vec4u { return vec4u(at) + vec4u(0u, 1u, 2u, 3u); }
fn inside(at: u32, end: u32) -> vec4<bool> { return four_from(at) < vec4u(end); }

// The last element in place of those at the end and past it; and 0 in place of their values.
fn four_at(at: u32, end: u32) -> vec4u { return min(four_from(at), vec4u(end - 1u)); }
fn before_end(x: vec4f, at: u32, end: u32) -> vec4f { return select(vec4f(), x, inside(at, end)); }

fn sum_of(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }
fn largest_of(x: vec4f) -> f32 { return max(max(x.x, x.y), max(x.z, x.w)); }
