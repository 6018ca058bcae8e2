//! What a training step asks of any adapter: counts, which hold without a GPU.

use crate::common;
use softalign::{
    bench::{ModelSize, TrainingProfile},
    gpu::Counts,
};

/// With the tiles of workgroup memory that GPUs take. A number that falls is good news, to be written here.
#[test]
fn a_training_step_asks_for_no_more_than_it_did() {
    for (size, wanted) in [(ModelSize::S, [0, 0, 0]), (ModelSize::M, [0, 0, 0])] {
        let Counts { dispatches, barriers, serial_rounds, bytes } =
            TrainingProfile::counts(common::portable(), &size).unwrap();
        assert_eq!([dispatches, barriers, serial_rounds], wanted, "W5/{}", size.name);
        assert!(bytes > 0.0);
    }
}
