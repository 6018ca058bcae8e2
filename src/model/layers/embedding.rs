//! Tables of embedded words.

use crate::model::{Initial, Parameter};

/// A table of embedded words.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[V, E]`
    pub weight: Parameter,
}

impl Embedding {
    /// A table for `vocabulary` words.
    pub fn new(name: &str, vocabulary: usize, size: usize) -> Self {
        Self { weight: Parameter::new(format!("{name}.weight"), [vocabulary, size], Initial::Normal(1.0)) }
    }

    /// A table that is an output layer's weight too, under the name `output` there (Press and Wolf 2017, section 3): drawn as
    /// such, for a normal one would give logits in the tens.
    pub fn tied(name: &str, vocabulary: usize, size: usize, output: &str) -> Self {
        let Self { weight } = Self::new(name, vocabulary, size);
        let aliases = vec![format!("{output}.weight")];
        Self { weight: Parameter { initial: Initial::of_inputs(size), aliases, ..weight } }
    }
}
