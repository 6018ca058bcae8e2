// What forms under ADJUSTED add to a score. The importing shader has params.queries, keys and biased, and the bias [N, T + S - 1] by
// s - t + T - 1.

// The biases of ROWS rows and four columns lie on ROWS + 3 diagonals: those from `first` on, the first one's s - t being
// first - (T - 1). Diagonals that no query and key have are clamped, and their scores masked.
fn biases_from(head: u32, first: u32) -> array<f32, ROWS + 3u> {
    var result: array<f32, ROWS + 3u>;
    if (params.biased != 0u) {
        let span = params.queries + params.keys - 1u;
        for (var i = 0u; i < ROWS + 3u; i++) {
            let diagonal = clamp(i32(first + i), 0, i32(span) - 1);
            result[i] = bias[head * span + u32(diagonal)];
        }
    }
    return result;
}
