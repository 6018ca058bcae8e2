// The order of positions by bucket, equal ones as they come: a radix sort by digits of four bits, the lowest first. A workgroup
// sorts one round of one head. Each lane counts and then places a run of its own, so that equal digits keep their order and
// nothing depends on which lane is first.
#import linear

struct Params { groups: u32, steps: u32, passes: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> buckets: array<u32>;            // [groups, T]
@group(0) @binding(2) var<storage, read_write> sorted: array<u32>;       // [2, groups, T]: the orders, then memory to sort in

const DIGITS = 16u;

var<workgroup> counts: array<u32, DIGITS * LANES>;      // of a digit and a lane, then where its next position goes
var<workgroup> totals: array<u32, DIGITS>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = linear_workgroup(workgroup, workgroups);
    if (group >= params.groups) { return; }
    let order = group * params.steps;
    let spare = (params.groups + group) * params.steps;
    let run = (params.steps + LANES - 1u) / LANES;
    let begin = min(lane * run, params.steps);
    let end = min(begin + run, params.steps);
    for (var turn = 0u; turn < params.passes; turn++) {
        // Passes take turns, so that the last one leaves the order in its place.
        let last = (params.passes - turn) % 2u == 1u;
        let read_at = select(order, spare, last);
        let write_at = select(spare, order, last);
        for (var digit = 0u; digit < DIGITS; digit++) { counts[digit * LANES + lane] = 0u; }
        for (var i = begin; i < end; i++) {
            counts[digit_of(order, item(turn, read_at, i), turn) * LANES + lane] += 1u;
        }
        workgroupBarrier();
        for (var digit = lane; digit < DIGITS; digit += LANES) {
            var total = 0u;
            for (var i = 0u; i < LANES; i++) { total += counts[digit * LANES + i]; }
            totals[digit] = total;
        }
        workgroupBarrier();
        for (var digit = lane; digit < DIGITS; digit += LANES) {
            var at = 0u;
            for (var lower = 0u; lower < digit; lower++) { at += totals[lower]; }
            for (var i = 0u; i < LANES; i++) {
                let count = counts[digit * LANES + i];
                counts[digit * LANES + i] = at;
                at += count;
            }
        }
        workgroupBarrier();
        for (var i = begin; i < end; i++) {
            let t = item(turn, read_at, i);
            let counter = digit_of(order, t, turn) * LANES + lane;
            sorted[write_at + counts[counter]] = t;
            counts[counter] += 1u;
        }
        storageBarrier();
        workgroupBarrier();
    }
}

// The i-th position of what a pass sorts; the first one sorts them as they come.
fn item(turn: u32, read_at: u32, i: u32) -> u32 {
    if (turn == 0u) { return i; }
    return sorted[read_at + i];
}

fn digit_of(first: u32, t: u32, turn: u32) -> u32 { return (buckets[first + t] >> (4u * turn)) & 15u; }
