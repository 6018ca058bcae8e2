//! Tokens that stand for no word.

/// The ids of the tokens that loss and search know of: settings of their kernels, which a model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specials {
    /// Fills what is shorter than its batch; no target, and never chosen.
    pub pad: u32,
    /// What a target begins with; never chosen.
    pub bos: u32,
    /// What ends a text.
    pub eos: u32,
    /// Stands for what the vocabulary lacks.
    pub unk: u32,
}

impl Specials {
    /// The ids of this crate's tokenizers: 0 to 3.
    pub const FIRST: Self = Self { pad: 0, bos: 1, eos: 2, unk: 3 };
}

impl Default for Specials {
    fn default() -> Self {
        Self::FIRST
    }
}
