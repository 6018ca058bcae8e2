//! Schedules of the learning rate, from step to step.

use serde::{Deserialize, Serialize};

/// The shape of the learning rate over a run, after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// None.
    #[default]
    Constant,
    /// In a straight line to 0 at the end of this many epochs.
    Linear {
        /// Passes over the data.
        epochs: u64,
    },
    /// Along half a cosine to 0 at the end of this many epochs (Loshchilov and Hutter, "SGDR" 2017, section 3, without
    /// restarts).
    Cosine {
        /// Passes over the data.
        epochs: u64,
    },
    /// With one over the root of the step (Vaswani et al. 2017, section 5.3).
    InverseSqrt,
    /// Halved whenever this many validations in a row were no improvement.
    Plateau {
        /// Validations.
        patience: u64,
    },
}

/// The learning rate of each step, as a share of its largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Steps over which the rate rises in a straight line to its largest.
    pub warmup: u64,
    /// Its decay after the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The schedule for a run of so many steps: its warm-up takes at most half of them, so that the rate reaches its largest.
    pub fn within(self, steps: u64) -> Self {
        Self { warmup: self.warmup.min(steps / 2), ..self }
    }

    /// The share of the largest rate that step `step` (from 1) takes. `halvings`: how often a [`Decay::Plateau`] was met.
    pub fn share(&self, step: u64, epoch_steps: u64, halvings: u32) -> f32 {
        if step <= self.warmup {
            return (step as f64 / self.warmup as f64) as f32;
        }
        // Of the way from the end of the warm-up to the end of the decay. A step past it stands still at its end.
        let done = |epochs: u64| {
            let all = epochs.saturating_mul(epoch_steps).saturating_sub(self.warmup).max(1);
            ((step - self.warmup - 1) as f64 / all as f64).min(1.0)
        };
        let share = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear { epochs } => 1.0 - done(epochs),
            Decay::Cosine { epochs } => 0.5 + 0.5 * (std::f64::consts::PI * done(epochs)).cos(),
            Decay::InverseSqrt => (self.warmup.max(1) as f64 / step as f64).sqrt(),
            Decay::Plateau { .. } => 0.5_f64.powi(halvings.min(1000) as i32),
        };
        share as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 10;

    fn shares(warmup: u64, decay: Decay, steps: &[u64]) -> Vec<f32> {
        let schedule = Schedule { warmup, decay };
        steps.iter().map(|step| schedule.share(*step, EPOCH, 0)).collect()
    }

    #[test]
    fn the_warm_up_rises_in_a_straight_line_to_one() {
        for decay in [Decay::Constant, Decay::InverseSqrt, Decay::Linear { epochs: 2 }, Decay::Cosine { epochs: 2 }] {
            assert_eq!(shares(4, decay, &[1, 2, 3, 4]), [0.25, 0.5, 0.75, 1.0], "{decay:?}");
        }
    }

    #[test]
    fn a_warm_up_leaves_half_of_a_short_run() {
        let schedule = Schedule { warmup: 400, decay: Decay::Linear { epochs: 8 } };
        assert_eq!([80, 799, 800, 9000].map(|steps| schedule.within(steps).warmup), [40, 399, 400, 400]);
        let short = schedule.within(80);
        assert_eq!([1, 40, 41, 81].map(|step| short.share(step, EPOCH, 0)), [0.025, 1.0, 1.0, 0.0]);
        // No step, or a single one, is no warm-up.
        assert_eq!([0, 1].map(|steps| schedule.within(steps).share(1, EPOCH, 0)), [1.0, 1.0]);
    }

    #[test]
    fn decays_end_where_they_should() {
        assert_eq!(shares(0, Decay::Constant, &[1, 1000]), [1.0, 1.0]);
        assert_eq!(shares(0, Decay::Linear { epochs: 1 }, &[1, 6, 10, 11, 99]), [1.0, 0.5, 0.1, 0.0, 0.0]);
        assert_eq!(shares(4, Decay::Linear { epochs: 1 }, &[5, 8, 11]), [1.0, 0.5, 0.0]);
        assert_eq!(shares(0, Decay::Cosine { epochs: 1 }, &[1, 6, 11]), [1.0, 0.5, 0.0]);
        assert_eq!(shares(4, Decay::InverseSqrt, &[16, 64]), [0.5, 0.25]);
        let plateau = Schedule { warmup: 0, decay: Decay::Plateau { patience: 2 } };
        assert_eq!([0, 1, 3].map(|halvings| plateau.share(7, EPOCH, halvings)), [1.0, 0.5, 0.125]);
    }
}
