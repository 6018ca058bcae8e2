// context = softmax(query · key * factor) * value over the positions that each one sees in any round, those of several rounds counted as
// often, with the softmax taken online (Milakov and Gimelshein 2018). That is what rounds come to that are weighed by the sums of their
// exponentials (Kitaev, Kaiser and Levskaya 2020, equation 6). A workgroup owns a position of one head; its lanes share what it sees,
// then the features. A position that sees none but itself has its own value as context; one past its text's end has 0.
//
// VECTOR: sizes are multiples of 4. SHARE: vec4s of a head that a lane sums up.
#import element
#import linear
#import reduce
#import load(query)
#import load(key)
#import load(value)
#import lsh_places

@group(0) @binding(1) var<storage, read> query: array<Element>;          // [B, T, N, D]
@group(0) @binding(2) var<storage, read> key: array<Element>;            // [B, T, N, D]
@group(0) @binding(3) var<storage, read> value: array<Element>;          // [B, T, N, D]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;            // [B]
@group(0) @binding(5) var<storage, read> sorted: array<u32>;             // [2, B, N, rounds, T]
@group(0) @binding(6) var<storage, read_write> context: array<Element>;  // [B, T, N, D]
@group(0) @binding(7) var<storage, read_write> log_sum_exp: array<f32>;  // [B, N, T]
#import store(context)

var<workgroup> weights: array<f32, LANES>;
var<workgroup> seen: array<u32, LANES>; // NOWHERE: what a lane came to is not visible

fn score_of(q: u32, k: u32) -> f32 {
    var products = vec4f();
    var squares = vec4f();
    for (var d = 0u; d < params.size; d += 4u) {
        let x = load_key(k + d, k + params.size);
        products = fma(load_query(q + d, q + params.size), x, products);
        squares = fma(x, x, squares);
    }
    return sum_of(products) * factor_of(sum_of(squares));
}

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
    let length = min(lengths[b], params.steps);
    let text = text_of(length);
    let end = select(0u, walked(text), t < length);
    let own = row_at(b, n, t);

    var largest = ALONE;
    var total = 0.0;                    // of this lane's keys
    var sums: array<vec4f, SHARE>;
    for (var first = 0u; first < end; first += LANES) {
        let s = met(text, head, t, min(first + lane, end - 1u), text.before);
        let live = first + lane < end && sees(t, s, length);
        let score = select(ALONE, score_of(own, row_at(b, n, s)), live);
        let new_largest = max(largest, reduce_max(score, lane));
        let change = exp(largest - new_largest);
        let weight = select(0.0, exp(score - new_largest), live);
        largest = new_largest;
        total = total * change + weight;
        workgroupBarrier();
        weights[lane] = weight;
        seen[lane] = select(NOWHERE, s, live);
        workgroupBarrier();
        for (var i = 0u; i < SHARE; i++) { sums[i] *= change; }
        for (var j = 0u; j < LANES; j++) {
            if (seen[j] == NOWHERE) { continue; }
            let v = row_at(b, n, seen[j]);
            for (var i = 0u; i < SHARE; i++) {
                let feature = (i * LANES + lane) * 4u;
                if (feature < params.size) { sums[i] = fma(vec4f(weights[j]), load_value(v + feature, v + params.size), sums[i]); }
            }
        }
    }

    let all = reduce_sum(total, lane);
    let alone = t < length && all == 0.0;
    let inverse = select(0.0, 1.0 / max(all, 1e-30), t < length);
    for (var i = 0u; i < SHARE; i++) {
        let feature = (i * LANES + lane) * 4u;
        if (feature < params.size) {
            let own_value = load_value(own + feature, own + params.size);
            store_context(own + feature, own + params.size, select(sums[i] * inverse, own_value, alone));
        }
    }
    let logarithm = select(0.0, largest + log(max(all, 1e-30)), t < length);
    if (lane == 0u) { log_sum_exp[owned] = select(logarithm, ALONE, alone); }
}
