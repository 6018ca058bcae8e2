//! Positions against their reference.

use crate::common;
use softalign::{
    Error,
    gpu::Recorder,
    kernels::positions::{Gradients, Inputs, Positions},
};

#[test]
fn agree_with_the_reference() {
    common::validate("positions");
}

#[test]
fn a_search_counts_its_steps() {
    let positions = Positions { batch: 2, steps: 1, size: 3, places: 4, first: 1, factor: 2.0 };
    for gpu in [common::gpu(), common::portable()] {
        let x = common::upload(gpu, [2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let table = common::upload(gpu, [4, 3], &[0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 20.0, 20.0, 20.0, 30.0, 30.0, 30.0]);
        // Past the table's end a place has its last vector.
        for (counted, place) in [(0, 10.0), (1, 20.0), (2, 30.0), (77, 30.0)] {
            let counter = common::upload_u32(gpu, [1], &[counted]);
            let y = common::poisoned(gpu, 6);
            let inputs = Inputs { x: &x, table: &table, counter: Some(&counter) };
            common::run(gpu, |recorder| positions.record(recorder, &inputs, &y));
            assert_eq!(gpu.read::<f32>(&y).unwrap(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0].map(|x| x + place), "{counted}");
        }
    }
}

#[test]
fn refuse_wrong_shapes() {
    let gpu = common::gpu();
    let (six, four) = (common::poisoned(gpu, 6), common::poisoned(gpu, 4));
    let right = Positions { batch: 1, steps: 2, size: 2, places: 3, first: 1, factor: 1.0 };
    let mut recorder = Recorder::new(gpu, "test");
    let inputs = Inputs { x: &four, table: &six, counter: None };
    for (argument, positions, inputs) in [
        ("x", right, Inputs { x: &six, ..inputs }),
        ("table", right, Inputs { table: &four, ..inputs }),
        ("counter", right, Inputs { counter: Some(&six), ..inputs }),
        ("first", Positions { first: 2, ..right }, inputs),
        ("factor", Positions { factor: f32::NAN, ..right }, inputs),
    ] {
        let result = positions.record(&mut recorder, &inputs, &common::poisoned(gpu, 4));
        assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
    }
    let result = right.record_backward(&mut recorder, &four, &Gradients { x: &six, table: &six });
    assert!(matches!(result, Err(Error::Shape { argument: "d_x", .. })), "{result:?}");
    let result = right.record_backward(&mut recorder, &four, &Gradients { x: &common::poisoned(gpu, 4), table: &four });
    assert!(matches!(result, Err(Error::Shape { argument: "d_table", .. })), "{result:?}");
}
