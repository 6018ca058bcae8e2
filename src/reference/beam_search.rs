//! One selection step of beam search: Graves, "Sequence Transduction with Recurrent Neural Networks" (2012), section
//! 2.5, in the form that neural machine translation uses (Sutskever et al. 2014, section 3.2).

use super::expect_shape;
use super::softmax::log_sum_exp;

/// `<pad>`: how a finished hypothesis goes on.
const PADDING: u32 = 0;
/// `<eos>`: finishes a hypothesis.
const END: u32 = 2;
/// Classes below this, `<pad>` and `<bos>`, are never chosen for a hypothesis that is not finished.
const FIRST_CHOICE: u32 = 2;
/// A score below this marks a hypothesis that is absent, as all but one are before the first step. It is a number and
/// not -infinity because kernels avoid infinities.
const ABSENT: f64 = -1e29;

/// Keeps, of every sentence, the best `beam` continuations of its `beam` hypotheses.
///
/// A hypothesis is extended by `log_softmax(logits)`, over all classes; a finished one has exactly one continuation,
/// itself with `<pad>` and an unchanged score. An absent one has the continuations of its kind, all at its own score:
/// they come last, and fill the beam only when nothing else is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeamStep {
    /// Sentences.
    pub sentences: usize,
    /// Hypotheses per sentence, before and after.
    pub beam: usize,
    /// Classes, at least 3.
    pub classes: usize,
}

/// One hypothesis after the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Selection {
    /// The hypothesis that it extends, `0..beam` within the sentence.
    pub parent: u32,
    /// The token that it is extended by.
    pub token: u32,
    /// The logarithm of its probability.
    pub score: f64,
    /// Whether it has ended.
    pub finished: bool,
}

impl BeamStep {
    /// `[sentences * beam]` hypotheses, the best of each sentence first, from logits `[sentences * beam, classes]`,
    /// scores `[sentences * beam]` and finished `[sentences * beam]`. Of equal scores the smaller (parent, token) wins.
    pub fn select(&self, logits: &[f64], scores: &[f64], finished: &[bool]) -> Vec<Selection> {
        assert!(self.classes > END as usize, "there are {} classes, and no <eos> among them", self.classes);
        expect_shape("logits", logits, &[self.sentences, self.beam, self.classes]);
        expect_shape("scores", scores, &[self.sentences, self.beam]);
        expect_shape("finished", finished, &[self.sentences, self.beam]);
        let mut selections = Vec::with_capacity(self.sentences * self.beam);
        for sentence in 0..self.sentences {
            let mut candidates = Vec::new();
            for parent in 0..self.beam {
                let row = sentence * self.beam + parent;
                let (parent, score) = (parent as u32, scores[row]);
                if finished[row] {
                    candidates.push(Selection { parent, token: PADDING, score, finished: true });
                    continue;
                }
                let logits = &logits[row * self.classes..][..self.classes];
                let denominator = log_sum_exp(logits);
                for token in FIRST_CHOICE..self.classes as u32 {
                    let extended = score + (logits[token as usize] - denominator);
                    let score = if score < ABSENT { score } else { extended };
                    candidates.push(Selection { parent, token, score, finished: token == END });
                }
            }
            // The sort is stable and candidates stand in the order of (parent, token): that settles equal scores.
            candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
            selections.extend_from_slice(&candidates[..self.beam]);
        }
        selections
    }
}
