//! How a search goes.

/// How texts are searched for; the default is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchOptions {
    /// Hypotheses kept at each step, 1 to 16; 1 is greedy.
    pub beam: usize,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { beam: 1 }
    }
}

impl SearchOptions {
    /// A beam, and the default of everything else.
    pub fn beam(beam: usize) -> Self {
        Self { beam }
    }
}
