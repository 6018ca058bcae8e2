//! The gated linear unit against its reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::Graph,
    kernels::glu::Glu,
    reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("glu");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(33);
    for (rows, columns) in [(1, 1), (3, 5)] {
        let glu = reference::glu::Glu { rows, columns };
        let (x, up) = (random.tensor(&[rows, 2 * columns]), random.tensor(&[rows, columns]));
        let found = glu.backward(&x, &up);
        check_gradients("glu", &[x], |x| dot(&glu.forward(&x[0]), &up), &[("x", &found)]);
    }
}

#[test]
fn gates_open_and_close() {
    for (gpu, dtype) in common::forms() {
        for columns in [3, 4] {
            let x: Vec<f32> =
                [0.0, 90.0, -90.0].iter().flat_map(|b| [vec![8.0; columns], vec![*b; columns]]).flatten().collect();
            let x = common::upload_as(gpu, dtype, [3, 2 * columns], &x);
            let (y, d_x) = (common::poisoned_as(gpu, dtype, 3 * columns), common::poisoned_as(gpu, dtype, 6 * columns));
            let d_y = common::upload_as(gpu, dtype, [3, columns], &vec![1.0; 3 * columns]);
            let glu = Glu { rows: 3, columns };
            common::run(gpu, |recorder| {
                glu.record(recorder, &x, &y)?;
                glu.record_backward(recorder, &x, &d_y, &d_x)
            });
            let near = |found: Vec<f32>, expected: &[f32]| {
                let expected = expected.iter().flat_map(|value| vec![*value; columns]);
                assert!(
                    found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6),
                    "{found:?}"
                );
            };
            near(gpu.read_floats(&y).unwrap(), &[4.0, 8.0, 0.0]);
            near(gpu.read_floats(&d_x).unwrap(), &[0.5, 2.0, 1.0, 0.0, 0.0, 0.0]);
        }
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let [four, two] = [4, 2].map(|elements| common::poisoned(gpu, elements));
    let mut recorder = Recorder::new(gpu, "test");
    let glu = Glu { rows: 1, columns: 2 };
    for result in [
        glu.record(&mut recorder, &two, &two),
        glu.record(&mut recorder, &four, &four),
        glu.record_backward(&mut recorder, &four, &four, &four),
        Glu { rows: 0, columns: 2 }.record(&mut recorder, &four, &two),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
    let mut graph = Graph::new();
    let odd = graph.input("x", [2, 3], Dtype::F32);
    assert!(matches!(graph.glu(odd), Err(Error::Shape { argument: "x", .. })));
}
