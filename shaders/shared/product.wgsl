// What products of matrices have in common, whatever computes the sums: the parameters, and how what is computed is stored into C, here
// BINDING: of f16 under HALF_BINDING, by fours under VECTOR_BINDING, added to what is there under ACCUMULATE.
// SUMS: the sums of op(A)'s rows are stored, too: where C is the gradient of a weight, they are that of a bias. They lie in C's binding,
// or under APART in one of their own, `sums`.
#import four
#import math
#import one(BINDING)

struct Params {
    m: u32, n: u32, k: u32,
    a_offset: u32, a_stride: u32, a_batch: u32,
    b_offset: u32, b_stride: u32, b_batch: u32,
    c_offset: u32, c_stride: u32, c_batch: u32,
    has_bias: u32, bias_offset: u32, bias_batch: u32,
    sums_offset: u32, sums_batch: u32,
}

fn load_bias(batch: u32, n: u32) -> vec4f {
    let base = params.bias_offset + batch * params.bias_batch;
#ifdef VECTOR_BINDING
    return bias[(base + min(n, params.n - 4u)) / 4u];
#else
    let i = vec4u(base) + four_at(n, params.n);
    return vec4f(bias[i.x], bias[i.y], bias[i.z], bias[i.w]);
#endif
}

fn store(base: u32, row: u32, column: u32, sum: vec4f) {
    if (row >= params.m || column >= params.n) { return; }
    let at = base + row * params.c_stride + column;
    var value = sum;
#ifdef ACCUMULATE
#ifdef VECTOR_BINDING
    value += vec4f(BINDING[at / 4u]);
#else
    let i = vec4u(at) + min(four_from(0u), vec4u(params.n - 1u - column));
    value += vec4f(vec4<One_BINDING>(BINDING[i.x], BINDING[i.y], BINDING[i.z], BINDING[i.w]));
#endif
#endif
#ifdef TANH
    value = tanh4(value);
#endif
#ifdef SIGMOID
    value = sigmoid4(value);
#endif
#ifdef VECTOR_BINDING
    BINDING[at / 4u] = vec4<One_BINDING>(value);
#else
    BINDING[at] = One_BINDING(value.x);
    if (column + 1u < params.n) { BINDING[at + 1u] = One_BINDING(value.y); }
    if (column + 2u < params.n) { BINDING[at + 2u] = One_BINDING(value.z); }
    if (column + 3u < params.n) { BINDING[at + 3u] = One_BINDING(value.w); }
#endif
}

#ifdef SUMS
fn store_sum(batch: u32, row: u32, sum: f32) {
    if (row >= params.m) { return; }
    let at = params.sums_offset + batch * params.sums_batch + row;
    var value = sum;
#ifdef APART
#ifdef ACCUMULATE
    value += sums[at];
#endif
    sums[at] = value;
#else
#ifdef VECTOR_BINDING
#ifdef ACCUMULATE
    value += BINDING[at / 4u][at % 4u];
#endif
    BINDING[at / 4u][at % 4u] = value;
#else
#ifdef ACCUMULATE
    value += BINDING[at];
#endif
    BINDING[at] = value;
#endif
#endif
}

// Of four rows of op(A).
fn store_sums(batch: u32, row: u32, sum: vec4f) {
    store_sum(batch, row, sum.x);
    store_sum(batch, row + 1u, sum.y);
    store_sum(batch, row + 2u, sum.z);
    store_sum(batch, row + 3u, sum.w);
}
#endif
