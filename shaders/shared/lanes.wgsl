// Reductions over the LANES invocations of a workgroup, four rows at a time (one under ONE_ROW). Every lane gets the result.
// LANES is a power of two, and a workgroup is one subgroup under SUBGROUPS. Only on lanes_any may control flow depend: NaN or not,
// all lanes get the same answer.
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
fn lanes_any(value: bool, lane: u32) -> bool { return subgroupAny(value); }
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
#ifdef ONE_ROW
#else
fn lanes_any(value: bool, lane: u32) -> bool { return lanes_max(vec4f(select(0.0, 1.0, value)), lane).x > 0.0; }
#endif
#endif
