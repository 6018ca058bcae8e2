// Four elements from `at` on, where 16-byte loads do not serve: elements at `end` and past it count as 0.
fn four_at(at: u32, end: u32) -> vec4u { return min(vec4u(at) + vec4u(0u, 1u, 2u, 3u), vec4u(end - 1u)); }
fn before_end(x: vec4f, at: u32, end: u32) -> vec4f {
    return select(vec4f(), x, vec4u(at) + vec4u(0u, 1u, 2u, 3u) < vec4u(end));
}
