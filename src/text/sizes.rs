//! Sizes of the built-in tasks.

/// The number of training pairs of a task.
pub const TRAIN_PAIRS: usize = 60_000;

/// The number of validation pairs of a task; none of their sources occurs among the training pairs.
pub const VALID_PAIRS: usize = 1_000;
