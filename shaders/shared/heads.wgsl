// Rows of heads inside a tensor: where the first lies, and the strides of batch, heads and rows, in elements.
struct Heads { offset: u32, batch: u32, head: u32, row: u32 }

fn head_start(rows: Heads, batch: u32, head: u32) -> u32 { return rows.offset + batch * rows.batch + head * rows.head; }
