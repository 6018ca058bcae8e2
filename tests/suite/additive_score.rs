//! The scores of additive attention by themselves against their reference.

use crate::common;
use softalign::{
    Error,
    gpu::Recorder,
    kernels::additive_score::{AdditiveScore, Gradients, Inputs},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("additive_score");
}

#[test]
fn saturated_scores_are_sums_of_the_energy_vector() {
    let shape = AdditiveScore { batch: 1, queries: 2, keys: 3, size: 5 };
    for gpu in [common::gpu(), common::portable()] {
        let query = common::upload(gpu, [2, 5], &[[1e30; 5], [-1e30; 5]].concat());
        let key = common::upload(gpu, [3, 5], &[[0.0; 5], [1e4; 5], [f32::NAN; 5]].concat());
        let energy = common::upload(gpu, [5], &[1.0, 2.0, -4.0, 8.0, 16.0]);
        let lengths = common::upload_u32(gpu, [1], &[2]);
        let scores = common::poisoned(gpu, 6);
        let inputs = Inputs { query: &query, key: &key, energy: &energy, lengths: &lengths };
        common::run(gpu, |recorder| shape.record(recorder, &inputs, &scores));
        assert_eq!(gpu.read::<f32>(&scores).unwrap(), [23.0, 23.0, 0.0, -23.0, -23.0, 0.0]);
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let (four, six) = (common::poisoned(gpu, 4), common::poisoned(gpu, 6));
    let (two, lengths) = (common::poisoned(gpu, 2), common::upload_u32(gpu, [1], &[3]));
    let shape = AdditiveScore { batch: 1, queries: 2, keys: 3, size: 2 };
    let right = Inputs { query: &four, key: &six, energy: &two, lengths: &lengths };
    let mut recorder = Recorder::new(gpu, "test");
    for (argument, inputs) in [
        ("query", Inputs { query: &six, ..right }),
        ("key", Inputs { key: &four, ..right }),
        ("energy", Inputs { energy: &four, ..right }),
        ("lengths", Inputs { lengths: &two, ..right }),
    ] {
        let result = shape.record(&mut recorder, &inputs, &six);
        assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
    }
    assert!(matches!(shape.record(&mut recorder, &right, &four), Err(Error::Shape { argument: "scores", .. })));
    let (d_query, d_key, d_energy) = (common::poisoned(gpu, 4), common::poisoned(gpu, 6), common::poisoned(gpu, 2));
    let gradients = Gradients { query: &d_query, key: &d_key, energy: &d_energy };
    let result = shape.record_backward(&mut recorder, &right, &four, &six, &gradients);
    assert!(matches!(result, Err(Error::Shape { argument: "d_scores", .. })), "{result:?}");
    let result = shape.record_backward(&mut recorder, &right, &six, &common::poisoned(gpu, 1), &gradients);
    assert!(matches!(result, Err(Error::Shape { argument: "scratch", .. })), "{result:?}");
    let result = shape.record_backward(&mut recorder, &right, &six, &six, &Gradients { key: &four, ..gradients });
    assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
    // Two gradients in one place.
    let result = shape.record_backward(&mut recorder, &right, &six, &six, &Gradients { query: &d_key, ..gradients });
    assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
}
