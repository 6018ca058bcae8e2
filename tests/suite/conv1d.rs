//! Convolution along time against its reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::Graph,
    kernels::conv1d::{Conv1d, Padding},
    reference::conv1d as reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("conv1d");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(34);
    for padding in [reference::Padding::Same, reference::Padding::Causal] {
        for (batch, steps, channels, outputs, width) in
            [(1, 1, 1, 1, 1), (2, 4, 3, 2, 3), (1, 2, 2, 3, 5), (2, 3, 1, 2, 2)]
        {
            let conv1d = reference::Conv1d { batch, steps, channels, outputs, width, padding };
            let inputs = vec![
                random.tensor(&[batch, steps, channels]),
                random.tensor(&[outputs, channels, width]),
                random.tensor(&[outputs]),
            ];
            let up = random.tensor(&[batch, steps, outputs]);
            let found = conv1d.backward(&inputs[0], &inputs[1], &up);
            let gradients: [(&str, &[f64]); 3] = [("x", &found.x), ("weight", &found.weight), ("bias", &found.bias)];
            let objective = |x: &[Vec<f64>]| dot(&conv1d.forward(&x[0], &x[1], &x[2]), &up);
            check_gradients(&format!("{conv1d:?}"), &inputs, objective, &gradients);
        }
    }
}

/// Windows of each padding, by hand: rows do not see each other's steps.
#[test]
fn windows_end_where_rows_do() {
    for gpu in [common::gpu(), common::portable()] {
        for (padding, width, expected) in [
            (Padding::Same, 3, [[0., 1., 2.], [1., 2., 0.], [0., 3., 4.], [3., 4., 0.]].concat()),
            (Padding::Same, 2, [[1., 2.], [2., 0.], [3., 4.], [4., 0.]].concat()),
            (Padding::Causal, 3, [[0., 0., 1.], [0., 1., 2.], [0., 0., 3.], [0., 3., 4.]].concat()),
            (
                Padding::Causal,
                5,
                [[0., 0., 0., 0., 1.], [0., 0., 0., 1., 2.], [0., 0., 0., 0., 3.], [0., 0., 0., 3., 4.]].concat(),
            ),
        ] {
            for channels in [1, 4] {
                let conv1d = Conv1d { batch: 2, steps: 2, channels, width, padding };
                let each = |values: &[f32]| values.iter().flat_map(|value| vec![*value; channels]).collect::<Vec<_>>();
                let x = common::upload(gpu, [2, 2, channels], &each(&[1., 2., 3., 4.]));
                let windows = common::poisoned(gpu, 4 * width * channels);
                common::run(gpu, |recorder| conv1d.record(recorder, &x, &windows));
                assert_eq!(gpu.read::<f32>(&windows).unwrap(), each(&expected), "{conv1d:?}");
            }
        }
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let [four, six] = [4, 6].map(|elements| common::poisoned(gpu, elements));
    let mut recorder = Recorder::new(gpu, "test");
    let conv1d = Conv1d { batch: 1, steps: 2, channels: 1, width: 3, padding: Padding::Same };
    for result in [
        conv1d.record(&mut recorder, &four, &six),
        Conv1d { channels: 2, ..conv1d }.record(&mut recorder, &four, &six),
        Conv1d { width: 0, ..conv1d }.record(&mut recorder, &four, &six),
        conv1d.record_backward(&mut recorder, &six, &four),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3, 4], Dtype::F32);
    let weight = graph.input("weight", [5, 3, 3], Dtype::F32);
    assert!(matches!(graph.conv1d(x, weight, None, Padding::Same), Err(Error::Shape { argument: "weight", .. })));
}
