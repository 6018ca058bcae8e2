// Gradients of lsh_attention's keys and values. A workgroup owns a position of one head and goes through the queries that see it.
//     d_key = sum of d_product * query        d_value = sum of weight * d_context
// Where keys are the queries x at one length, d_key holds the gradient of the queries already, and there is added to it
//     d_key - x (d_key · x) / (x · x + epsilon D)
#import element
#import linear
#import reduce
#import lsh_pairs

@group(0) @binding(1) var<storage, read> query: array<Element>;              // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;                // [B, T, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;              // [B, T, N, D]
@group(0) @binding(4) var<storage, read> d_context: array<Element>;          // [B, T, N, D]
@group(0) @binding(5) var<storage, read> statistics: array<vec2f>;           // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length
@group(0) @binding(6) var<storage, read> sorted: array<u32>;                 // [2, B, N, rounds, T]
@group(0) @binding(7) var<storage, read_write> d_key: array<Element>;        // [B, T, N, D]; d_query before, where there is one tensor
@group(0) @binding(8) var<storage, read_write> d_value: array<Element>;      // [B, T, N, D]
#import load(d_key)
#import store(d_key)
#import store(d_value)

var<workgroup> pairs: array<Pair, LANES>;
var<workgroup> seen: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let owned = linear_workgroup(workgroup, workgroups);
    if (owned >= params.batch * params.heads * params.steps) { return; }
    let s = owned % params.steps;
    let head = owned / params.steps;
    let n = head % params.heads;
    let b = head / params.heads;
    let length = length_of(b);
    let text = text_of(length);
    let end = select(0u, walked(text), s < length);
    let own = row_at(b, n, s);

    var d_k: array<vec4f, SHARE>;
    var d_v: array<vec4f, SHARE>;
    for (var first = 0u; first < end; first += LANES) {
        let t = met(text, head, s, min(first + lane, end - 1u), text.after);
        let live = first + lane < end && sees(t, s, length);
        let pair = pair_of(row_at(b, n, t), own, statistics[head * params.steps + t], live);
        workgroupBarrier();
        pairs[lane] = pair;
        seen[lane] = select(NOWHERE, t, live);
        workgroupBarrier();
        for (var j = 0u; j < LANES; j++) {
            if (seen[j] == NOWHERE) { continue; }
            let q = row_at(b, n, seen[j]);
            let other = pairs[j];
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) {
                    d_k[i] = fma(vec4f(other.d_product), load_query(q + feature, q + params.size), d_k[i]);
                    d_v[i] = fma(vec4f(other.weight), load_d_context(q + feature, q + params.size), d_v[i]);
                }
            }
        }
    }

    let alone = s < length && statistics[owned].x <= ALONE;
    var products = vec4f();
    var squares = vec4f();
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) {
            let x = load_key(own + feature, own + params.size);
            products = fma(d_k[i], x, products);
            squares = fma(x, x, squares);
        }
    }
    let product = reduce_sum(sum_of(products), lane);
    let square = reduce_sum(sum_of(squares), lane);
    let along = product / (square + EPSILON * f32(params.size));
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) {
            let row_end = own + params.size;
            var d_x = d_k[i];
            if (params.unit != 0u && s < length) {
                d_x += load_d_key(own + feature, row_end) - along * load_key(own + feature, row_end);
            }
            store_d_key(own + feature, row_end, d_x);
            let d_own = select(vec4f(), load_d_context(own + feature, row_end), alone);
            store_d_value(own + feature, row_end, d_v[i] + d_own);
        }
    }
}
