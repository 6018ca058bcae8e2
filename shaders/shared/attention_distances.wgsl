// Scores of a query and a key by their distance. The distance is one along each diagonal of a tile of scores; so products of one side with
// vectors of consecutive distances, a strip, are made as a tile of their own, and what belongs to an element is found by a shift: in one
// strip on one side of a diagonal, in its neighbour on the other. A tile has no more rows than columns, and both are powers of two.
#import attention_tiles

const FOUR = vec4u(0u, 1u, 2u, 3u);

// A lane's j-th four columns of a tile.
fn columns_of_tile(place: Place, j: u32) -> vec4u { return vec4u((j * LANES + place.lane) * 4u) + FOUR; }

#ifdef SUBGROUPS
// A tile that moves within registers: along a row by lanes and by the names of a vector's parts, both known when it is compiled.
const_assert BLOCKS == 1u;
const DOUBLINGS = countTrailingZeros(ROWS / 4u);

// A row moved to the left by `places`, round the tile.
fn turned(place: Place, row: vec4f, places: u32) -> vec4f {
    let near = subgroupShuffle(row, (place.lane + places / 4u) % LANES);
    let far = subgroupShuffle(row, (place.lane + places / 4u + 1u) % LANES);
    if (places % 4u == 1u) { return vec4f(near.yzw, far.x); }
    if (places % 4u == 2u) { return vec4f(near.zw, far.xy); }
    if (places % 4u == 3u) { return vec4f(near.w, far.xyz); }
    return near;
}

// Moves each row to the right by its number, round the tile.
fn move_right(place: Place, tile: ptr<function, Scores>) {
    for (var r = 0u; r < ROWS; r++) { (*tile)[r][0] = turned(place, (*tile)[r][0], COLUMN_TILE - r); }
}

// Moves each row to the left by its number, round the tile.
fn move_left(place: Place, tile: ptr<function, Scores>) {
    for (var r = 0u; r < ROWS; r++) { (*tile)[r][0] = turned(place, (*tile)[r][0], r); }
}

// Moves each column down by its number, round the tile: by four times its lane's number, bit by bit, and by its place in the vector.
fn move_down(place: Place, tile: ptr<function, Scores>) {
    for (var i = 0u; i < DOUBLINGS; i++) {
        let before = *tile;
        let moves = ((place.lane >> i) & 1u) == 1u;
        for (var r = 0u; r < ROWS; r++) {
            (*tile)[r][0] = select(before[r][0], before[(r + ROWS - (4u << i)) % ROWS][0], moves);
        }
    }
    let before = *tile;
    for (var r = 0u; r < ROWS; r++) {
        (*tile)[r][0].y = before[(r + ROWS - 1u) % ROWS][0].y;
        (*tile)[r][0].z = before[(r + ROWS - 2u) % ROWS][0].z;
        (*tile)[r][0].w = before[(r + ROWS - 3u) % ROWS][0].w;
    }
}
#else
// A tile that moves through workgroup memory, [ROW_TILE, COLUMN_TILE].
var<workgroup> moving: array<f32, ROW_TILE * COLUMN_TILE>;

fn write_down(place: Place, tile: ptr<function, Scores>) {
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let at = (place.group * ROWS + r) * COLUMN_TILE + (j * LANES + place.lane) * 4u;
            moving[at] = (*tile)[r][j].x;
            moving[at + 1u] = (*tile)[r][j].y;
            moving[at + 2u] = (*tile)[r][j].z;
            moving[at + 3u] = (*tile)[r][j].w;
        }
    }
    workgroupBarrier();
}

fn four_of(at: vec4u) -> vec4f { return vec4f(moving[at.x], moving[at.y], moving[at.z], moving[at.w]); }

// Moves each row to the right by its number, round the tile.
fn move_right(place: Place, tile: ptr<function, Scores>) {
    write_down(place, tile);
    for (var r = 0u; r < ROWS; r++) {
        let row = vec4u(place.group * ROWS + r);
        for (var j = 0u; j < BLOCKS; j++) {
            (*tile)[r][j] = four_of(row * COLUMN_TILE + (columns_of_tile(place, j) - row) % COLUMN_TILE);
        }
    }
}

// Moves each row to the left by its number, round the tile.
fn move_left(place: Place, tile: ptr<function, Scores>) {
    write_down(place, tile);
    for (var r = 0u; r < ROWS; r++) {
        let row = vec4u(place.group * ROWS + r);
        for (var j = 0u; j < BLOCKS; j++) {
            (*tile)[r][j] = four_of(row * COLUMN_TILE + (columns_of_tile(place, j) + row) % COLUMN_TILE);
        }
    }
}

// Moves each column down by its number, round the tile.
fn move_down(place: Place, tile: ptr<function, Scores>) {
    write_down(place, tile);
    for (var r = 0u; r < ROWS; r++) {
        let row = vec4u(place.group * ROWS + r);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_of_tile(place, j);
            (*tile)[r][j] = four_of((row - columns) % ROW_TILE * COLUMN_TILE + columns);
        }
    }
}
#endif

fn add_tile(tile: ptr<function, Scores>, scores: ptr<function, Scores>) {
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) { (*scores)[r][j] += (*tile)[r][j]; }
    }
}

// Where rows are queries: adds to scores what strips have of them. A strip's first column is the distance of the first row and column of
// its tile, and further ones are nearer.
fn add_by_distance(
    place: Place, nearer: ptr<function, Scores>, farther: ptr<function, Scores>, scores: ptr<function, Scores>,
) {
    var strip: Scores;
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let is_past = columns_of_tile(place, j) + vec4u(place.group * ROWS + r) >= vec4u(COLUMN_TILE);
            strip[r][j] = select((*nearer)[r][j], (*farther)[r][j], is_past);
        }
    }
    move_right(place, &strip);
    add_tile(&strip, scores);
}

// The other way round: the strip of what two tiles of scores have, the second one being that of nearer keys.
fn strip_of(place: Place, tile: ptr<function, Scores>, next: ptr<function, Scores>) -> Scores {
    var strip: Scores;
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let is_left = columns_of_tile(place, j) < vec4u(place.group * ROWS + r);
            strip[r][j] = select((*tile)[r][j], (*next)[r][j], is_left);
        }
    }
    move_left(place, &strip);
    return strip;
}

// Where columns are queries: how many strips of rows meet in a tile, the further ones being of later columns.
const STRIPS = COLUMN_TILE / ROW_TILE + 1u;

// Row · column for a tile, of which the first strip's first row is what the tile's first row and column meet at; further ones lie before it.
fn products_across(second: bool, strip: Place, column0: u32) -> Scores {
    var place = strip;
    var scores: Scores;
    for (var i = 0u; i < STRIPS; i++) {
        var made = products(second, place, column0);
        for (var r = 0u; r < ROWS; r++) {
            for (var j = 0u; j < BLOCKS; j++) {
                let number = (columns_of_tile(place, j) + vec4u(place.group * ROWS + r)) / vec4u(ROW_TILE);
                scores[r][j] = select(scores[r][j], made[r][j], number == vec4u(i));
            }
        }
        place.rows.first += i32(ROW_TILE);
    }
    move_down(place, &scores);
    return scores;
}
