// Buckets of relative positions as runs of distances, from the farthest key before the query to the farthest behind it.
struct Params {
    starts: array<vec4u, 15>,           // where each run starts
    heads: u32, span: u32, buckets: u32,
    before: u32,                        // the number of runs before the query and at it, whose buckets count down to 0
}

fn start_of(run: u32) -> u32 {
    if (run >= params.buckets) { return params.span; }
    return params.starts[run / 4u][run % 4u];
}
fn bucket_of(run: u32) -> u32 { return select(run, params.before - 1u - run, run < params.before); }
