// Decoder inputs gathered for the chosen tokens: each word's row, and its contribution to the gates, from tables of all words.
// WIDE: all sizes, strides and offsets are multiples of 4.
#ifdef WIDE
alias Element = vec4f;
const WIDTH = 4u;
#else
alias Element = f32;
const WIDTH = 1u;
#endif
@group(0) @binding(3) var<storage, read> words: array<Element>;              // [C, E]
@group(0) @binding(4) var<storage, read_write> word_rows: array<Element>;    // [rows, E], rows word_stride apart
@group(0) @binding(5) var<storage, read> gates: array<Element>;              // [C, 3H]
@group(0) @binding(6) var<storage, read_write> gate_rows: array<Element>;    // [rows, 3H]

fn feed(row: u32, chosen: u32, lane: u32) {
    let token = min(chosen, params.classes - 1u);
    let to = (params.word_offset + row * params.word_stride) / WIDTH;
    for (var i = lane; i < params.word / WIDTH; i += LANES) {
        word_rows[to + i] = words[token * params.word / WIDTH + i];
    }
    for (var i = lane; i < params.gates / WIDTH; i += LANES) {
        gate_rows[row * params.gates / WIDTH + i] = gates[token * params.gates / WIDTH + i];
    }
}
