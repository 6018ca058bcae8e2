// d_energy[a] = sum over parts of partial[part, a]. A workgroup sums COLUMNS of them, slices of the parts side by side, each in the
// order of its parts, then slice by slice.
struct Params { parts: u32, size: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;           // [parts, A]
@group(0) @binding(2) var<storage, read_write> d_energy: array<f32>;    // [A]

const UNROLL = 8u;                      // fewer iterations: CPU drivers cut loops past tens of thousands
const COLUMNS = 8u;
const SLICES = LANES / COLUMNS;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let a = min(group.x * COLUMNS + lane % COLUMNS, params.size - 1u);
    let slice = (params.parts + SLICES - 1u) / SLICES;
    let first = lane / COLUMNS * slice;
    let end = min(first + slice, params.parts);
    var sum = 0.0;
    for (var part = first; part < end; part += UNROLL) {
        for (var i = 0u; i < UNROLL; i++) {
            let x = partial[min(part + i, end - 1u) * params.size + a];
            sum += select(0.0, x, part + i < end);
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (lane >= COLUMNS || group.x * COLUMNS + lane >= params.size) { return; }
    for (var s = 1u; s < SLICES; s++) { sum += sums[s * COLUMNS + lane]; }
    d_energy[a] = sum;
}
