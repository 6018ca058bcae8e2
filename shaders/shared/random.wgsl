// Counter-based random bits: PCG-RXS-M-XS as a hash (Jarzynski and Olano 2020). No state: a replay needs only the counters.
fn pcg(v: u32) -> u32 {
    let state = v * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

fn random_bits(seed: u32, step: u32, operation: u32, element: u32) -> u32 {
    return pcg(element + pcg(operation + pcg(step + pcg(seed))));
}
