// Reductions over a workgroup of LANES invocations, a power of two, in a fixed order; every invocation gets the result and
// every invocation must call. SUBGROUPS: the workgroup is one subgroup.
#ifdef SUBGROUPS
fn reduce_sum(value: f32, lane: u32) -> f32 {
    var sum = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) { sum += subgroupShuffleXor(sum, step); }
    return sum;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    var largest = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) { largest = max(largest, subgroupShuffleXor(largest, step)); }
    return largest;
}

fn reduce_min(value: u32, lane: u32) -> u32 {
    var least = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) { least = min(least, subgroupShuffleXor(least, step)); }
    return least;
}
#else
var<workgroup> reduce_floats: array<f32, LANES>;
var<workgroup> reduce_words: array<u32, LANES>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    reduce_floats[lane] = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) { reduce_floats[lane] += reduce_floats[lane + step]; }
    }
    workgroupBarrier();
    let sum = reduce_floats[0];
    workgroupBarrier();                 // the next reduction overwrites it
    return sum;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    reduce_floats[lane] = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) { reduce_floats[lane] = max(reduce_floats[lane], reduce_floats[lane + step]); }
    }
    workgroupBarrier();
    let largest = reduce_floats[0];
    workgroupBarrier();
    return largest;
}

fn reduce_min(value: u32, lane: u32) -> u32 {
    reduce_words[lane] = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) { reduce_words[lane] = min(reduce_words[lane], reduce_words[lane + step]); }
    }
    workgroupBarrier();
    let least = reduce_words[0];
    workgroupBarrier();
    return least;
}
#endif
