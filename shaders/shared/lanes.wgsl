// Reductions over the LANES invocations of a workgroup, four rows at a time (one under ONE_ROW). Every lane gets the result.
// LANES is a power of two, and a workgroup is one subgroup under SUBGROUPS.
#ifdef ONE_ROW
alias Quad = f32;
#else
alias Quad = vec4f;
#endif

#ifdef SUBGROUPS
fn lanes_max(value: Quad, lane: u32) -> Quad {
    var x = value;
    for (var step = 1u; step < LANES; step *= 2u) { x = max(x, subgroupShuffleXor(x, step)); }
    return x;
}
fn lanes_sum(value: Quad, lane: u32) -> Quad {
    var x = value;
    for (var step = 1u; step < LANES; step *= 2u) { x += subgroupShuffleXor(x, step); }
    return x;
}
#else
var<workgroup> exchanged: array<Quad, LANES>;

fn lanes_max(value: Quad, lane: u32) -> Quad {
    workgroupBarrier();
    exchanged[lane] = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) { exchanged[lane] = max(exchanged[lane], exchanged[lane + step]); }
    }
    return workgroupUniformLoad(&exchanged[0]);
}
fn lanes_sum(value: Quad, lane: u32) -> Quad {
    workgroupBarrier();
    exchanged[lane] = value;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if (lane < step) { exchanged[lane] += exchanged[lane + step]; }
    }
    return workgroupUniformLoad(&exchanged[0]);
}
#endif
