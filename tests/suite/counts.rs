//! What a training step asks of any adapter: counts, which hold without a GPU.

use softalign::{
    Gpu, GpuOptions,
    bench::{ModelSize, TrainingProfile},
    gpu::{AdapterClass, Counts},
};

/// Dispatches, those that wait for an earlier one, and serial rounds of W5 S and M, by the tiles that GPUs take. A change that moves them states them here.
#[test]
fn a_training_step_asks_for_what_is_stated() {
    let gpu = Gpu::open(&GpuOptions { tiles: Some(AdapterClass::Discrete), ..GpuOptions::from_env() });
    let gpu = gpu.unwrap();
    let counts = [ModelSize::S, ModelSize::M].map(|size| {
        let Counts { dispatches, barriers, serial_rounds, bytes } = TrainingProfile::counts(&gpu, &size).unwrap();
        assert!(bytes > 0.0);
        [dispatches, barriers, serial_rounds]
    });
    assert_eq!(counts, [[110, 103, 835], [191, 185, 12_635]]);
}
