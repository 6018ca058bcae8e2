// Loads of the backward passes of attention, whose tiles pair queries with gradients of their contexts, and keys with values: a piece
// of a row or column.
#import load_piece(query)
#import load_piece(key)
#import load_piece(value)
#import load_piece(d_context)

fn load_query_side(second: bool, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (second) { return load_piece_d_context(start, at + params.size); }
    return load_piece_query(start, at + params.size);
}
fn load_key_side(second: bool, at: u32, feature: u32) -> Piece {
    let start = at + loaded_from(feature);
    if (second) { return load_piece_value(start, at + params.size); }
    return load_piece_key(start, at + params.size);
}
fn query_stride(second: bool) -> u32 { return select(params.query.row, params.d_context.row, second); }
fn key_stride(second: bool) -> u32 { return select(params.key.row, params.value.row, second); }
