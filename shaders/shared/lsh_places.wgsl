// Whom a position sees in attention of chunks: those in its own chunk of a round's order and in the chunks beside it, the last one being
// before the first (Kitaev, Kaiser and Levskaya 2020, section 2 and figure 2). The importing shader has the binding
// sorted [2, B, N, rounds, T]: the order of each round, then the place of each position in it.

struct Params {
    batch: u32, heads: u32, steps: u32, size: u32,
    rounds: u32,            // 1 where nothing is hashed
    hashed: u32,            // 0: the one order is the text's own, and `sorted` is not read
    chunk: u32, before: u32, after: u32,
    causal: u32,
    unit: u32,              // 1: keys are the queries', scaled to one length, and a position does not see itself
    least: u32, multiple: u32,      // of padding that each text has by itself; multiple 0: all are padded to T
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

const NOWHERE = 0xffffffffu;            // a position that nothing has
const EPSILON = 1e-6;                   // added to the mean square of what gets one length
const ALONE = -1e30;                    // the log_sum_exp of a position that sees none but itself; below any other

// Where a position's row starts in a tensor [B, T, N, D].
fn row_at(b: u32, n: u32, t: u32) -> u32 { return ((b * params.steps + t) * params.heads + n) * params.size; }

// A text with its padding.
struct Text {
    extent: u32,            // its positions, padding included
    rounds: u32,
    chunk: u32, before: u32, after: u32,
    hashed: bool,
}

// That of so many valid positions. One that is no longer than a chunk is one, which nothing is beside.
fn text_of(length: u32) -> Text {
    var extent = params.steps;
    if (params.multiple != 0u) {
        let padded = (length + params.multiple - 1u) / params.multiple * params.multiple;
        extent = min(select(padded, length, length <= params.least), params.steps);
    }
    if (extent <= params.chunk) { return Text(extent, 1u, extent, 0u, 0u, false); }
    return Text(extent, params.rounds, params.chunk, params.before, params.after, params.hashed != 0u);
}

// The pairs of a walk over all rounds.
fn walked(text: Text) -> u32 { return text.rounds * (text.before + 1u + text.after) * text.chunk; }

// Where a head's part of the order starts, and where the places do.
fn order_start(head: u32) -> u32 { return head * params.rounds * params.steps; }
fn places_start(head: u32) -> u32 { return order_start(params.batch * params.heads + head); }

// The position that a walk from `t` comes to at its i-th step. Each round's walk goes through `before` chunks, the own one, and those
// behind it. As many chunks away as there are or more is no way at all.
fn met(text: Text, head: u32, t: u32, i: u32, before: u32) -> u32 {
    let width = (text.before + 1u + text.after) * text.chunk;
    let hash = i / width;
    let step = i % width;
    var place = t;
    if (text.hashed) { place = sorted[places_start(head) + hash * params.steps + t]; }
    let chunks = text.rounds * text.extent / text.chunk;
    let own = (hash * text.extent + place) / text.chunk;
    let number = step / text.chunk;
    let distance = max(number, before) - min(number, before);
    let other = select((own + chunks + number - before) % chunks, own, distance >= chunks);
    let slot = other * text.chunk + step % text.chunk;
    if (!text.hashed) { return slot; }
    return sorted[order_start(head) + slot / text.extent * params.steps + slot % text.extent];
}

// Whether query t sees key s, both of a text of so many positions.
fn sees(t: u32, s: u32, length: u32) -> bool {
    let ordered = params.causal == 0u || s <= t;
    let other = params.unit == 0u || s != t;
    return t < length && s < length && ordered && other;
}

// What the product of a query and a key is multiplied with, by the sum of the key's squares.
fn factor_of(squares: f32) -> f32 {
    return params.scale * select(1.0, inverseSqrt(squares / f32(params.size) + EPSILON), params.unit != 0u);
}
