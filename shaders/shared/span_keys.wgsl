// Keys that a span reaches. Before the first key there are zeros, which are seen like any others: their scores are those of their distances
// alone, and their values add nothing.

// Keeps of a tile what columns have of keys that are there: those from `before` on.
fn keep_keys(place: Place, column0: u32, before: u32, tile: ptr<function, Scores>) {
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let there = vec4u(column0) + columns_of_tile(place, j) >= vec4u(before);
            (*tile)[r][j] = select(vec4f(), (*tile)[r][j], there);
        }
    }
}
