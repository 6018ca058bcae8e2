// d_energy[a] = sum over parts of partial[part, a], in their order.
struct Params { parts: u32, size: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;           // [parts, A]
@group(0) @binding(2) var<storage, read_write> d_energy: array<f32>;    // [A]

const UNROLL = 8u;                      // fewer iterations: CPU drivers cut loops past tens of thousands

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= params.size) { return; }
    var sum = 0.0;
    for (var part = 0u; part < params.parts; part += UNROLL) {
        for (var i = 0u; i < UNROLL; i++) {
            let x = partial[min(part + i, params.parts - 1u) * params.size + id.x];
            sum += select(0.0, x, part + i < params.parts);
        }
    }
    d_energy[id.x] = sum;
}
