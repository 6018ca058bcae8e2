// d_x = (d - mean of d - n * mean of d n) / deviation of each row, where n is the row as it was normalised and d = d_y * gain. One
// workgroup a row. CENTRED: else nothing was subtracted, and no mean of d is. VECTOR: columns are a multiple of 4.
#import element
#import four
#import linear
#import reduce

struct Params { rows: u32, columns: u32 }

@group(0) @binding(0) var<uniform> params: Params;
#ifdef VECTOR
@group(0) @binding(1) var<storage, read> x: array<element4>;             // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<vec4f>;             // [columns]
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;       // [rows]: mean, 1 / deviation
@group(0) @binding(4) var<storage, read> d_y: array<element4>;           // [rows, columns]
@group(0) @binding(5) var<storage, read_write> d_x: array<element4>;     // [rows, columns]

fn load_x(start: u32, c: u32) -> vec4f { return vec4f(x[(start + c) / 4u]); }
fn load_d(start: u32, c: u32) -> vec4f { return vec4f(d_y[(start + c) / 4u]) * gain[c / 4u]; }
fn store(start: u32, c: u32, value: vec4f) { d_x[(start + c) / 4u] = element4(value); }
#else
@group(0) @binding(1) var<storage, read> x: array<element>;              // [rows, columns]
@group(0) @binding(2) var<storage, read> gain: array<f32>;               // [columns]
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;       // [rows]: mean, 1 / deviation
@group(0) @binding(4) var<storage, read> d_y: array<element>;            // [rows, columns]
@group(0) @binding(5) var<storage, read_write> d_x: array<element>;      // [rows, columns]

fn load_x(start: u32, c: u32) -> vec4f {
    let i = vec4u(start) + four_at(c, params.columns);
    return vec4f(element4(x[i.x], x[i.y], x[i.z], x[i.w]));
}
// Elements past the row count as 0.
fn load_d(start: u32, c: u32) -> vec4f {
    let k = four_at(c, params.columns);
    let i = vec4u(start) + k;
    let d = vec4f(element4(d_y[i.x], d_y[i.y], d_y[i.z], d_y[i.w])) * vec4f(gain[k.x], gain[k.y], gain[k.z], gain[k.w]);
    return before_end(d, c, params.columns);
}
fn store(start: u32, c: u32, value: vec4f) {
    d_x[start + c] = element(value.x);
    if (c + 1u < params.columns) { d_x[start + c + 1u] = element(value.y); }
    if (c + 2u < params.columns) { d_x[start + c + 2u] = element(value.z); }
    if (c + 3u < params.columns) { d_x[start + c + 3u] = element(value.w); }
}
#endif

fn sum_of(x: vec4f) -> f32 { return (x.x + x.y) + (x.z + x.w); }

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let wanted = linear_workgroup(group, groups);
    let row = min(wanted, params.rows - 1u);
    let start = row * params.columns;
    let mean = statistics[row].x;
    let scale = statistics[row].y;
    var sum = vec4f();
    var products = vec4f();
    for (var c = 4u * lane; c < params.columns; c += 4u * LANES) {
        let d = load_d(start, c);
        sum += d;
        products = fma(d, (load_x(start, c) - mean) * scale, products);
    }
    let slope = reduce_sum(sum_of(products), lane) / f32(params.columns);
    var shift = 0.0;
#ifdef CENTRED
    shift = reduce_sum(sum_of(sum), lane) / f32(params.columns);
#endif
    if (wanted >= params.rows) { return; }
    for (var c = 4u * lane; c < params.columns; c += 4u * LANES) {
        let normalised = (load_x(start, c) - mean) * scale;
        store(start, c, scale * fma(-normalised, vec4f(slope), load_d(start, c) - shift));
    }
}
