// What each block of `block` rows adds to the gradients of gain (d_y times the row as it was normalised) and bias (d_y). A further
// dispatch sums the blocks. An invocation takes COLUMNS elements, or vec4s, of each row. BIAS: there is one.
// VECTOR: columns are a multiple of 4, and 16-byte loads serve.
#import element

struct Params { rows: u32, columns: u32, block: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> statistics: array<vec2f>;       // [rows]: mean, 1 / deviation
@group(0) @binding(3) var<storage, read> d_y: array<Element>;            // [rows, columns]
@group(0) @binding(4) var<storage, read_write> d_gain: array<Single>;    // [blocks, columns]
@group(0) @binding(5) var<storage, read_write> d_bias: array<Single>;    // [blocks, columns], written under BIAS alone

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x * COLUMNS * LANES + lane) * WIDTH;
    let start = group.y * params.block;
    let end = min(start + params.block, params.rows);
    var of_gain: array<Single, COLUMNS>;
    var of_bias: array<Single, COLUMNS>;
    for (var row = start; row < end; row++) {
        let mean = statistics[row].x;
        let scale = statistics[row].y;
        for (var j = 0u; j < COLUMNS; j++) {
            let at = row * params.columns + min(first + j * LANES * WIDTH, params.columns - WIDTH);
            let d = Single(d_y[at / WIDTH]);
            of_gain[j] += d * ((Single(x[at / WIDTH]) - mean) * scale);
#ifdef BIAS
            of_bias[j] += d;
#endif
        }
    }
    for (var j = 0u; j < COLUMNS; j++) {
        let column = first + j * LANES * WIDTH;
        if (column < params.columns) {
            let at = (group.y * params.columns + column) / WIDTH;
            d_gain[at] = of_gain[j];
#ifdef BIAS
            d_bias[at] = of_bias[j];
#endif
        }
    }
}
