//! Masks by length against their reference.

use crate::common::{
    self,
    differences::{Random, check_gradients, dot},
};
use softalign::{
    Error,
    gpu::{Dtype, Recorder},
    graph::Graph,
    kernels::length_mask::LengthMask,
    reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("length_mask");
}

#[test]
fn the_gradients_of_the_reference_agree_with_central_differences() {
    let mut random = Random::new(34);
    for root in [false, true] {
        let mask = reference::length_mask::LengthMask { batch: 3, steps: 4, channels: 2, root };
        let (x, up) = (random.tensor(&[3, 4, 2]), random.tensor(&[3, 4, 2]));
        let found = mask.forward(&up, &[4, 0, 3]);
        check_gradients("length_mask", &[x], |x| dot(&mask.forward(&x[0], &[4, 0, 3]), &up), &[("x", &found)]);
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let (x, lengths) = (common::poisoned(gpu, 24), common::upload_u32(gpu, [2], &[1, 2]));
    let mask = LengthMask { batch: 2, steps: 3, channels: 4, root: true };
    let mut recorder = Recorder::new(gpu, "test");
    for result in [
        LengthMask { channels: 5, ..mask }.record(&mut recorder, &x, &lengths, &common::poisoned(gpu, 24)),
        LengthMask { batch: 0, ..mask }.record(&mut recorder, &x, &lengths, &common::poisoned(gpu, 24)),
        mask.record(&mut recorder, &x, &common::upload_u32(gpu, [3], &[1; 3]), &common::poisoned(gpu, 24)),
        mask.record(&mut recorder, &x, &lengths, &common::poisoned(gpu, 20)),
    ] {
        assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    }
    let mut graph = Graph::new();
    let (x, lengths) = (graph.input("x", [2, 3, 4], Dtype::F32), graph.input("lengths", [3], Dtype::U32));
    assert!(matches!(graph.length_mask(x, lengths, false), Err(Error::Shape { argument: "lengths", .. })));
}
