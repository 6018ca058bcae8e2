//! The length of a run.

use serde::{Deserialize, Serialize};

use super::{Data, Progress};
use crate::{Error, Result, names::setting};

/// When a run ends: at the first of these that is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Passes over the data.
    pub epochs: Option<u64>,
    /// Steps.
    pub steps: Option<u64>,
    /// Minutes of training, validation included, over all sessions of the run.
    pub minutes: Option<f64>,
    /// Validations in a row that are no improvement.
    pub patience: Option<u64>,
}

impl Budget {
    /// The same; where it has no limit, a number of epochs that does for such data: 3 of a built-in task, 10 of others.
    pub fn or_epochs_for(self, data: &Data) -> Self {
        let epochs = if matches!(data, Data::Task(_)) { 3 } else { 10 };
        if self == Self::default() { Self { epochs: Some(epochs), ..self } } else { self }
    }

    /// Checks that the limits are numbers that can be reached.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub fn check(&self) -> Result<()> {
        if self.patience == Some(0) {
            return Err(Error::data(setting("patience"), "must be at least 1"));
        }
        match self.minutes.filter(|minutes| !(minutes.is_finite() && *minutes >= 0.0)) {
            Some(minutes) => Err(Error::data(setting("minutes"), format!("{minutes} is not a length of time"))),
            None => Ok(()),
        }
    }

    /// The most steps that a run may take, as far as its limits say.
    pub(super) fn length(&self, epoch_steps: u64) -> Option<u64> {
        let by_epochs = self.epochs.map(|epochs| epochs.saturating_mul(epoch_steps));
        self.steps.into_iter().chain(by_epochs).min()
    }

    /// The limits, by their names, that a run that is this far has come to.
    pub(super) fn reached(&self, progress: &Progress) -> Vec<&'static str> {
        let limits = [
            ("epochs", self.epochs.is_some_and(|epochs| progress.epoch >= epochs)),
            ("steps", self.steps.is_some_and(|steps| progress.step >= steps)),
            ("minutes", self.minutes.is_some_and(|minutes| progress.seconds >= minutes * 60.0)),
            ("patience", self.patience.is_some_and(|patience| progress.unimproved >= patience)),
        ];
        limits.into_iter().filter(|(_, reached)| *reached).map(|(name, _)| name).collect()
    }
}
