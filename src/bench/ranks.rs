//! Training steps of one model by several ranks, as one of them measures them.

use std::{sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};

use super::ModelSize;
use crate::{
    Gpu, Result,
    gpu::Dtype,
    ranks::Ranks,
    train::{Part, Traffic},
};

/// Steps before those that count: they compile kernels.
const WARM: u32 = 3;
/// Steps that count.
const STEPS: u32 = 10;

/// What a step of several ranks takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RankFigures {
    /// Their number.
    pub ranks: usize,
    /// Seconds of a step.
    pub seconds: f64,
    /// Target tokens a second, of all ranks.
    pub tokens_per_second: f64,
    /// Bytes that a rank sends in a step.
    pub bytes: f64,
    /// Seconds of a step in which a rank sends, sums or waits for others,
    pub communication: f64,
    /// and those of them in which its device has no work left.
    pub exposed: f64,
}

impl RankFigures {
    /// Measures steps of W5 S, whose batch the ranks share; without ranks those of one process.
    ///
    /// # Errors
    /// The errors of kernels and of the device; [`crate::Error::Rank`] if a rank has ended.
    pub fn measure(gpu: &Gpu, ranks: Option<Arc<dyn Ranks>>) -> Result<Self> {
        let (rank, size) = ranks.as_ref().map_or((0, 1), |ranks| (ranks.rank(), ranks.size()));
        let whole = ModelSize::S.batch();
        let (share, part) = (whole.share(size, rank), Part::of(&[&whole]));
        let mut trainer = ModelSize::S.trainer(gpu, Dtype::F32)?.among(ranks.clone());
        let mut steps = |numbers: std::ops::Range<u32>| -> Result<(f64, Traffic)> {
            let before = trainer.traffic().unwrap_or_default();
            ranks.as_deref().map_or(Ok(()), Ranks::barrier)?;
            let began = Instant::now();
            for number in numbers {
                trainer.part(&share, part, number + 1, 1, 1e-3)?;
            }
            gpu.wait(None)?;
            ranks.as_deref().map_or(Ok(()), Ranks::barrier)?;
            Ok((began.elapsed().as_secs_f64(), trainer.traffic().unwrap_or_default().since(before)))
        };
        steps(0..WARM)?;
        let (seconds, traffic) = steps(WARM..WARM + STEPS)?;
        let each = |sum: f64| sum / f64::from(STEPS);
        Ok(Self {
            ranks: size,
            seconds: each(seconds),
            tokens_per_second: whole.target_tokens as f64 / each(seconds),
            bytes: each(traffic.bytes as f64),
            communication: each(traffic.seconds),
            exposed: each(traffic.exposed),
        })
    }
}
