// Gradients of lsh_attention's queries. A workgroup owns a position of one head and goes through what it sees.
//     d_query = sum of d_product * key
#import element
#import linear
#import lsh_pairs

@group(0) @binding(1) var<storage, read> query: array<Element>;              // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;                // [B, T, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;              // [B, T, N, D]
@group(0) @binding(4) var<storage, read> d_context: array<Element>;          // [B, T, N, D]
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length
@group(0) @binding(6) var<storage, read> sorted: array<u32>;                 // [2, B, N, rounds, T]
@group(0) @binding(7) var<storage, read_write> d_query: array<Element>;      // [B, T, N, D]
#import store(d_query)

var<workgroup> d_products: array<f32, LANES>;
var<workgroup> seen: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups);
    if (owned >= params.batch * params.heads * params.steps) { return; }
    let t = owned % params.steps;
    let head = owned / params.steps;
    let n = head % params.heads;
    let b = head / params.heads;
    let length = length_of(b);
    let text = text_of(length);
    let end = select(0u, walked(text), t < length);
    let own = row_at(b, n, t);

    var sums: array<vec4f, SHARE>;
    for (var first = 0u; first < end; first += LANES) {
        let s = met(text, head, t, min(first + lane, end - 1u), text.before);
        let live = first + lane < end && sees(t, s, length);
        let d_product = pair_of(own, row_at(b, n, s), statistics[owned], live).d_product;
        workgroupBarrier();
        d_products[lane] = d_product;
        seen[lane] = select(NOWHERE, s, live);
        workgroupBarrier();
        for (var j = 0u; j < LANES; j++) {
            if (seen[j] == NOWHERE) { continue; }
            let k = row_at(b, n, seen[j]);
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { sums[i] = fma(vec4f(d_products[j]), load_key(k + feature, k + params.size), sums[i]); }
            }
        }
    }

    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) { store_d_query(own + feature, own + params.size, sums[i]); }
    }
}
