//! What a run tells whoever shows it, and how it ends.

use super::{Progress, Reading, Validated};
use crate::text::Pair;

/// What happens in a run, for whoever shows it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The data is read and the model made or restored.
    Started {
        /// Pairs to learn from.
        train: usize,
        /// Pairs to check with.
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
        reading: Reading,
        /// Target tokens per second in this session.
        tokens_per_second: f64,
        /// Steps of the whole run, by the budget and the speed so far.
        total: Option<u64>,
    },
    /// A validation.
    Validated {
        /// Steps done.
        step: u64,
        /// What it found.
        found: Validated,
        /// A few sources with what the model made of them, and the reference.
        samples: &'a [(Pair, String)],
        /// Whether it is the best so far: then the model folder holds it.
        best: bool,
    },
    /// At the end of a run that keeps its best models: their average was validated too.
    Averaged {
        /// How many models it is the average of.
        models: usize,
        /// What the validation found.
        found: Validated,
        /// Whether it is better than every one of them: then the model folder holds it.
        best: bool,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// How far it is.
    pub progress: Progress,
    /// Whether it was interrupted; the same command goes on.
    pub interrupted: bool,
}
