// Tiles of attention. A workgroup owns a tile of rows (queries, or keys in the pass that makes their gradients) and walks over
// tiles of columns (the other ones); features are the elements within a head. An invocation holds, for each of its ROWS rows,
// the scores of BLOCKS * 4 columns, those at (block * LANES + lane) * 4 and behind, and the sums of FEATURES * 4 features, those
// at feature_of(j, lane) and behind for each piece.
//
// The importing shader has params.size; a Place of an invocation with a lane and a group; row_at(second, place, row) and
// column_at(second, place, column), the element of the first or the second tensor of that side at which a row of the workgroup's tile
// or a column of its walk starts; and load_row(second, place, at, feature) and load_column(second, place, at, feature), a piece of features
// behind it.
//
// SUBGROUPS: one subgroup per workgroup; each lane loads its own part of the rows, and the subgroup passes it round.
// Otherwise: LANES x GROUPS invocations work from tiles in workgroup memory.
#import block
#import pieces

const ROW_TILE = GROUPS * ROWS;
const COLUMN_TILE = LANES * BLOCKS * 4u;
const SPAN = LANES * FEATURES;          // vec4s of one row of features

alias Scores = array<array<vec4f, BLOCKS>, ROWS>;
alias Sums = array<array<vec4f, FEATURES>, ROWS>;
alias PerRow = array<f32, ROWS>;

// The feature that a piece is loaded from: the last piece's first one for those past the size, which nothing counts; a load by the
// element makes zeros of them.
#ifdef VECTOR
fn loaded_from(feature: u32) -> u32 { return min(feature, params.size - PIECE); }
#else
fn loaded_from(feature: u32) -> u32 { return feature; }
#endif

// The first feature of the piece whose sums an invocation holds from index j on, a multiple of PARTS.
fn feature_of(j: u32, lane: u32) -> u32 { return (j * LANES + lane * PARTS) * 4u; }

#ifdef SUBGROUPS
const SHARES = ROWS / LANES;            // pieces of the rows that a lane loads at a time

const HALVINGS = countTrailingZeros(LANES);

// Row · column for the tile whose first column is column0.
fn products(second: bool, place: Place, column0: u32) -> Scores {
    var scores: Scores;
    for (var d = 0u; d < params.size; d += PIECE) {
        var share: array<Piece, SHARES>;
        for (var i = 0u; i < SHARES; i++) { share[i] = load_row(second, place, row_at(second, place, i * LANES + place.lane), d); }
        var block: array<array<array<vec4f, 4>, PARTS>, BLOCKS>;
        for (var j = 0u; j < BLOCKS; j++) {
            let column = column0 + (j * LANES + place.lane) * 4u;
            for (var c = 0u; c < 4u; c++) {
                var piece = load_column(second, place, column_at(second, place, column + c), d);
                for (var p = 0u; p < PARTS; p++) { block[j][p][c] = piece[p]; }
            }
            for (var p = 0u; p < PARTS; p++) { block[j][p] = transpose(block[j][p]); }
        }
        for (var p = 0u; p < PARTS; p++) {
            for (var r = 0u; r < ROWS; r++) {
                let x = subgroupShuffle(share[r / LANES][p], r % LANES);
                for (var j = 0u; j < BLOCKS; j++) {
                    let y = block[j][p];
                    scores[r][j] =
                        fma(x.wwww, y[3], fma(x.zzzz, y[2], fma(x.yyyy, y[1], fma(x.xxxx, y[0], scores[r][j]))));
                }
            }
        }
    }
    return scores;
}

// sums += weights · columns, over `count` columns from column0 on; weights past them are 0.
fn accumulate(
    second: bool, place: Place, column0: u32, count: u32, weights: ptr<function, Scores>, sums: ptr<function, Sums>,
) {
    for (var i = 0u; i * 4u < min(count, COLUMN_TILE); i++) {
        var block: array<array<vec4f, 4>, FEATURES>;
        for (var c = 0u; c < 4u; c++) {
            let column = column_at(second, place, column0 + i * 4u + c);
            for (var j = 0u; j < FEATURES; j += PARTS) {
                var piece = load_column(second, place, column, feature_of(j, place.lane));
                for (var p = 0u; p < PARTS; p++) { block[j + p][c] = piece[p]; }
            }
        }
        for (var r = 0u; r < ROWS; r++) {
            // A choice among constant indices: an array with an index only known at run time would leave the registers.
            var own = (*weights)[r][0];
            for (var j = 1u; j < BLOCKS; j++) { own = select(own, (*weights)[r][j], i >= j * LANES); }
            let x = subgroupShuffle(own, i % LANES);
            for (var j = 0u; j < FEATURES; j++) {
                let y = block[j];
                (*sums)[r][j] = fma(x.wwww, y[3], fma(x.zzzz, y[2], fma(x.yyyy, y[1], fma(x.xxxx, y[0], (*sums)[r][j]))));
            }
        }
    }
}

// The largest of each row's values over the lanes.
fn largest_of_lanes(place: Place, values: PerRow) -> PerRow {
    var result = values;
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < HALVINGS; i++) { result[r] = max(result[r], subgroupShuffleXor(result[r], 1u << i)); }
    }
    return result;
}

// The sum of each row's values over the lanes.
fn sum_of_lanes(place: Place, values: PerRow) -> PerRow {
    var result = values;
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < HALVINGS; i++) { result[r] += subgroupShuffleXor(result[r], 1u << i); }
    }
    return result;
}
#else
const DEPTH = 16u;                      // features between barriers
const STEP = select(8u, 4u, SPAN > 32u);    // columns between barriers: few enough to leave some of 16 KiB of workgroup memory

// One array for tiles that are never needed at the same time: [DEPTH, ROW_TILE] and behind it [DEPTH, COLUMN_TILE]; or weights
// [ROW_TILE, COLUMN_TILE] and behind them [STEP, SPAN * 4]; or a value per row and lane, [ROW_TILE / 4, LANES, 4].
const COLUMNS_AT = DEPTH * ROW_TILE / 4u;
const FEATURES_AT = ROW_TILE * COLUMN_TILE / 4u;
var<workgroup> staged: array<vec4f, max(COLUMNS_AT + DEPTH * COLUMN_TILE / 4u, FEATURES_AT + STEP * SPAN)>;

// Row · column for the tile whose first column is column0.
fn products(second: bool, place: Place, column0: u32) -> Scores {
    let index = place.group * LANES + place.lane;
    var scores: Scores;
    for (var d0 = 0u; d0 < params.size; d0 += DEPTH) {
        workgroupBarrier();
        for (var i = index; i < DEPTH / 4u * ROW_TILE / 4u; i += LANES * GROUPS) {
            let d = i / (ROW_TILE / 4u) * 4u;
            let row = i % (ROW_TILE / 4u);
            var block: array<vec4f, 4>;
            if (d0 + d < params.size) {
                for (var c = 0u; c < 4u; c++) { block[c] = load_row(second, place, row_at(second, place, row * 4u + c), d0 + d)[0]; }
                block = transpose(block);
            }
            for (var c = 0u; c < 4u; c++) { staged[(d + c) * (ROW_TILE / 4u) + row] = block[c]; }
        }
        for (var i = index; i < DEPTH / 4u * COLUMN_TILE / 4u; i += LANES * GROUPS) {
            let d = i / (COLUMN_TILE / 4u) * 4u;
            let column = i % (COLUMN_TILE / 4u);
            var block: array<vec4f, 4>;
            if (d0 + d < params.size) {
                for (var c = 0u; c < 4u; c++) {
                    block[c] = load_column(second, place, column_at(second, place, column0 + column * 4u + c), d0 + d)[0];
                }
                block = transpose(block);
            }
            for (var c = 0u; c < 4u; c++) { staged[COLUMNS_AT + (d + c) * (COLUMN_TILE / 4u) + column] = block[c]; }
        }
        workgroupBarrier();
        for (var d = 0u; d < DEPTH; d++) {
            for (var r = 0u; r < ROWS; r += 4u) {
                let x = staged[d * (ROW_TILE / 4u) + (place.group * ROWS + r) / 4u];
                for (var j = 0u; j < BLOCKS; j++) {
                    let y = staged[COLUMNS_AT + d * (COLUMN_TILE / 4u) + j * LANES + place.lane];
                    scores[r][j] = fma(x.xxxx, y, scores[r][j]);
                    scores[r + 1u][j] = fma(x.yyyy, y, scores[r + 1u][j]);
                    scores[r + 2u][j] = fma(x.zzzz, y, scores[r + 2u][j]);
                    scores[r + 3u][j] = fma(x.wwww, y, scores[r + 3u][j]);
                }
            }
        }
    }
    return scores;
}

// sums += weights · columns, over `count` columns from column0 on; weights past them are 0.
fn accumulate(
    second: bool, place: Place, column0: u32, count: u32, weights: ptr<function, Scores>, sums: ptr<function, Sums>,
) {
    let index = place.group * LANES + place.lane;
    let row = place.group * ROWS;
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            staged[(row + r) * (COLUMN_TILE / 4u) + j * LANES + place.lane] = (*weights)[r][j];
        }
    }
    for (var i0 = 0u; i0 < min(count, COLUMN_TILE); i0 += STEP) {
        workgroupBarrier();
        for (var i = index; i < STEP * SPAN; i += LANES * GROUPS) {
            let column = column_at(second, place, column0 + i0 + i / SPAN);
            staged[FEATURES_AT + i] = load_column(second, place, column, i % SPAN * 4u)[0];
        }
        workgroupBarrier();
        for (var i = 0u; i < STEP; i += 4u) {
            var block: array<array<vec4f, 4>, FEATURES>;
            for (var j = 0u; j < FEATURES; j++) {
                for (var c = 0u; c < 4u; c++) { block[j][c] = staged[FEATURES_AT + (i + c) * SPAN + j * LANES + place.lane]; }
            }
            for (var r = 0u; r < ROWS; r++) {
                let x = staged[(row + r) * (COLUMN_TILE / 4u) + (i0 + i) / 4u];
                for (var j = 0u; j < FEATURES; j++) {
                    let y = block[j];
                    (*sums)[r][j] =
                        fma(x.wwww, y[3], fma(x.zzzz, y[2], fma(x.yyyy, y[1], fma(x.xxxx, y[0], (*sums)[r][j]))));
                }
            }
        }
    }
}

fn share_with_lanes(place: Place, values: PerRow) {
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r += 4u) {
        staged[(place.group * ROWS + r) / 4u * LANES + place.lane] =
            vec4f(values[r], values[r + 1u], values[r + 2u], values[r + 3u]);
    }
    workgroupBarrier();
}

fn spread(r: u32, four: vec4f, values: ptr<function, PerRow>) {
    (*values)[r] = four.x;
    (*values)[r + 1u] = four.y;
    (*values)[r + 2u] = four.z;
    (*values)[r + 3u] = four.w;
}

// The largest of each row's values over the lanes.
fn largest_of_lanes(place: Place, values: PerRow) -> PerRow {
    share_with_lanes(place, values);
    var result: PerRow;
    for (var r = 0u; r < ROWS; r += 4u) {
        let start = (place.group * ROWS + r) / 4u * LANES;
        var four = staged[start];
        for (var i = 1u; i < LANES; i++) { four = max(four, staged[start + i]); }
        spread(r, four, &result);
    }
    return result;
}

// The sum of each row's values over the lanes.
fn sum_of_lanes(place: Place, values: PerRow) -> PerRow {
    share_with_lanes(place, values);
    var result: PerRow;
    for (var r = 0u; r < ROWS; r += 4u) {
        let start = (place.group * ROWS + r) / 4u * LANES;
        var four = staged[start];
        for (var i = 1u; i < LANES; i++) { four += staged[start + i]; }
        spread(r, four, &result);
    }
    return result;
}
#endif
