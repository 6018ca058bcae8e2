// The adapter's rate of reading storage, or with COPY of reading and writing it: EACH vec4s an invocation, neighbours side by
// side.
struct Params { invocations: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;            // [EACH, invocations]
@group(0) @binding(2) var<storage, read_write> y: array<vec4f>;      // [invocations]; COPY: [EACH, invocations]

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let i = min(id.x + id.y * groups.x * LANES, params.invocations - 1u);
#ifdef COPY
    for (var j = 0u; j < EACH; j++) { y[i + j * params.invocations] = x[i + j * params.invocations]; }
#else
    var sum = vec4f();
    for (var j = 0u; j < EACH; j++) { sum += x[i + j * params.invocations]; }
    y[i] = sum;
#endif
}
