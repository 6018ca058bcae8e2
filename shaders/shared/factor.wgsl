// A factor of a matrix product, BINDING, by fours: of f16 under HALF_BINDING. VECTOR_BINDING: 16-byte loads serve, under WIDE in
// 64-bit words. Along the steps of a product, four neighbours from `at` on, all of which must be there; across, four of its rows or
// columns from number `first` on, of `count`, which lies at `at`: the last in place of those past it.
// TEXTURE_BINDING: it is a copy in a texture.
#import four
#import one(BINDING)

#ifdef TEXTURE_BINDING
#import texel
fn along_BINDING(at: u32) -> vec4f { return textureLoad(BINDING, texel(at / 4u), 0); }
fn across_BINDING(at: u32, first: u32, count: u32) -> vec4f { return along_BINDING(at); }
#else
#ifdef VECTOR_BINDING
#ifdef WIDE
#import words
#ifdef HALF_BINDING
alias Word_BINDING = u64;
fn along_BINDING(at: u32) -> vec4f {
    let x = BINDING[at / 4u];
    return vec4f(unpack2x16float(u32(x)), unpack2x16float(u32(x >> 32u)));
}
#else
alias Word_BINDING = vec2<u64>;
fn along_BINDING(at: u32) -> vec4f { return unpacked(BINDING[at / 4u]); }
#endif
#else
alias Word_BINDING = vec4<One_BINDING>;
fn along_BINDING(at: u32) -> vec4f { return vec4f(BINDING[at / 4u]); }
#endif
fn across_BINDING(at: u32, first: u32, count: u32) -> vec4f { return along_BINDING(at); }
#else
alias Word_BINDING = One_BINDING;
fn gather_BINDING(i: vec4u) -> vec4f { return vec4f(vec4(BINDING[i.x], BINDING[i.y], BINDING[i.z], BINDING[i.w])); }

fn along_BINDING(at: u32) -> vec4f {
    return vec4f(vec4(BINDING[at], BINDING[at + 1u], BINDING[at + 2u], BINDING[at + 3u]));
}
fn across_BINDING(at: u32, first: u32, count: u32) -> vec4f {
    return gather_BINDING(vec4u(at) + min(four_from(0u), vec4u(count - 1u - first)));
}
#endif
#endif
