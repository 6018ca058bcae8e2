// Stores four elements in BINDING, from `at` on; those at `end` and past it are left out.
#import element
#ifdef VECTOR
#ifdef WORDS
fn store_BINDING(at: u32, end: u32, x: vec4f) { BINDING[at / 4u] = packed(x); }
#else
fn store_BINDING(at: u32, end: u32, x: vec4f) { BINDING[at / 4u] = element4(x); }
#endif
#else
fn store_BINDING(at: u32, end: u32, x: vec4f) {
    BINDING[at] = element(x.x);
    if (at + 1u < end) { BINDING[at + 1u] = element(x.y); }
    if (at + 2u < end) { BINDING[at + 2u] = element(x.z); }
    if (at + 3u < end) { BINDING[at + 3u] = element(x.w); }
}
#endif
