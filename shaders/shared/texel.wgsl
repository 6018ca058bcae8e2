// Where the four elements of number `i` of a tensor lie that has been copied into a texture.
fn texel(i: u32) -> vec2u { return vec2u(i % TEXELS, i / TEXELS); }
