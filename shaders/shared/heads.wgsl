// Rows of heads inside a tensor: offset, and strides of batch, heads and rows, in elements.
fn head_start(rows: vec4u, batch: u32, head: u32) -> u32 { return rows.x + batch * rows.y + head * rows.z; }
