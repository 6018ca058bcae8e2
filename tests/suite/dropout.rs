//! Dropout against its reference.

use crate::common;
use softalign::{
    Error,
    gpu::Recorder,
    kernels::{
        Step,
        dropout::{Draw, Dropout},
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("dropout");
}

#[test]
fn drops_its_rate_and_what_it_drops_may_be_anything() {
    let gpu = common::gpu();
    let elements = 100_003;
    let step = Step::buffer(gpu).unwrap();
    gpu.write(&step, &Step { step: 7, seed: 11, ..Step::default() }.words()).unwrap();
    for rate in [0.0_f32, 0.3, 0.75] {
        let dropout = Dropout { elements, rate, operation: 2, draw: Draw::Element, row: 0 };
        let [x, y, again] = [
            common::upload(gpu, [elements], &vec![1.0; elements]),
            common::poisoned(gpu, elements),
            common::poisoned(gpu, elements),
        ];
        common::run(gpu, |recorder| {
            dropout.record(recorder, &x, &step, &y)?;
            dropout.record(recorder, &x, &step, &again)
        });
        assert!(common::bits(gpu, &y) == common::bits(gpu, &again));
        let y: Vec<f32> = gpu.read(&y).unwrap();
        let dropped = y.iter().filter(|y| **y == 0.0).count() as f32 / elements as f32;
        assert!((dropped - rate).abs() < 0.01, "{dropped} of {rate}");
        // NaN where the mask drops, which is known by now.
        let values: Vec<f32> = y.iter().map(|y| if *y == 0.0 { f32::NAN } else { 1.0 }).collect();
        gpu.write(&x, &values).unwrap();
        common::run(gpu, |recorder| dropout.record(recorder, &x, &step, &again));
        assert!(gpu.read::<f32>(&again).unwrap() == y);
    }
}

#[test]
fn refuses_a_rate_of_one() {
    let gpu = common::gpu();
    let (x, step) = (common::poisoned(gpu, 4), Step::buffer(gpu).unwrap());
    for rate in [1.0, -0.1, f32::NAN] {
        let dropout = Dropout { elements: 4, rate, operation: 0, draw: Draw::Element, row: 0 };
        let result = dropout.record(&mut Recorder::new(gpu, "test"), &x, &step, &x);
        assert!(matches!(result, Err(Error::Shape { argument: "rate", .. })), "{result:?}");
    }
}
