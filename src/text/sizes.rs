//! How large the built-in tasks are.

/// How many pairs a task gives to learn from.
pub const TRAIN_PAIRS: usize = 60_000;

/// How many pairs a task gives to check with; none of their sources occurs among those to learn from.
pub const VALID_PAIRS: usize = 1_000;
