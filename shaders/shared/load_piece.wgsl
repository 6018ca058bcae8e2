// Loads from BINDING as in load.wgsl, by the piece.
#import pieces
#ifdef TEXTURE_BINDING
#import texel
fn texels_BINDING(first: u32) -> Piece {
    var piece: Piece;
    for (var p = 0u; p < PARTS; p++) { piece[p] = textureLoad(BINDING, texel(first + p), 0); }
    return piece;
}
fn load_piece_BINDING(at: u32, end: u32) -> Piece { return texels_BINDING(at / 4u); }
fn load_piece_BINDING_nth(start: u32, i: u32, size: u32) -> Piece { return texels_BINDING((start + i) * PARTS); }
#else
#ifdef WIDE
fn load_piece_BINDING(at: u32, end: u32) -> Piece { return unpack(BINDING[at / PIECE]); }
fn load_piece_BINDING_nth(start: u32, i: u32, size: u32) -> Piece { return unpack(BINDING[start + i]); }
#else
#import load(BINDING)
fn load_piece_BINDING(at: u32, end: u32) -> Piece { return Piece(load_BINDING(at, end)); }
fn load_piece_BINDING_nth(start: u32, i: u32, size: u32) -> Piece { return Piece(load_BINDING_nth(start, i, size)); }
#endif
#endif
