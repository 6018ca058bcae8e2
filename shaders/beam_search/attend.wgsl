// The alignment of each hypothesis after a step: the sum so far of its weights on each source position, the coverage penalty
// on positions that had less than one step's worth (Wu et al. 2016, section 7), and the position that had most of this step.
// Rows that have finished are left alone. One workgroup a row.
#import linear
#import reduce
#import search

struct Params {
    rows: u32, capacity: u32, step: u32, beam: u32,
    keys: u32, members: u32, positions: u32, coverage_penalty: f32,         // `positions`: 1 if they are kept
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;                // [members, rows, S]
@group(0) @binding(2) var<storage, read_write> search: array<u32>;
@group(0) @binding(3) var<storage, read> lengths: array<u32>;                // [sentences]
@group(0) @binding(4) var<storage, read_write> coverage: array<f32>;         // [2, rows, S], of odd and of even steps

const LEAST = 1e-10;                    // the coverage of a position without attention

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let workgroup = linear_workgroup(group, groups);
    let row = min(workgroup, params.rows - 1u);
    let step = search[COUNTER] + params.step;
    let idle = workgroup >= params.rows || step >= params.capacity || search[finished_at(row)] != 0u;
    let length = select(min(lengths[row / params.beam], params.keys), 0u, idle);
    let parent = min(search[parent_at(row)], params.rows - 1u);
    let before = ((step + 1u) % 2u * params.rows + parent) * params.keys;
    let after = (step % 2u * params.rows + row) * params.keys;
    var sum = 0.0;
    var largest = -1.0;
    var position = NONE;
    for (var s = lane; s < length; s += LANES) {
        var weight = 0.0;
        for (var member = 0u; member < params.members; member++) {
            weight += weights[(member * params.rows + row) * params.keys + s];
        }
        weight /= f32(params.members);
        var covered = weight;
        if (step > 0u) { covered += coverage[before + s]; }
        coverage[after + s] = covered;
        sum += log(clamp(covered, LEAST, 1.0));
        if (weight > largest) { largest = weight; position = s; }
    }
    let total = reduce_sum(sum, lane);
    let most = reduce_max(largest, lane);
    let found = reduce_min(select(NONE, position, largest == most), lane);
    if (lane == 0u && !idle) {
        search[penalty_at(row)] = bitcast<u32>(params.coverage_penalty * total);
        if (params.positions != 0u) { search[attended_at(step, row)] = found; }
    }
}
