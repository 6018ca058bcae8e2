// The rows of one head inside a tensor. A layout is an offset and the strides of batch, heads and rows, in elements.
struct Rows { start: u32, stride: u32 }

fn rows_of(place: vec4u, batch: u32, head: u32) -> Rows {
    return Rows(place.x + batch * place.y + head * place.z, place.w);
}
fn start_of(rows: Rows, row: u32) -> u32 { return rows.start + row * rows.stride; }
