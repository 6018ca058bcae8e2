// The gradient of a bias by relative position, in parts: the sums of the scores' gradients along diagonals, s - t being constant.
// A workgroup owns a band of tiles that start COLUMN_TILE columns apart and follow the diagonal: element (row, column) lies on the same
// diagonal in each of them, so the tiles are summed up element by element, and their diagonals once at the end.
//     d_bias[n, s - t + T - 1] = sum of weight * (d_context · value - delta)
#import attention_bias
#import attention_dropout
#import attention_loads
#import attention_places
#import attention_tiles
#import heads

struct Params {
    query: Heads, key: Heads, value: Heads, d_context: Heads,       // layouts
    heads: u32, head_count: u32, queries: u32, keys: u32,
    size: u32, causal: u32, scale: f32, biased: u32,
    operation: u32, threshold: u32, kept_scale: f32, unused: u32,       // of dropout
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> query: array<Word>;                    // [B, N, T, D] or [B, T, N, D]
@group(0) @binding(3) var<storage, read> key: array<Word>;                      // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(4) var<storage, read> value: array<Word>;                    // [B, N, S, D] or [B, S, N, D]
@group(0) @binding(5) var<storage, read> d_context: array<Word>;                // as query
@group(0) @binding(6) var<storage, read> statistics: array<vec2f>;              // [B, N, T, 2]: log_sum_exp, delta; [B, 2]: length
@group(0) @binding(7) var<storage, read> bias: array<f32>;                      // [N, T + S - 1], by s - t + T - 1
@group(0) @binding(8) var<storage, read_write> parts: array<f32>;               // [B, N, bands, ROW_TILE + COLUMN_TILE - 1]

fn load_row(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_query_side(second, at, feature); }
fn load_column(second: bool, place: Place, at: u32, feature: u32) -> Piece { return load_key_side(second, at, feature); }
fn row_stride(second: bool) -> u32 { return query_stride(second); }
fn column_stride(second: bool) -> u32 { return key_stride(second); }

const DIAGONALS = ROW_TILE + COLUMN_TILE - 1u;
#ifdef SUBGROUPS
var<workgroup> staged: array<vec4f, ROW_TILE * COLUMN_TILE / 4u>;
#endif

@compute @workgroup_size(LANES, GROUPS)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) index: u32,
#ifdef SUBGROUPS
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let group = 0u;
#else
    @builtin(local_invocation_id) local: vec3u,
) {
    let lane = local.x;
    let group = local.y;
#endif
    // The first band's tile of the last rows starts at column 0, the last band's tile of the first rows reaches the last column.
    let shift = (params.queries - 1u) / ROW_TILE * ROW_TILE;
    let bands = (params.keys + shift + COLUMN_TILE - 1u) / COLUMN_TILE;
    let owned = workgroup.x + workgroup.y * workgroups.x;
    let head = owned / bands;
    if (head >= params.head_count) { return; }
    let ahead = i32(owned % bands * COLUMN_TILE) - i32(shift);      // of a tile's first column to its first row
    let length = u32(statistics[params.head_count * params.queries + head / params.heads].x);
    let b = head / params.heads;
    let n = head % params.heads;
    let last_query = params.queries - 1u;
    var place = Place(0u, last_query, length - 1u,
        vec2u(head_start(params.query, b, n), head_start(params.d_context, b, n)),
        vec2u(head_start(params.key, b, n), head_start(params.value, b, n)), lane, group);

    // Rows whose tiles have columns from 0 to below the length.
    let begin = max(0, -ahead - i32(COLUMN_TILE) + 1);
    let end = min(i32(params.queries), i32(length) - ahead);
    var sums: Scores;
    for (var row0 = (begin + i32(ROW_TILE) - 1) / i32(ROW_TILE) * i32(ROW_TILE); row0 < end; row0 += i32(ROW_TILE)) {
        place.row = u32(row0);
        let column0 = u32(row0 + ahead);        // columns before 0 wrap, and are masked as those past the length are
        var scores = products(false, place, column0);
        var d_weights = products(true, place, column0);
        for (var j = 0u; j < BLOCKS; j++) {
            let columns = vec4u(column0 + (j * LANES + lane) * 4u) + vec4u(0u, 1u, 2u, 3u);
            let biases = biases_from(n, columns.x + params.queries - ROWS - (place.row + group * ROWS));
            for (var r = 0u; r < ROWS; r++) {
                let row = place.row + group * ROWS + r;
                let of_row = statistics[head * params.queries + min(row, last_query)];
                let seen = select(length, min(length, row + 1u), params.causal != 0u);
                let visible = columns < vec4u(select(0u, seen, row < params.queries));
                let i = ROWS - 1u - r;
                let added = vec4f(biases[i], biases[i + 1u], biases[i + 2u], biases[i + 3u]) - of_row.x;
                // No visible score exceeds its log_sum_exp; a masked one may, without bound.
                let weight = exp(min(fma(scores[r][j], vec4f(params.scale), added), vec4f(0.0)));
                let d_weight = d_weights[r][j] * kept(b, n, vec4u(row), columns);
                sums[r][j] += select(vec4f(), weight * (d_weight - of_row.y), visible);
            }
        }
    }

    workgroupBarrier();
    for (var r = 0u; r < ROWS; r++) {
        for (var j = 0u; j < BLOCKS; j++) { staged[(group * ROWS + r) * (COLUMN_TILE / 4u) + j * LANES + lane] = sums[r][j]; }
    }
    workgroupBarrier();
    for (var d = index; d < DIAGONALS; d += LANES * GROUPS) {
        // row - column = ROW_TILE - 1 - d
        var sum = 0.0;
        let first_row = ROW_TILE - 1u - min(d, ROW_TILE - 1u);
        for (var row = first_row; row < min(ROW_TILE, DIAGONALS - d); row++) {
            let column = row + d - (ROW_TILE - 1u);
            sum += staged[row * (COLUMN_TILE / 4u) + column / 4u][column % 4u];
        }
        parts[owned * DIAGONALS + d] = sum;
    }
}
