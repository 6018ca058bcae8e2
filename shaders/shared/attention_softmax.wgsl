// The softmax of attention, taken online, one tile of columns after the other (Milakov and Gimelshein 2018). What attention_tiles.wgsl
// says of its importing shader holds here too.

const FLOOR = -1e30;                    // below any score; finite, so that differences are never NaN

// Makes a tile's scores, of which masked ones are FLOOR, its weights, and scales what earlier tiles have summed up by what their scores
// are worth now. `largest` is each row's largest score so far, `total` the sum of the weights of this lane's columns.
fn weigh(
    place: Place, weights: ptr<function, Scores>, largest: ptr<function, PerRow>, total: ptr<function, PerRow>, sums: ptr<function, Sums>,
) {
    var tile_largest = *largest;
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) {
            let score = (*weights)[r][j];
            let pair = max(score.xy, score.zw);
            tile_largest[r] = max(tile_largest[r], max(pair.x, pair.y));
        }
    }
    tile_largest = largest_of_lanes(place, tile_largest);
    for (var r = 0u; r < ROWS; r++) {
        let factor = exp((*largest)[r] - tile_largest[r]);
        (*largest)[r] = tile_largest[r];
        (*total)[r] *= factor;
        for (var j = 0u; j < FEATURES; j++) { (*sums)[r][j] *= factor; }
        for (var j = 0u; j < BLOCKS; j++) {
            let score = (*weights)[r][j];
            // Some drivers' exp ends at the smallest normal number: masked weights are exactly 0 all the same.
            let weight = select(vec4f(), exp(score - (*largest)[r]), score > vec4f(FLOOR));
            (*total)[r] += (weight.x + weight.y) + (weight.z + weight.w);
            (*weights)[r][j] = weight;
        }
    }
}
