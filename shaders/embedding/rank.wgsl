// Puts each list of places into ascending order: a place's rank is the number of smaller ones in its list.
#import four

struct Params { vocabulary: u32, tokens: u32, places: u32, order: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;                 // [N]
@group(0) @binding(2) var<storage, read_write> scratch: array<vec4u>;        // [V] ends, [N] places, [N] places in order

fn word(i: u32) -> u32 { return scratch[i / 4u][i % 4u]; }

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= params.tokens) { return; }
    let n = min(word(params.places + id.x), params.tokens - 1u);
    let token = min(tokens[n], params.vocabulary - 1u);
    let end = min(word(token), params.tokens);
    var start = 0u;
    if (token > 0u) { start = min(word(token - 1u), end); }
    var rank = vec4u();
    for (var i = start / 4u; i < (end + 3u) / 4u; i++) {
        let at = four_from(4u * i);
        let smaller = (at >= vec4u(start)) & (at < vec4u(end)) & (scratch[params.places / 4u + i] < vec4u(n));
        rank += select(vec4u(), vec4u(1u), smaller);
    }
    let place = min(start + rank.x + rank.y + rank.z + rank.w, params.tokens - 1u);
    let at = params.order + place;
    scratch[at / 4u][at % 4u] = n;
}
