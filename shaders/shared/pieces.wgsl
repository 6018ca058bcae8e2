// Rows by the piece, the elements of one load: four elements under VECTOR, where rows are a multiple of that many; eight
// under WIDE besides, in 64-bit words, because llvmpipe loads and stores lane after lane at a cost that the bytes hardly change.
// Otherwise four loads bring four elements. A Word is what the bindings are arrays of, and has UNIT elements;
// a SingleWord that of bindings that are f32 in any case.
#import element
#import four
#ifdef WIDE
alias Word = vec4<u64>;
alias SingleWord = Word;
alias Piece = array<vec4f, 2>;
const PARTS = 2u;
const UNIT = 8u;

fn unpack(words: Word) -> Piece {
    let low = vec4u(words);
    let high = vec4u(words >> vec4u(32u));
    return Piece(bitcast<vec4f>(vec4u(low.x, high.x, low.y, high.y)), bitcast<vec4f>(vec4u(low.z, high.z, low.w, high.w)));
}
fn pack(piece: Piece) -> Word {
    let first = bitcast<vec4u>(piece[0]);
    let second = bitcast<vec4u>(piece[1]);
    return vec4<u64>(vec4u(first.xz, second.xz)) | (vec4<u64>(vec4u(first.yw, second.yw)) << vec4u(32u));
}
#else
alias Word = Element;
alias SingleWord = Single;
alias Piece = array<vec4f, 1>;
const PARTS = 1u;
const UNIT = WIDTH;
#endif

const PIECE = 4u * PARTS;
#ifdef ALONE
const STRIDE = PIECE;                   // a lane has a row of its own
#else
const STRIDE = PIECE * LANES;           // from a lane's piece to its next
#endif
const UNROLLED = 4u;                    // pieces of a lane that are loaded before the first is used
const BLOCK = UNROLLED * STRIDE;
