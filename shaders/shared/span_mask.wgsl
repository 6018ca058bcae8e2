// The mask of a span (Sukhbaatar et al. 2019, equation 4). The importing shader has params.limit and ramp.
#import math

// The farthest distance whose mask is above 0.
fn reach_of(span: f32) -> u32 {
    let end = ceil(params.ramp + select(0.0, span, is_finite(span)));
    return u32(clamp(end - 1.0, 0.0, f32(params.limit)));
}

fn mask_at(span: f32, distance: u32) -> f32 { return masks_at(span, vec4u(distance)).x; }

fn masks_at(span: f32, distances: vec4u) -> vec4f {
    return clamp((params.ramp + span - vec4f(distances)) / params.ramp, vec4f(), vec4f(1.0));
}
