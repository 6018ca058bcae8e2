// A matrix BINDING, of f16 under HALF_BINDING, in pieces of four neighbours of a stored line, as they are staged for cooperative
// matrices: in the type `Staged` that those multiply. VECTOR_BINDING: the length of lines, and where they begin, are multiples of 4.
#import four
#import one(BINDING)
#ifdef VECTOR_BINDING
alias Word_BINDING = vec4<One_BINDING>;
#else
alias Word_BINDING = One_BINDING;
#endif

// The piece that begins at (line, column) of a matrix of lines x columns: zeros for what is not in it, which add nothing to a sum.
fn staged_BINDING(base: u32, stride: u32, line: u32, lines: u32, column: u32, columns: u32) -> vec4<Staged> {
    if (line >= lines || column >= columns) { return vec4<Staged>(); }
    let at = base + line * stride + column;
#ifdef VECTOR_BINDING
    return vec4<Staged>(BINDING[at / 4u]);
#else
    let last = columns - 1u - column;
    let i = vec4u(at) + min(four_from(0u), vec4u(last));
    let piece = vec4<Staged>(vec4<One_BINDING>(BINDING[i.x], BINDING[i.y], BINDING[i.z], BINDING[i.w]));
    return select(vec4<Staged>(), piece, four_from(0u) <= vec4u(last));
#endif
}
