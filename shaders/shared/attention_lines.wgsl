// Places of tiles of attention by distance. Rows and columns of a product are lines: keys or queries one behind the other, or a strip, what
// belongs to consecutive distances, the nearer ones behind. The importing shader has params.queries and keys, and the strides of what lines
// hold, row_stride(second, place) and column_stride(second, place).
#import attention_distances

struct Line {
    start: vec2u,           // the head's first element in the first and in the second tensor
    first: i32,             // what the line begins with, and the last that there is
    last: i32,
    is_strip: bool,
}

struct Place { rows: Line, columns: Line, lane: u32, group: u32 }

// The i-th of a line. What there is not is clamped, and its results masked.
fn of_line(line: Line, i: u32) -> u32 {
    return u32(clamp(select(line.first + i32(i), line.first - i32(i), line.is_strip), 0, line.last));
}

fn row_at(second: bool, place: Place, row: u32) -> u32 {
    return select(place.rows.start.x, place.rows.start.y, second) + of_line(place.rows, row) * row_stride(second, place);
}
fn column_at(second: bool, place: Place, column: u32) -> u32 {
    return select(place.columns.start.x, place.columns.start.y, second) + of_line(place.columns, column) * column_stride(second, place);
}

// How far a query's own place is behind its number: the last keys are those of the queries.
fn behind() -> u32 { return params.keys - params.queries; }
