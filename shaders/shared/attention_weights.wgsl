// What forms under ADJUSTED add to a score and make of a weight. The importing shader has params.queries, keys, biased, operation,
// threshold and kept_scale, the step and the bias [N, T + S - 1] by s - t + T - 1.
#import random
#import step

// The biases of ROWS rows and four columns lie on ROWS + 3 diagonals: those from `first` on, the first one's s - t being
// first - (T - 1). Diagonals that no query and key have are clamped, and their scores masked.
fn biases_from(head: u32, first: u32) -> array<f32, ROWS + 3u> {
    var result: array<f32, ROWS + 3u>;
    if (params.biased != 0u) {
        let span = params.queries + params.keys - 1u;
        for (var i = 0u; i < ROWS + 3u; i++) {
            let diagonal = clamp(i32(first + i), 0, i32(span) - 1);
            result[i] = bias[head * span + u32(diagonal)];
        }
    }
    return result;
}

// What four weights are multiplied with: 0 where dropout (Srivastava et al. 2014) takes them, else what makes up for those.
fn kept(head: u32, queries: vec4u, keys: vec4u) -> vec4f {
    let key = pcg(params.operation + pcg(step.step + pcg(step.seed)));
    let element = (head * params.queries + queries) * params.keys + keys;
    let bits = vec4u(pcg(element.x + key), pcg(element.y + key), pcg(element.z + key), pcg(element.w + key));
    return select(vec4f(), vec4f(params.kept_scale), bits >= vec4u(params.threshold));
}
