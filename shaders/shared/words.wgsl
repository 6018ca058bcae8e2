// Four f32 as two 64-bit words: llvmpipe loads and stores lane after lane, word after word, and what a word costs hardly depends on
// its size.
fn unpacked(words: vec2<u64>) -> vec4f {
    let low = vec2u(words);
    let high = vec2u(words >> vec2u(32u));
    return bitcast<vec4f>(vec4u(low.x, high.x, low.y, high.y));
}
fn packed(x: vec4f) -> vec2<u64> {
    let bits = bitcast<vec4u>(x);
    return vec2<u64>(bits.xz) | (vec2<u64>(bits.yw) << vec2u(32u));
}
