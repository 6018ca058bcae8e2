// The gates of a GRU, for four columns, from what the input contributes to them (gi, W_in context as `candidate` where that comes
// by itself) and what the state does, its biases included (W_hn h as `recurrent`).
#import math

struct Gates {
    reset: vec4f, update: vec4f, candidate: vec4f,      // r, z, n
    next: vec4f,                                        // the state that they make of `old`
}

fn gates_of(gi: array<vec4f, 3>, reset: vec4f, update: vec4f, recurrent: vec4f, candidate: vec4f, old: vec4f) -> Gates {
    let r = sigmoid4(gi[0] + reset);
    let z = sigmoid4(gi[1] + update);
    let n = tanh4(fma(r, recurrent, gi[2] + candidate));
    return Gates(r, z, n, fma(z, old - n, n));
}
