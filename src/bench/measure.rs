//! Repetitions and their statistics.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    gpu::{Recording, Timed, Timer},
};

/// The most repetitions of one row.
const MOST: usize = 100;

/// The fewest, unless even these take very long.
const FEWEST: usize = 3;

/// After this long, what there is must do.
const PATIENCE: Duration = Duration::from_secs(8);

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The device's timestamps.
    Device,
    /// From submit to the end of waiting.
    Wall,
}

/// Median and spread of repetitions, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Whose time it is.
    pub clock: Clock,
    /// The median.
    pub median: f64,
    /// The distance between the quartiles.
    pub spread: f64,
    /// The fastest.
    pub fastest: f64,
    /// The median by the wall's clock.
    pub wall: f64,
    /// The number of repetitions.
    pub repetitions: usize,
}

impl Timing {
    fn of(clock: Clock, mut seconds: Vec<f64>, wall: f64) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self {
            clock,
            median: quantile(&seconds, 0.5),
            spread: quantile(&seconds, 0.75) - quantile(&seconds, 0.25),
            fastest: quantile(&seconds, 0.0),
            wall,
            repetitions: seconds.len(),
        }
    }
}

/// The median of some values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Of sorted values, with what lies between two of them interpolated.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// Calls `run` until `budget` is spent, but a few times at least and not for ever.
fn repeat<T>(budget: Duration, mut run: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    let start = Instant::now();
    let mut results = Vec::new();
    loop {
        results.push(run()?);
        let enough = if results.len() < FEWEST { PATIENCE } else { budget };
        if results.len() == MOST || start.elapsed() >= enough {
            return Ok(results);
        }
    }
}

/// Measures whatever `run` does before it returns.
pub(super) fn wall(budget: Duration, mut run: impl FnMut() -> Result<()>) -> Result<Timing> {
    let seconds = repeat(budget, || {
        let start = Instant::now();
        run()?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    let timing = Timing::of(Clock::Wall, seconds, f64::NAN);
    Ok(Timing { wall: timing.median, ..timing })
}

/// Measures a recording by the device's clock, if it can be trusted, else by the wall's.
pub(super) fn recording(timer: &Timer, recording: &Recording, overhead: f64, budget: Duration) -> Result<Timing> {
    let times = repeat(budget, || timer.run(recording))?;
    let wall: Vec<_> = times.iter().map(|timed| timed.wall.as_secs_f64()).collect();
    let wall = Timing::of(Clock::Wall, wall, f64::NAN);
    let device = device_seconds(&times).map(|device| Timing::of(Clock::Device, device, wall.median));
    // The host adds a submit, and the driver's scheduling on a machine that does other things too: a device time that is
    // much shorter than the wall's is not of this work, and a longer one is no time at all.
    let plausible = |device: &Timing| {
        let rest = wall.fastest - device.fastest;
        rest > -0.02 * wall.fastest && rest < 3.0 * overhead + 0.15 * wall.fastest
    };
    Ok(device.filter(plausible).unwrap_or(Timing { wall: wall.median, ..wall }))
}

fn device_seconds(times: &[Timed]) -> Option<Vec<f64>> {
    times.iter().map(|timed| timed.device.map(|device| device.as_secs_f64())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.5, 0.75, 1.0].map(|share| quantile(&sorted, share)), [1.0, 3.0, 5.0, 8.0]);
        assert_eq!(quantile(&[3.0], 0.25), 3.0);
    }

    #[test]
    fn long_runs_are_few_and_short_ones_not_without_end() {
        assert_eq!(repeat(Duration::ZERO, || Ok(())).unwrap().len(), FEWEST);
        assert_eq!(repeat(Duration::from_secs(60), || Ok(())).unwrap().len(), MOST);
    }
}
