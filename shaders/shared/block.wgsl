// Blocks of 4 x 4 elements.
fn transpose(x: array<vec4f, 4>) -> array<vec4f, 4> {
    return array<vec4f, 4>(
        vec4f(x[0].x, x[1].x, x[2].x, x[3].x),
        vec4f(x[0].y, x[1].y, x[2].y, x[3].y),
        vec4f(x[0].z, x[1].z, x[2].z, x[3].z),
        vec4f(x[0].w, x[1].w, x[2].w, x[3].w));
}

// sum + x · block
fn add_product(sum: vec4f, x: vec4f, block: array<vec4f, 4>) -> vec4f {
    return fma(x.wwww, block[3], fma(x.zzzz, block[2], fma(x.yyyy, block[1], fma(x.xxxx, block[0], sum))));
}
