// Loads of the backward passes of attention, whose tiles pair queries with gradients of their contexts, and keys with values.
// A piece of a row or column; features at the size and past it are 0 in the scalar form, and in the others are not stored.
#ifdef VECTOR
fn piece_at(at: u32, feature: u32) -> u32 { return (at + min(feature, params.size - PIECE)) / PIECE; }
fn load_query(at: u32, feature: u32) -> Piece { return unpack(query[piece_at(at, feature)]); }
fn load_key(at: u32, feature: u32) -> Piece { return unpack(key[piece_at(at, feature)]); }
fn load_value(at: u32, feature: u32) -> Piece { return unpack(value[piece_at(at, feature)]); }
fn load_d_context(at: u32, feature: u32) -> Piece { return unpack(d_context[piece_at(at, feature)]); }
#else
fn piece_at(at: u32, feature: u32) -> vec4u {
    return at + min(vec4u(feature) + vec4u(0u, 1u, 2u, 3u), vec4u(params.size - 1u));
}
fn keep(loaded: vec4f, feature: u32) -> Piece {
    return Piece(select(vec4f(), loaded, vec4u(feature) + vec4u(0u, 1u, 2u, 3u) < vec4u(params.size)));
}
fn load_query(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(query[i.x], query[i.y], query[i.z], query[i.w])), feature);
}
fn load_key(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(key[i.x], key[i.y], key[i.z], key[i.w])), feature);
}
fn load_value(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(value[i.x], value[i.y], value[i.z], value[i.w])), feature);
}
fn load_d_context(at: u32, feature: u32) -> Piece {
    let i = piece_at(at, feature);
    return keep(vec4f(element4(d_context[i.x], d_context[i.y], d_context[i.z], d_context[i.w])), feature);
}
#endif

fn load_query_side(second: bool, at: u32, feature: u32) -> Piece {
    if (second) { return load_d_context(at, feature); }
    return load_query(at, feature);
}
fn load_key_side(second: bool, at: u32, feature: u32) -> Piece {
    if (second) { return load_value(at, feature); }
    return load_key(at, feature);
}
fn query_stride(second: bool) -> u32 { return select(params.query.w, params.d_context.w, second); }
fn key_stride(second: bool) -> u32 { return select(params.key.w, params.value.w, second); }
