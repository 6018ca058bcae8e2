// The gradient of a bias by relative position from its parts: sums over the batch and over the bands that a diagonal lies in.
struct Params { batch: u32, heads: u32, queries: u32, keys: u32, rows: u32, columns: u32 }      // of a tile

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;             // [B, N, bands, rows + columns - 1]
@group(0) @binding(2) var<storage, read_write> d_bias: array<f32>;      // [N, T + S - 1]

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (workgroup.x + workgroup.y * workgroups.x) * LANES + local;
    let span = params.queries + params.keys - 1u;
    if (i >= params.heads * span) { return; }
    let n = i / span;
    let shift = (params.queries - 1u) / params.rows * params.rows;
    let bands = (params.keys + shift + params.columns - 1u) / params.columns;
    let diagonals = params.rows + params.columns - 1u;
    // Its number if the first band's diagonals were counted on.
    let diagonal = i % span + params.rows + shift - params.queries;
    let first = (diagonal - min(diagonal, diagonals - 1u) + params.columns - 1u) / params.columns;
    let end = min(bands, diagonal / params.columns + 1u);
    var sum = 0.0;
    for (var b = 0u; b < params.batch; b++) {
        for (var band = first; band < end; band++) {
            sum += parts[((b * params.heads + n) * bands + band) * diagonals + diagonal - band * params.columns];
        }
    }
    d_bias[i] = sum;
}
