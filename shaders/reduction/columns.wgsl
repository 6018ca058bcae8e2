// Each block of `block` rows of x is summed into one row of y. A second dispatch sums the sums.
// An invocation takes COLUMNS elements, or vec4s, of each row, so that a row's loads lie side by side.
// VECTOR: columns are a multiple of 4, and 16-byte loads serve.
#import element

struct Params { rows: u32, columns: u32, block: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;          // [rows, columns]
@group(0) @binding(2) var<storage, read_write> y: array<Single>;     // [ceil(rows / block), columns]

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let first = (group.x * COLUMNS * LANES + lane) * WIDTH;
    let start = group.y * params.block;
    let end = min(start + params.block, params.rows);
    var sum: array<Value, COLUMNS>;
    for (var row = start; row < end; row++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let column = min(first + j * LANES * WIDTH, params.columns - WIDTH);
            sum[j] += value_of(x[(row * params.columns + column) / WIDTH]);
        }
    }
    for (var j = 0u; j < COLUMNS; j++) {
        let column = first + j * LANES * WIDTH;
        if (column < params.columns) { y[(group.y * params.columns + column) / WIDTH] = single_of(sum[j]); }
    }
}
