// The logarithm of the sum of a row's exponentials, in two parts that are taken off a logit one after the other. Under
// NORMALISED logits are log-probabilities already.
struct Normaliser { maximum: f32, logarithm: f32 }

#ifdef NORMALISED
fn normaliser(start: u32, classes: u32, lane: u32) -> Normaliser { return Normaliser(0.0, 0.0); }
#else
fn normaliser(start: u32, classes: u32, lane: u32) -> Normaliser {
    var largest = FLOOR;
    var sum = vec4f();
    for (var c = 4u * lane; c < classes; c += 4u * LANES) {
        let valid = inside(c, classes);
        let x = select(vec4f(FLOOR), bounded(start, c), valid);
        let before = largest;
        largest = max(largest, largest_of(x));
        sum = fma(sum, vec4f(exp(before - largest)), select(vec4f(), exp(x - largest), valid));
    }
    let maximum = reduce_max(largest, lane);
    let total = reduce_sum(sum_of(sum) * exp(largest - maximum), lane);
    return Normaliser(maximum, log(max(total, 1.0)));
}
#endif

fn log_probability(logit: f32, by: Normaliser) -> f32 { return (logit - by.maximum) - by.logarithm; }
fn log_probability4(logits: vec4f, by: Normaliser) -> vec4f { return (logits - by.maximum) - by.logarithm; }
