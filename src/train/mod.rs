//! Training: the step on the device, the loop over data, checkpoints and exact resumption. Feature `train`.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

mod agreement;
mod bounded;
mod budget;
mod checkpoint;
mod corpus;
mod curves;
mod data;
mod distillation;
mod dropped;
mod event;
mod events;
mod examples;
mod folder;
mod groups;
mod history;
mod kept;
mod lock;
mod masked;
mod metric;
mod metrics;
mod monitor;
mod objective;
mod optimizer;
mod options;
mod pace;
mod pairs;
mod panels;
mod plain;
mod precision;
mod preset;
#[cfg(feature = "mpi")]
mod ranks;
mod rate;
mod run;
mod same;
mod schedule;
mod session;
mod settings;
mod student;
mod summation;
mod teachers;
mod team;
mod trainer;
mod validated;
mod validation;

pub use budget::Budget;
pub use checkpoint::Progress;
pub use distillation::Distillation;
pub use event::{Event, Outcome};
pub use folder::{Destination, PAGE};
pub use groups::Group;
pub use history::History;
pub use kept::{BEST, Kept};
pub use metric::{Metric, Place};

pub use data::Data;
pub use monitor::Reading;
pub use objective::{Objective, TrainingGraph};
pub use optimizer::{Optimizer, State};
pub use options::{GuidedAlignment, TrainOptions};
pub use pairs::Pairs;
pub use panels::{Line, Panel, panels};
pub use precision::Precision;
pub use preset::Preset;
#[cfg(feature = "mpi")]
pub use ranks::Mpi;
pub use rate::Rate;
pub use run::{train, train_among};
pub use schedule::{Decay, Schedule};
pub use session::Session;
pub use summation::Traffic;
pub use teachers::Teachers;
pub use trainer::{Part, Trainer};
pub use validated::Validated;
