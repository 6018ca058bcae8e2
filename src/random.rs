//! Random bits that are a function of where they are used, as `shaders/shared/random.wgsl` draws them: a replay needs no state.

/// PCG-RXS-M-XS with one step of the underlying generator: Jarzynski and Olano, "Hash Functions for GPU Rendering"
/// (2020), section 5, `pcg`.
pub fn pcg(v: u32) -> u32 {
    let state = v.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// The random bits of one element of one operation in one step of one run.
pub fn random_bits(seed: u32, step: u32, operation: u32, element: u32) -> u32 {
    pcg(element.wrapping_add(pcg(operation.wrapping_add(pcg(step.wrapping_add(pcg(seed)))))))
}
