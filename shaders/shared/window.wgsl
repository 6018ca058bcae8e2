// What the passes of local attention have in common: the source positions that a step sees, and their weights (Luong, Pham and
// Manning 2015, section 3.2).
// WINDOW: positions at most half_width away from the centre. PREDICTED: weighted less, the farther away they are.
// A centre that is not a number sees everything, so that nothing hides it. HALF_SCORES, HALF_SHARES: these are f16.
#import math

struct Params { batch: u32, queries: u32, keys: u32, columns: u32, first: u32, half_width: f32 }

@group(0) @binding(0) var<uniform> params: Params;

#ifdef HALF_SCORES
alias Score = f16;
#else
alias Score = f32;
#endif
#ifdef HALF_SHARES
alias Share = f16;
#else
alias Share = f32;
#endif

fn sees(position: u32, centre: f32, half_width: f32) -> bool {
#ifdef WINDOW
    return abs(f32(position) - centre) <= half_width || !is_finite(centre);
#else
    return true;
#endif
}

// The range of visible positions among the first `end`: its first one, and the one after its last.
fn window(centre: f32, half_width: f32, end: u32) -> vec2u {
#ifdef WINDOW
    let first = u32(clamp(centre - half_width, 0.0, f32(end)));
    let last = u32(clamp(centre + half_width, 0.0, f32(end)));
    return select(vec2u(0u, end), vec2u(first, min(last + 1u, end)), is_finite(centre));
#else
    return vec2u(0u, end);
#endif
}

// The factor on the softmax: a Gaussian with half of half_width as its standard deviation (equation 10).
fn prominence(position: u32, centre: f32, half_width: f32) -> f32 {
#ifdef PREDICTED
    let deviations = 2.0 * (f32(position) - centre) / half_width;
    return select(centre, exp(-0.5 * deviations * deviations), is_finite(centre));
#else
    return 1.0;
#endif
}
