// What forms under ADJUSTED make of a weight. The importing shader has params.heads, queries, keys, operation, threshold and
// kept_scale, and the step.
#import random
#import step

// What four weights of head n of batch row b are multiplied with: 0 where dropout (Srivastava et al. 2014) takes them, else what makes
// up for those.
fn kept(b: u32, n: u32, queries: vec4u, keys: vec4u) -> vec4f {
    let head = row_of_all(step, b) * params.heads + n;
    let key = pcg(params.operation + pcg(step.step + pcg(step.seed)));
    let element = (head * params.queries + queries) * params.keys + keys;
    let bits = vec4u(pcg(element.x + key), pcg(element.y + key), pcg(element.z + key), pcg(element.w + key));
    return select(vec4f(), vec4f(params.kept_scale), bits >= vec4u(params.threshold));
}
