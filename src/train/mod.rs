//! Training: the step on the device, the loop over data, checkpoints and exact resumption.

mod checkpoint;
mod event;
mod folder;
mod monitor;
mod optimizer;
mod options;
mod run;
mod schedule;
mod trainer;
mod validation;

pub use checkpoint::Progress;
pub use event::{Event, Outcome};
pub use monitor::Reading;
pub use optimizer::{Optimizer, State};
pub use options::{Budget, Data, TrainOptions};
pub use run::train;
pub use schedule::{Decay, Schedule};
pub use trainer::{Part, Trainer};
