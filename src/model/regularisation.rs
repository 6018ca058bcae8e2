//! Regularisation of training. None of it is part of a model: the model's folder does not store it.

use crate::{Error, Result, names::setting};

/// Rates and weights of a training step, beside the model's own dropout. A rate or weight of 0 costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularisation {
    /// The share of the target distribution that is spread evenly over all words or classes (Szegedy et al. 2016, section 7).
    pub label_smoothing: f32,
    /// The share of a state's elements that are 0 where they enter the recurrent products and the attention's query, at all
    /// steps of a sentence the same ones ([`crate::kernels::gru::Masking`]).
    pub dropout_state: f32,
    /// The probability that all of an embedded word, source or target, is 0: dropout of words as in Nematus and Marian.
    pub dropout_words: f32,
    /// Whether the model's own dropout draws one mask for all steps of a sentence (Gal and Ghahramani 2016, section 4).
    pub variational: bool,
    /// The weight of the loss of guided alignment ([`crate::kernels::alignment_loss`]).
    pub guided_alignment: f32,
    /// The weight of the coverage loss ([`crate::kernels::coverage_loss`]).
    pub coverage: f32,
}

impl Regularisation {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub fn check(&self) -> Result<()> {
        for (option, rate) in [
            ("label_smoothing", self.label_smoothing),
            ("dropout_state", self.dropout_state),
            ("dropout_words", self.dropout_words),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return Err(Error::data(setting(option), format!("{rate} is not from 0 to less than 1")));
            }
        }
        for (option, weight) in [("guided_alignment_weight", self.guided_alignment), ("coverage_weight", self.coverage)]
        {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Error::data(setting(option), format!("{weight} is not a number from 0 on")));
            }
        }
        Ok(())
    }
}
