// Lists the places n of every token, in one workgroup: a counting sort whose lists are complete but not yet in order, since
// invocations race for places. Whole numbers do not care in which order they are counted, so the ends of the lists are fixed.

struct Params { vocabulary: u32, tokens: u32, places: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;                     // [N]
@group(0) @binding(2) var<storage, read_write> scratch: array<atomic<u32>>;      // [V] ends, then from `places` on [N] places

var<workgroup> totals: array<u32, LANES>;

fn token_at(n: u32) -> u32 { return min(tokens[n], params.vocabulary - 1u); }

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    for (var v = lane; v < params.vocabulary; v += LANES) { atomicStore(&scratch[v], 0u); }
    storageBarrier();
    for (var n = lane; n < params.tokens; n += LANES) { atomicAdd(&scratch[token_at(n)], 1u); }
    storageBarrier();
    // Counts become starts: each invocation adds up its own run of the vocabulary, then all runs before it.
    let run = (params.vocabulary + LANES - 1u) / LANES;
    let first = min(lane * run, params.vocabulary);
    let end = min(first + run, params.vocabulary);
    var total = 0u;
    for (var v = first; v < end; v++) { total += atomicLoad(&scratch[v]); }
    totals[lane] = total;
    workgroupBarrier();
    var start = 0u;
    for (var i = 0u; i < lane; i++) { start += totals[i]; }
    for (var v = first; v < end; v++) {
        let count = atomicLoad(&scratch[v]);
        atomicStore(&scratch[v], start);
        start += count;
    }
    storageBarrier();
    // Every place taken moves the start of its list on: at last it is the list's end.
    for (var n = lane; n < params.tokens; n += LANES) {
        let place = atomicAdd(&scratch[token_at(n)], 1u);
        atomicStore(&scratch[params.places + min(place, params.tokens - 1u)], n);
    }
}
