// A single row of a product: what both kernels for one read beside its factors, and how an element of C comes from its sum.
#import math

struct Params {
    n: u32, k: u32, a_offset: u32, b_offset: u32, b_stride: u32, c_offset: u32,
    has_bias: u32,
    accumulate: u32,                    // whether C has something that the product is added to
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> bias: array<f32>;           // [N]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;        // [1, N]

fn put(column: u32, sum: f32) {
    var value = sum;
    if (params.has_bias != 0u) { value += bias[column]; }
    if (params.accumulate != 0u) { value += c[params.c_offset + column]; }
#ifdef TANH
    value = tanh1(value);
#endif
#ifdef SIGMOID
    value = sigmoid1(value);
#endif
    c[params.c_offset + column] = value;
}
