// Loads from BINDING as in load.wgsl, by the piece.
#import pieces
#ifdef WIDE
fn load_piece_BINDING(at: u32, end: u32) -> Piece { return unpack(BINDING[at / PIECE]); }
fn load_piece_BINDING_nth(start: u32, i: u32, size: u32) -> Piece { return unpack(BINDING[start + i]); }
#else
#import load(BINDING)
fn load_piece_BINDING(at: u32, end: u32) -> Piece { return Piece(load_BINDING(at, end)); }
fn load_piece_BINDING_nth(start: u32, i: u32, size: u32) -> Piece { return Piece(load_BINDING_nth(start, i, size)); }
#endif
