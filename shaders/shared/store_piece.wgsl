// Stores a piece in BINDING, from `at` on; elements at `end` and past it are left out.
#import pieces
#ifdef WIDE
fn store_piece_BINDING(at: u32, end: u32, x: Piece) { BINDING[at / PIECE] = pack(x); }
#else
#import store(BINDING)
fn store_piece_BINDING(at: u32, end: u32, x: Piece) { store_BINDING(at, end, x[0]); }
#endif
