//! How a new model of an architecture learns pairs, where neither the run nor its data say otherwise.

/// A batch, sizes and the kind of a schedule with which an architecture learns pairs well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Whether its layers go from step to step. Those of others begin to learn at a small rate, from which they would not recover at a
    /// large one (Vaswani et al. 2017, section 5.3).
    pub recurrent: bool,
    /// Rows of a batch.
    pub batch: usize,
    /// Layers on each side.
    pub layers: usize,
    /// Elements of a state, for each of those that the data propose.
    pub width: usize,
}

impl Habits {
    /// Those of layers that go from step to step.
    pub const RECURRENT: Self = Self { recurrent: true, batch: 128, layers: 1, width: 1 };
    /// Those of layers that take all steps at once.
    pub const PARALLEL: Self = Self { recurrent: false, batch: 64, layers: 1, width: 1 };
}
