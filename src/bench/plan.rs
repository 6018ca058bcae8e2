//! What so many ranks would reach, from the bytes of a training step, a network, and the step of one rank: a model on paper.

use super::{ModelSize, workloads::transformer_trainer};
use crate::{Gpu, Result, gpu::Dtype, train::Trainer};

/// Bytes a second at which the host reads gradients from the device, and writes them back: what a PCIe 5 slot of 16 lanes reaches.
const BUS: f64 = 4e10;
/// Bytes a second of gradients that the host adds up and copies for the network.
const HOST: f64 = 1e10;

/// Target tokens a second that one H100 trains W5 M at: measured.
const W5_M: f64 = 58_900.0;
/// Operations a second that it does in W8 M: those of a product of 1024³, whose shapes are most like that model's. Nobody has measured
/// that step yet.
const W8_M: f64 = 7.5e12;

/// The network between ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Gigabits a second that each rank sends and, at the same time, receives.
    pub gbps: f64,
    /// Microseconds that a message takes beside its bytes.
    pub latency_us: f64,
}

/// A training step of one rank, as its device runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankStep {
    /// Seconds of the whole step, alone.
    pub seconds: f64,
    /// Target tokens of it.
    pub tokens: f64,
    /// The gradients that go around: bytes, and the share of the step behind which they are whole.
    pub buckets: Vec<(u64, f64)>,
}

/// What several ranks reach.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RankPlan {
    /// Bytes that each rank sends in a step.
    pub bytes: f64,
    /// Seconds of a step.
    pub seconds: f64,
    /// Seconds in which gradients are on their way,
    pub communication: f64,
    /// and those of them in which the device waits.
    pub exposed: f64,
    /// Target tokens a second of all ranks.
    pub tokens_per_second: f64,
    /// Their share of what as many ranks would do that need not talk.
    pub efficiency: f64,
}

impl RankStep {
    /// The steps of W5 M and W8 M on an NVIDIA H100, by their names. The buckets are those of this adapter's Programs.
    ///
    /// # Errors
    /// The errors of kernels, and [`crate::Error::OutOfMemory`] when memory runs out.
    pub fn of_h100(gpu: &Gpu) -> Result<[(&'static str, Self); 2]> {
        let size = ModelSize::M;
        let tokens = (size.batch * size.steps) as f64;
        let buckets = |mut trainer: Trainer| trainer.buckets(size.shape());
        let w5 = Self { seconds: tokens / W5_M, tokens, buckets: buckets(size.trainer(gpu, Dtype::F32)?)? };
        let mut trainer = transformer_trainer(gpu)?;
        let operations = trainer.prepare(size.shape())?.recording().cost().operations;
        let w8 = Self { seconds: operations / W8_M, tokens, buckets: buckets(trainer)? };
        Ok([("W5/M", w5), ("W8/M", w8)])
    }

    /// The step among so many ranks, each with a batch as large as that of one. A bucket is read from the device, goes around in
    /// a reduce-scatter and an all-gather of N - 1 messages each, is added up, and written back; the next one waits for it, and the
    /// optimiser for the last.
    pub fn among(&self, ranks: usize, link: Link) -> RankPlan {
        let messages = 2.0 * ranks.saturating_sub(1) as f64;
        let (bandwidth, latency) = (link.gbps * 1e9 / 8.0, link.latency_us * 1e-6);
        let mut plan = RankPlan {
            bytes: 0.0,
            seconds: 0.0,
            communication: 0.0,
            exposed: 0.0,
            tokens_per_second: 0.0,
            efficiency: 0.0,
        };
        let (mut free, mut backward) = (0.0_f64, 0.0);
        for (bytes, whole) in self.buckets.iter().filter(|_| ranks > 1) {
            let (bytes, sent) = (*bytes as f64, messages * *bytes as f64 / ranks as f64);
            let takes = sent / bandwidth + messages * latency + bytes * (2.0 / BUS + 1.0 / HOST);
            backward = whole * self.seconds;
            free = free.max(backward) + takes;
            plan.bytes += sent;
            plan.communication += takes;
        }
        plan.exposed = (free - backward).max(0.0);
        plan.seconds = self.seconds + plan.exposed;
        plan.tokens_per_second = ranks as f64 * self.tokens / plan.seconds;
        plan.efficiency = self.seconds / plan.seconds;
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: RankStep = RankStep { seconds: 0.1, tokens: 1000.0, buckets: Vec::new() };

    #[test]
    fn what_is_whole_early_is_hidden_and_the_last_is_not() {
        let link = Link { gbps: 8.0, latency_us: 0.0 };
        let step = RankStep { buckets: vec![(10_000_000, 0.4), (10_000_000, 0.95)], ..STEP };
        let alone = step.among(1, link);
        assert_eq!((alone.bytes, alone.exposed, alone.tokens_per_second, alone.efficiency), (0.0, 0.0, 10_000.0, 1.0));
        // 1 GB/s: of two ranks each sends as many bytes as there are, in 10 ms, and the host takes 1.5 ms.
        let two = step.among(2, link);
        assert!((two.bytes - 2e7).abs() < 1.0 && (two.communication - 0.023).abs() < 1e-9, "{two:?}");
        assert!((two.exposed - 0.0115).abs() < 1e-9 && (two.seconds - 0.1115).abs() < 1e-9, "{two:?}");
        assert!((two.tokens_per_second - 2000.0 / 0.1115).abs() < 1e-6 && (two.efficiency - 0.1 / 0.1115).abs() < 1e-9);
    }

    #[test]
    fn a_network_that_is_slower_than_the_step_decides() {
        let step = RankStep { buckets: vec![(1_000_000_000, 0.5), (1000, 0.9)], ..STEP };
        let of = |gbps: f64, latency_us: f64| step.among(64, Link { gbps, latency_us }).seconds;
        assert!(of(8.0, 0.0) > 2.0 && of(400.0, 0.0) < of(100.0, 0.0) && of(400.0, 0.0) < of(400.0, 100.0));
    }
}
