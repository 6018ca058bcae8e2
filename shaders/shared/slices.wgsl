// Sums of ROWS rows that SLICES invocations of a workgroup share, each with a slice of the steps: SLICES is a power of two, and
// WORKERS invocations of each slice have rows of their own.
alias Sums = array<vec4f, ROWS>;

const WORKERS = LANES * GROUPS;

var<workgroup> sums_of_slices: array<vec4f, SLICES / 2u * ROWS * WORKERS>;

// Adds up the slices in a fixed order; the first has the whole then. Every invocation must call.
fn merge(sums: ptr<function, Sums>, slice: u32, worker: u32) {
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();             // the sums before are read
        if (slice >= half && slice < 2u * half) {
            for (var r = 0u; r < ROWS; r++) { sums_of_slices[((slice - half) * ROWS + r) * WORKERS + worker] = (*sums)[r]; }
        }
        workgroupBarrier();
        if (slice < half) {
            for (var r = 0u; r < ROWS; r++) { (*sums)[r] += sums_of_slices[(slice * ROWS + r) * WORKERS + worker]; }
        }
    }
}
