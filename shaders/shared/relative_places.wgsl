// Places of tiles of attention with relative positions. A walk goes over the columns of one side. In a product with a strip, rows or columns
// are those of consecutive distances, the nearer ones behind. The importing shader has params.queries and keys, and the strides of what
// rows and columns are, row_stride(second, place) and column_stride(second, place).
#import attention_distances

struct Place {
    row: u32,               // the workgroup's first row
    last_row: u32,
    last_column: u32,
    row_start: vec2u,       // the head's first row in the first and in the second tensor
    column_start: vec2u,
    rows_are_strip: bool,
    columns_are_strip: bool,
    first: i32,             // of a strip: what it starts with, and the last that there is
    last: i32,
    lane: u32,
    group: u32,
}

// The i-th of a strip. What there is not is clamped, and its results masked.
fn of_strip(place: Place, i: u32) -> u32 { return u32(clamp(place.first - i32(i), 0, place.last)); }

fn row_at(second: bool, place: Place, row: u32) -> u32 {
    let start = select(place.row_start.x, place.row_start.y, second);
    let index = select(min(place.row + row, place.last_row), of_strip(place, row), place.rows_are_strip);
    return start + index * row_stride(second, place);
}
fn column_at(second: bool, place: Place, column: u32) -> u32 {
    let start = select(place.column_start.x, place.column_start.y, second);
    let index = select(min(column, place.last_column), of_strip(place, column), place.columns_are_strip);
    return start + index * column_stride(second, place);
}

// How far a query's own place is behind its number: the last keys are those of the queries.
fn behind() -> u32 { return params.keys - params.queries; }
