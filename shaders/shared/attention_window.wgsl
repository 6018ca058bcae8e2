// Places of tiles of attention within a window (Beltagy, Peters and Cohan 2020, section 3.1). A position sees those at most `window` steps
// of `dilation` away, and whatever is listed as global; what is global sees everything. That holds of queries and keys alike, so the
// passes that own queries and those that own keys walk in the same way:
//     own rows:    a tile has rows `dilation` apart, whose windows hold columns `dilation` apart; behind these come the listed ones
//     everywhere:  a tile has listed rows, and walks over all columns. It comes second, and writes over what these rows had.
//
// The importing shader has params.queries (as many as keys), causal, window, dilation, reach (the product of these two), globals and
// everywhere; the positions `globals` [B, params.globals], in ascending order, and past all others where there are fewer; and the strides
// of the tensors of either side, row_stride(second) and column_stride(second).
//
// KEY: rows are keys, columns queries; else the other way round.

const NOWHERE = 0xffffffffu;            // a position that nothing has

struct Place {
    row: u32,               // the number of the tile's first row, among those of its residue or among those listed
    residue: u32,           // positions of rows and columns: residue + number * step
    step: u32,
    reach: u32,             // how far away columns are seen that are not listed
    first: u32,             // the position of the walk's first column
    span: u32,              // the columns before the listed ones
    end: u32,               // and with them
    listed: u32,            // where the sequence's list starts
    count: u32,             // the positions that are on it
    last_row: u32,          // positions past the last are clamped, and their results masked
    last_column: u32,
    row_start: vec2u,       // the head's first row in the first and in the second tensor
    column_start: vec2u,
    lane: u32,
    group: u32,
}

// The tiles of one residue, and of a head.
fn tiles_of_residue() -> u32 {
    let rows = (params.queries + params.dilation - 1u) / params.dilation;
    return (rows + ROW_TILE - 1u) / ROW_TILE;
}
fn tiles_of_head() -> u32 {
    if (params.everywhere != 0u) { return (params.globals + ROW_TILE - 1u) / ROW_TILE; }
    return tiles_of_residue() * params.dilation;
}

// The place of a head's tile in a sequence of so many valid rows and columns. Where the heads start, and the invocation, are left open.
fn place_of(tile: u32, sequence: u32, rows: u32, columns: u32) -> Place {
    var place: Place;
    place.listed = sequence * params.globals;
    place.count = count_listed(place.listed);
    place.last_row = max(rows, 1u) - 1u;
    place.last_column = max(columns, 1u) - 1u;
    if (params.everywhere != 0u) {
        place.row = tile * ROW_TILE;
        place.step = 1u;
        place.reach = NOWHERE;
        place.span = columns;
        place.end = columns;
    } else {
        place.residue = tile / tiles_of_residue();
        place.row = tile % tiles_of_residue() * ROW_TILE;
        place.step = params.dilation;
        place.reach = params.reach;
        let before = min(place.row, params.window);
        let numbers = (max(columns, place.residue) - place.residue + place.step - 1u) / place.step;
#ifdef KEY
        let begin = min(select(place.row - before, place.row, params.causal != 0u), numbers);
        let end = min(place.row + ROW_TILE + params.window, numbers);
#else
        let begin = min(place.row - before, numbers);
        let end = min(place.row + ROW_TILE + select(params.window, 0u, params.causal != 0u), numbers);
#endif
        place.first = place.residue + begin * place.step;
        place.span = end - begin;
        place.end = place.span + place.count;
    }
    if (columns == 0u || position_of_row(place, 0u) >= rows) { place.end = 0u; }
    return place;
}

// How many of a list's positions there are.
fn count_listed(first: u32) -> u32 {
    var count = 0u;
    var end = params.globals;
    while (count < end) {
        let middle = (count + end) / 2u;
        if (globals[first + middle] < params.queries) { count = middle + 1u; } else { end = middle; }
    }
    return count;
}

// The position that is listed under a number.
fn listed(place: Place, i: u32) -> u32 {
    return select(NOWHERE, globals[place.listed + min(i, max(place.count, 1u) - 1u)], i < place.count);
}

// The positions of a row of the tile, and of a column of its walk.
fn position_of_row(place: Place, row: u32) -> u32 {
    if (params.everywhere != 0u) { return listed(place, place.row + row); }
    return place.residue + (place.row + row) * place.step;
}
fn position_of_column(place: Place, column: u32) -> u32 {
    if (column < place.span) { return place.first + column * place.step; }
    if (params.everywhere != 0u) { return NOWHERE; }
    return listed(place, column - place.span);
}

// Where they start.
fn row_at(second: bool, place: Place, row: u32) -> u32 {
    let position = min(position_of_row(place, row), place.last_row);
    return select(place.row_start.x, place.row_start.y, second) + position * row_stride(second);
}
fn column_at(second: bool, place: Place, column: u32) -> u32 {
    let position = min(position_of_column(place, column), place.last_column);
    return select(place.column_start.x, place.column_start.y, second) + position * column_stride(second);
}

// Four columns of a walk from one on.
struct Columns {
    at: vec4u,              // positions
    walked: vec4<bool>,     // not listed
    aligned: vec4<bool>,    // a multiple of the step away from the tile's rows
}

fn columns_from(place: Place, column: u32) -> Columns {
    let at = vec4u(
        position_of_column(place, column), position_of_column(place, column + 1u),
        position_of_column(place, column + 2u), position_of_column(place, column + 3u));
    let walked = vec4u(column) + vec4u(0u, 1u, 2u, 3u) < vec4u(place.span);
    return Columns(at, walked, at % vec4u(place.step) == vec4u(place.residue));
}

// Which columns are seen from the row at a position, or see it. One that is listed and within the window counts once, within it.
fn visible(place: Place, row: u32, columns: Columns) -> vec4<bool> {
    let at = columns.at;
    let distance = max(at, vec4u(row)) - min(at, vec4u(row));
    let within = (distance <= vec4u(place.reach)) & columns.aligned;
    let valid = (at <= vec4u(place.last_column)) & vec4<bool>(row <= place.last_row);
#ifdef KEY
    let ordered = (at >= vec4u(row)) | vec4<bool>(params.causal == 0u);
#else
    let ordered = (at <= vec4u(row)) | vec4<bool>(params.causal == 0u);
#endif
    return select(!within, within, columns.walked) & valid & ordered;
}
