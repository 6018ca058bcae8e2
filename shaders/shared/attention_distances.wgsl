// Scores of a query and a key by their distance. The distance is one along each diagonal of a tile of scores; so products of one side with
// vectors of consecutive distances, a strip, are made as a tile of their own, and what belongs to an element is found by a shift: in one
// strip on one side of a diagonal, in its neighbour on the other. A tile has no more rows than columns, and both are powers of two.
#import attention_tiles

const FOUR = vec4u(0u, 1u, 2u, 3u);
var<workgroup> shifted: array<f32, ROW_TILE * COLUMN_TILE>;

// A lane's j-th four columns of a tile.
fn columns_of_tile(place: Place, j: u32) -> vec4u { return vec4u((j * LANES + place.lane) * 4u) + FOUR; }

// Writes down a tile, [ROW_TILE, COLUMN_TILE].
fn write_down(place: Place, tile: ptr<function, Scores>) {
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let at = (place.group * ROWS + r) * COLUMN_TILE + (j * LANES + place.lane) * 4u;
            shifted[at] = (*tile)[r][j].x;
            shifted[at + 1u] = (*tile)[r][j].y;
            shifted[at + 2u] = (*tile)[r][j].z;
            shifted[at + 3u] = (*tile)[r][j].w;
        }
    }
    workgroupBarrier();
}

fn four_of(at: vec4u) -> vec4f { return vec4f(shifted[at.x], shifted[at.y], shifted[at.z], shifted[at.w]); }

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
    write_down(place, &strip);
    for (var r = 0u; r < ROWS; r++) {
        let row = place.group * ROWS + r;
        for (var j = 0u; j < BLOCKS; j++) {
            let shift = (columns_of_tile(place, j) - vec4u(row)) % vec4u(COLUMN_TILE);
            (*scores)[r][j] += four_of(vec4u(row * COLUMN_TILE) + shift);
        }
    }
}

// The other way round: the strip of what two tiles of scores have, the second one being that of nearer keys.
fn strip_of(place: Place, tile: ptr<function, Scores>, next: ptr<function, Scores>) -> Scores {
    var scores: Scores;
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let is_left = columns_of_tile(place, j) < vec4u(place.group * ROWS + r);
            scores[r][j] = select((*tile)[r][j], (*next)[r][j], is_left);
        }
    }
    write_down(place, &scores);
    var strip: Scores;
    for (var r = 0u; r < ROWS; r++) {
        let row = place.group * ROWS + r;
        for (var j = 0u; j < BLOCKS; j++) {
            let shift = (columns_of_tile(place, j) + vec4u(row)) % vec4u(COLUMN_TILE);
            strip[r][j] = four_of(vec4u(row * COLUMN_TILE) + shift);
        }
    }
    return strip;
}

// Where columns are queries: how many strips of rows meet in a tile, the further ones being of later columns.
const STRIPS = COLUMN_TILE / ROW_TILE + 1u;

// Takes from one of the strips what it has of a tile. A strip's first row is what the first row and column of its tile meet at, and further
// ones lie before it.
fn take(place: Place, number: u32, made: ptr<function, Scores>, taken: ptr<function, Scores>) {
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let strip = (columns_of_tile(place, j) + vec4u(place.group * ROWS + r)) / vec4u(ROW_TILE);
            (*taken)[r][j] = select((*taken)[r][j], (*made)[r][j], strip == vec4u(number));
        }
    }
}

// Adds to scores what is taken from all strips.
fn add_across(place: Place, taken: ptr<function, Scores>, scores: ptr<function, Scores>) {
    write_down(place, taken);
    for (var r = 0u; r < ROWS; r++) {
        let row = place.group * ROWS + r;
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = columns_of_tile(place, j);
            let shift = (vec4u(row) - columns) % vec4u(ROW_TILE);
            (*scores)[r][j] += four_of(shift * COLUMN_TILE + columns);
        }
    }
}
