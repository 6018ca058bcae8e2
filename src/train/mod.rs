//! Training: the step on the device, the loop over data, checkpoints and exact resumption.

mod checkpoint;
mod monitor;
mod optimizer;
mod options;
mod run;
mod schedule;
mod trainer;

pub use checkpoint::Progress;
pub use monitor::Reading;
pub use optimizer::{Optimizer, State};
pub use options::{Budget, Data, TrainOptions};
pub use run::{Event, Outcome, train};
pub use schedule::{Decay, Schedule};
pub use trainer::Trainer;
