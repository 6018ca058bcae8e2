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

/// The time for which work is run before it is measured, at least and at most: a GPU that has idled takes a while to raise its clock.
const WARM_UP: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Runs of a warm-up that are timed together.
const WARM_UP_GROUP: Duration = Duration::from_millis(20);

/// The clock is steady once runs are no faster than before by more than this share.
const STEADY: f64 = 0.02;

/// A measurement repeats what takes less time than this: a submit has a cost of its own, and between two the device idles.
const SHORTEST: Duration = Duration::from_millis(4);

/// The most repetitions of one measurement.
const MOST_TOGETHER: f64 = 100.0;

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

/// Runs until the clock is steady, and returns the seconds of a run.
fn warm_up(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let (start, mut fastest) = (Instant::now(), f64::INFINITY);
    loop {
        let (group, mut runs) = (Instant::now(), 0_u32);
        while runs == 0 || group.elapsed() < WARM_UP_GROUP {
            run()?;
            runs += 1;
        }
        let each = group.elapsed().as_secs_f64() / f64::from(runs);
        let steady = each > (1.0 - STEADY) * fastest;
        fastest = fastest.min(each);
        let spent = start.elapsed();
        if spent >= WARM_UP[usize::from(!steady)] {
            return Ok(fastest);
        }
    }
}

/// Measures whatever `run` does before it returns.
pub(super) fn wall(budget: Duration, mut run: impl FnMut() -> Result<()>) -> Result<Timing> {
    warm_up(&mut run)?;
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
    let once = warm_up(|| timer.run(recording).map(drop))?;
    let work = (once - overhead).max(SHORTEST.as_secs_f64() / MOST_TOGETHER);
    let together = (SHORTEST.as_secs_f64() / work).ceil().max(1.0);
    let overhead = overhead / together;
    let times = repeat(budget, || timer.run_repeatedly(recording, together as u32))?;
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
    fn a_warm_up_ends_when_runs_are_no_longer_faster() {
        let mut pauses = [9, 6, 4].into_iter();
        let mut runs = 0;
        let fastest = warm_up(|| {
            runs += 1;
            std::thread::sleep(Duration::from_millis(pauses.next().unwrap_or(3)));
            Ok(())
        });
        assert!((0.003..0.006).contains(&fastest.unwrap()));
        assert!((8..400).contains(&runs), "{runs}");
        assert!(warm_up(|| Err(crate::Error::data("x", "y"))).is_err());
    }

    #[test]
    fn long_runs_are_few_and_short_ones_not_without_end() {
        assert_eq!(repeat(Duration::ZERO, || Ok(())).unwrap().len(), FEWEST);
        assert_eq!(repeat(Duration::from_secs(60), || Ok(())).unwrap().len(), MOST);
    }
}
