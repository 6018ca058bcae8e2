//! Steps between bounds against their reference.

use crate::common;
use softalign::{Error, gpu::Recorder, kernels::bounded_step::BoundedStep};

#[test]
fn agrees_with_the_reference() {
    common::validate("bounded_step");
}

#[test]
fn what_is_no_number_stays() {
    let gpu = common::gpu();
    let values = [1.0, 1.5, -3.0, 9.0, f32::NAN, f32::INFINITY];
    let (before, x) = (common::upload(gpu, [6], &[1.0; 6]), common::upload(gpu, [6], &values));
    let mut recorder = Recorder::new(gpu, "test");
    BoundedStep { elements: 6, low: 0.0, high: 4.0 }.record(&mut recorder, &before, &x).unwrap();
    recorder.finish().unwrap().submit(1).unwrap();
    let found: Vec<f32> = gpu.read(&x).unwrap();
    assert_eq!(found[..4], [1.0, 3.0, 0.0, 4.0]);
    assert!(found[4].is_nan() && !found[5].is_finite(), "{found:?}");
}

#[test]
fn refuses_what_is_no_range_and_wrong_shapes() {
    let gpu = common::gpu();
    let (before, x) = (common::poisoned(gpu, 3), common::poisoned(gpu, 3));
    let step = BoundedStep { elements: 3, low: 0.0, high: 1.0 };
    let mut recorder = Recorder::new(gpu, "test");
    for (argument, wrong) in [
        ("high", BoundedStep { high: 0.0, ..step }),
        ("high", BoundedStep { high: f32::INFINITY, ..step }),
        ("before", BoundedStep { elements: 4, ..step }),
        ("elements", BoundedStep { elements: 0, ..step }),
    ] {
        let error = wrong.record(&mut recorder, &before, &x).unwrap_err();
        assert!(matches!(error, Error::Shape { argument: found, .. } if found == argument), "{error}");
    }
}
