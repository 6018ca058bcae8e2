//! Events of a run, for its display, and its outcome.

use serde::Serialize;

use super::{Progress, Reading, Validated};
use crate::text::Pair;

/// An event of a run, for its display.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Event<'a> {
    /// The data is read and the model made or restored.
    Started {
        /// Training pairs.
        train: usize,
        /// Validation pairs.
        valid: usize,
        /// Values of all parameters.
        parameters: usize,
        /// Steps already done by earlier sessions.
        resumed: u64,
        /// Steps of the whole run, as far as the budget says.
        total: Option<u64>,
    },
    /// Loss and norm of a step, every few steps.
    Step {
        /// The step's numbers.
        #[serde(flatten)]
        reading: Reading,
        /// Target tokens per second in recent steps.
        tokens_per_second: f64,
        /// Steps of the whole run, by the budget and the speed of recent steps.
        total: Option<u64>,
        /// Seconds that the steps to come will take, as fast as recent ones.
        seconds_left: Option<f64>,
    },
    /// A validation.
    Validated {
        /// Steps done.
        step: u64,
        /// Its scores.
        found: Validated,
        /// A few sources with the text that the model wrote for each, and the reference.
        samples: &'a [(Pair, String)],
        /// Whether it is the best so far: then the model folder holds it.
        best: bool,
    },
    /// At the end of a run that keeps its best models: their average was validated too.
    Averaged {
        /// The number of models averaged.
        models: usize,
        /// The scores of its validation.
        found: Validated,
        /// Whether it is better than every one of them: then the model folder holds it.
        best: bool,
    },
    /// At the end of a run: what has become of a parameter that is kept between bounds, such as the spans of a layer's heads.
    Bounded {
        /// The parameter's name.
        name: &'a str,
        /// Its values.
        values: &'a [f32],
        /// The least and the largest that there may be.
        bounds: [f32; 2],
    },
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The progress at its end.
    pub progress: Progress,
    /// Whether it was interrupted; the same command goes on.
    pub interrupted: bool,
}
