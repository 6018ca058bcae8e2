//! Benchmarks of every kernel against the adapter's ceilings, as `softalign bench` runs them, for programs that embed the
//! crate too. Feature `cli`.
//!
//! [`Ceilings::measure`] reads the adapter's own limits with microkernels. A [`Workload`] is measured by [`Workload::measure`],
//! which first compares the very output that it is going to time with the CPU reference: a wrong output gives a row that says
//! so, and has no time. [`workloads`] lists those with names, for which other systems' figures are known.

mod ceilings;
mod compare;
mod default_model;
mod measure;
mod memory;
mod plan;
mod plot;
mod problem;
mod profile;
mod ranks;
mod report;
mod sample;
mod workload;
mod workloads;

pub use ceilings::{Ceilings, Drift, timed_apart};
pub use compare::Comparison;
pub use default_model::ModelSize;
pub use measure::{Clock, Timing};
pub use memory::TrainingMemory;
pub use plan::{Link, RankPlan, RankStep};
pub use profile::{KernelProfile, TrainingProfile};
pub use ranks::RankFigures;
pub use report::{Bound, Report, Row};
pub use workload::{Check, Subject, Work, Workload};
pub use workloads::{first_step, first_steps, workloads};
