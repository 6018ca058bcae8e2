// Places of tiles of attention of chunks. A position sees those in its own chunk of a round's order and in the chunks beside it, the last
// one being before the first (Kitaev, Kaiser and Levskaya 2020, section 2 and figure 2). A tile has rows of one chunk, and walks over
// that chunk and those beside it; a dispatch has the rows of one round. The passes that own queries and those that own keys walk in the
// same way, with the chunks before and after exchanged.
//
// The importing shader has params.queries (as many as keys), rounds, round, hashed, chunk, before, after, causal, excluding, least and
// multiple; the orders `sorted` [B, N, rounds, T], which more may follow; and the strides of the tensors of either side,
// row_stride(second) and column_stride(second).
//
// KEY: rows are keys, columns queries; else the other way round.

const NOWHERE = 0xffffffffu;            // a position that nothing has
const BY_ITSELF = -1e30;                // the log_sum_exp of a position that sees none but itself; below any other

struct Place {
    order: u32,             // where the head's orders start
    begin: u32,             // the tile's first row, among the places of the round's order
    rows: u32,              // the tile's rows
    length: u32,            // the text's valid positions
    extent: u32,            // its positions, padding included
    hashed: bool,           // whether the order is another one than the text's
    chunk: u32,
    own: u32,               // the number of the rows' chunk, and how many there are in all rounds
    chunks: u32,
    before: u32,
    end: u32,               // the columns of the walk
    row_start: vec2u,       // the head's first row in the first and in the second tensor
    column_start: vec2u,
    lane: u32,
    group: u32,
}

var<workgroup> row_positions: array<u32, ROW_TILE>;
var<workgroup> column_positions: array<u32, COLUMN_TILE>;       // of a tile of columns

fn tiles_of_chunk() -> u32 { return (params.chunk + ROW_TILE - 1u) / ROW_TILE; }
fn tiles_of_head() -> u32 { return params.queries / params.chunk * tiles_of_chunk(); }

// The positions of a text of so many valid ones, its own padding included.
fn extent_of(length: u32) -> u32 {
    if (params.multiple == 0u) { return params.queries; }
    let padded = (length + params.multiple - 1u) / params.multiple * params.multiple;
    return min(select(padded, length, length <= params.least), params.queries);
}

// The place of a head's tile in a text of so many valid positions. Where the heads start, and the invocation, are left open.
fn place_of(tile: u32, head: u32, length: u32) -> Place {
    var place: Place;
    let number = tile / tiles_of_chunk();
    let first = tile % tiles_of_chunk() * ROW_TILE;
    place.order = head * params.rounds * params.queries;
    place.begin = number * params.chunk + first;
    place.rows = min(params.chunk - first, ROW_TILE);
    place.length = length;
    place.extent = extent_of(length);
    // A text that is no longer than a chunk is one, in its own order and one round, which nothing is beside.
    if (place.extent <= params.chunk) {
        place.chunk = place.extent;
        place.chunks = 1u;
        if (params.round > 0u) { place.rows = 0u; }
        place.end = select(0u, place.extent, place.begin < place.extent && params.round == 0u && length > 0u);
        return place;
    }
    let of_round = place.extent / params.chunk;
    place.hashed = params.hashed != 0u;
    place.chunk = params.chunk;
    place.own = params.round * of_round + number;
    place.chunks = params.rounds * of_round;
#ifdef KEY
    place.before = params.after;
#else
    place.before = params.before;
#endif
    // Where nothing is valid there is nothing to clamp to.
    let walked = (params.before + 1u + params.after) * params.chunk;
    place.end = select(0u, walked, number < of_round && length > 0u);
    return place;
}

// The position at a place of the orders, which follow each other.
fn position_at(place: Place, slot: u32) -> u32 {
    if (!place.hashed) { return slot; }
    return sorted[place.order + slot / place.extent * params.queries + slot % place.extent];
}

// Those past the text's extent are in no order.
fn position_of_row(place: Place, row: u32) -> u32 {
    if (row >= place.rows) { return NOWHERE; }
    let slot = place.begin + row;
    if (slot >= place.extent) { return slot; }
    return position_at(place, params.round * place.extent + slot);
}

// As many chunks away as there are or more is no way at all.
fn position_of_column(place: Place, column: u32) -> u32 {
    if (column >= place.end) { return NOWHERE; }
    let number = column / place.chunk;
    let distance = max(number, place.before) - min(number, place.before);
    let other = (place.own + place.chunks + number - place.before) % place.chunks;
    return position_at(place, select(other, place.own, distance >= place.chunks) * place.chunk + column % place.chunk);
}

// Writes down the positions of the tile's rows.
fn gather_rows(place: Place) {
    for (var i = place.group * LANES + place.lane; i < ROW_TILE; i += LANES * GROUPS) {
        row_positions[i] = position_of_row(place, i);
    }
    workgroupBarrier();
}

// Writes down the positions of the tile of columns from one on, which the functions that follow take for granted.
fn gather_columns(place: Place, column0: u32) {
    workgroupBarrier();
    for (var i = place.group * LANES + place.lane; i < COLUMN_TILE; i += LANES * GROUPS) {
        column_positions[i] = position_of_column(place, column0 + i);
    }
    workgroupBarrier();
}

// Where rows and columns start. What is not valid is clamped to what is, and its results are masked.
fn row_at(second: bool, place: Place, row: u32) -> u32 {
    let position = min(row_positions[row], max(place.length, 1u) - 1u);
    return select(place.row_start.x, place.row_start.y, second) + position * row_stride(second);
}
fn column_at(second: bool, place: Place, column: u32) -> u32 {
    let position = min(column_positions[column % COLUMN_TILE], max(place.length, 1u) - 1u);
    return select(place.column_start.x, place.column_start.y, second) + position * column_stride(second);
}

// The positions of a lane's j-th four columns.
fn columns_of(j: u32, lane: u32) -> vec4u {
    let i = (j * LANES + lane) * 4u;
    return vec4u(column_positions[i], column_positions[i + 1u], column_positions[i + 2u], column_positions[i + 3u]);
}

// Which columns are seen from the row at a position, or see it.
fn visible(place: Place, row: u32, columns: vec4u) -> vec4<bool> {
    let valid = (columns < vec4u(place.length)) & vec4<bool>(row < place.length);
#ifdef KEY
    let ordered = (columns >= vec4u(row)) | vec4<bool>(params.causal == 0u);
#else
    let ordered = (columns <= vec4u(row)) | vec4<bool>(params.causal == 0u);
#endif
    let other = (columns != vec4u(row)) | vec4<bool>(params.excluding == 0u);
    return valid & ordered & other;
}
