//! What a search chooses from, where that is not the logits of one model as they are.

use super::{END, NOTHING, log_probabilities};

/// The logarithm of the mean of the members' probabilities, and [`NOTHING`] for what is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjust {
    /// Classes.
    pub classes: usize,
    /// The fewest tokens before `<eos>`.
    pub shortest: usize,
    /// The length of n-grams that are not repeated; 0 blocks none.
    pub ngram: usize,
    /// A token that no text takes.
    pub forbidden: Option<u32>,
}

impl Adjust {
    /// `[classes]` for one hypothesis: from what each member says, its text so far, and the token that its prefix demands.
    pub fn forward(&self, logits: &[&[f64]], text: &[u32], forced: Option<u32>) -> Vec<f64> {
        let members: Vec<_> = logits.iter().map(|logits| log_probabilities(logits, false)).collect();
        let mut adjusted: Vec<f64> = (0..self.classes)
            .map(|class| {
                let largest = members.iter().map(|member| member[class]).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = members.iter().map(|member| (member[class] - largest).exp()).sum();
                largest + (sum / members.len() as f64).ln()
            })
            .collect();
        if let Some(forced) = forced {
            let blocked = |class: usize| class != forced as usize;
            adjusted.iter_mut().enumerate().filter(|(class, _)| blocked(*class)).for_each(|(_, x)| *x = NOTHING);
            return adjusted;
        }
        if text.len() < self.shortest {
            adjusted[END as usize] = NOTHING;
        }
        if let Some(forbidden) = self.forbidden {
            adjusted[forbidden as usize] = NOTHING;
        }
        if self.ngram > 0 && text.len() >= self.ngram {
            let last = &text[text.len() + 1 - self.ngram..];
            for window in text.windows(self.ngram).filter(|window| window.starts_with(last)) {
                adjusted[window[self.ngram - 1] as usize] = NOTHING;
            }
        }
        adjusted
    }
}
