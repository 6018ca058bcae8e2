// Sums over the LANES invocations of a workgroup for KEYS keys at once, in a fixed order: lane j < KEYS gets that of the j-th.
// KEYS divides LANES, or under SUBGROUPS, where a workgroup is one subgroup, is at most LANES. Every invocation must call.
#ifdef SUBGROUPS
fn keys_sum(parts: array<f32, KEYS>, lane: u32) -> f32 {
    var own = 0.0;
    for (var j = 0u; j < KEYS; j++) {
        var sum = parts[j];
        for (var step = 1u; step < LANES; step *= 2u) { sum += subgroupShuffleXor(sum, step); }
        own = select(own, sum, lane == j);
    }
    return own;
}
#else
const LANES_PER_KEY = LANES / KEYS;
var<workgroup> keys_parts: array<f32, KEYS * LANES>;    // [KEYS, LANES]

fn keys_sum(parts: array<f32, KEYS>, lane: u32) -> f32 {
    for (var j = 0u; j < KEYS; j++) { keys_parts[j * LANES + lane] = parts[j]; }
    workgroupBarrier();
    var part = 0.0;
    for (var j = 0u; j < KEYS; j++) {
        part += keys_parts[lane / LANES_PER_KEY * LANES + j * LANES_PER_KEY + lane % LANES_PER_KEY];
    }
    workgroupBarrier();
    keys_parts[lane] = part;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < LANES_PER_KEY; i++) { sum += keys_parts[(lane % KEYS) * LANES_PER_KEY + i]; }
    workgroupBarrier();                 // the next sums overwrite it
    return sum;
}
#endif
