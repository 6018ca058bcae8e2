// Places of tiles whose rows and columns lie one after the other. The importing shader has the strides of the tensors of either side,
// row_stride(second) and column_stride(second).

// The place of an invocation; indices past the last row or column are clamped to it, and their results are masked.
struct Place {
    row: u32,               // the workgroup's first row
    last_row: u32,
    last_column: u32,
    row_start: vec2u,       // the head's first row in the first and in the second tensor
    column_start: vec2u,
    lane: u32,
    group: u32,
}

// Where a row of the workgroup's tile starts, and a column of the head.
fn row_at(second: bool, place: Place, row: u32) -> u32 {
    return select(place.row_start.x, place.row_start.y, second) + min(place.row + row, place.last_row) * row_stride(second);
}
fn column_at(second: bool, place: Place, column: u32) -> u32 {
    return select(place.column_start.x, place.column_start.y, second) + min(column, place.last_column) * column_stride(second);
}
