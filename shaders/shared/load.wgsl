// Loads from BINDING: four elements from `at` on, of a run that ends at `end`; elements at its end and past it count as 0.
// VECTOR: `at` and `end` are multiples of 4, and only the padded load may start at the end or past it.
// The nth: the i-th four of a row of `size` elements whose start counts in the binding's own elements, as one of fours under
// VECTOR: then one instruction makes an address.
// TEXTURE_BINDING, under VECTOR: it is a copy in a texture.
#import four
#ifdef VECTOR
#ifdef TEXTURE_BINDING
#import texel
fn load_BINDING(at: u32, end: u32) -> vec4f { return textureLoad(BINDING, texel(at / 4u), 0); }
fn load_BINDING_nth(start: u32, i: u32, size: u32) -> vec4f { return textureLoad(BINDING, texel(start + i), 0); }
#else
#ifdef WORDS
fn load_BINDING(at: u32, end: u32) -> vec4f { return unpacked(BINDING[at / 4u]); }
fn load_BINDING_nth(start: u32, i: u32, size: u32) -> vec4f { return unpacked(BINDING[start + i]); }
#else
fn load_BINDING(at: u32, end: u32) -> vec4f { return vec4f(BINDING[at / 4u]); }
fn load_BINDING_nth(start: u32, i: u32, size: u32) -> vec4f { return vec4f(BINDING[start + i]); }
#endif
#endif
fn load_BINDING_padded(at: u32, end: u32) -> vec4f {
    return select(vec4f(), load_BINDING(min(at, end - 4u), end), at < end);
}
#else
fn load_BINDING(at: u32, end: u32) -> vec4f {
    let i = four_at(at, end);
    return before_end(vec4f(vec4(BINDING[i.x], BINDING[i.y], BINDING[i.z], BINDING[i.w])), at, end);
}
fn load_BINDING_padded(at: u32, end: u32) -> vec4f { return load_BINDING(at, end); }
fn load_BINDING_nth(start: u32, i: u32, size: u32) -> vec4f { return load_BINDING(start + i * 4u, start + size); }
#endif
