//! Selection steps of a search. Beam search: Graves, "Sequence Transduction with Recurrent Neural Networks" (2012), section
//! 2.5, in the form that neural machine translation uses (Sutskever et al. 2014, section 3.2), with the length penalty of Wu
//! et al. (2016), section 7.

mod adjust;
mod attend;
mod sample;

pub use adjust::Adjust;
pub use attend::Attend;
pub use sample::{Sample, gumbel};

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
/// Such a score, and the log-probability of what is blocked.
pub const NOTHING: f64 = -1e30;

/// The texts `[rows][length]` that begin with `bos` and go on with the tokens `[capacity, rows]` of each step, a row at a step continuing
/// that row of the step before which `parents` `[capacity, rows]` names.
pub fn texts(tokens: &[u32], parents: &[u32], rows: usize, length: usize, bos: u32) -> Vec<Vec<u32>> {
    let of_row = |row: usize| {
        let (mut text, mut from) = (Vec::new(), row);
        for step in (0..length - 1).rev() {
            text.push(tokens[step * rows + from]);
            from = parents[step * rows + from] as usize;
        }
        text.push(bos);
        text.reverse();
        text
    };
    (0..rows).map(of_row).collect()
}

/// Keeps, of every sentence, the best `beam` continuations of its `beam` hypotheses that do not end.
///
/// A hypothesis is extended by `log_softmax(logits)`, over all classes. Continuations that end, and are among the best
/// `beam` of all, compete with the texts that ended before by what they are worth; `beam` texts are kept. The last step
/// ends every continuation. A sentence is done when no hypothesis can end better than the `asked` best of its texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamStep {
    /// Sentences.
    pub sentences: usize,
    /// Hypotheses per sentence, before and after.
    pub beam: usize,
    /// Classes, at least 3.
    pub classes: usize,
    /// The number of steps after which all is ended.
    pub capacity: usize,
    /// Alpha of the length penalty.
    pub length_penalty: f64,
    /// Texts that are asked for.
    pub asked: usize,
    /// Whether logits are log-probabilities already.
    pub normalised: bool,
}

/// A text that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// What it is worth: its log-probability over the length penalty, plus the coverage penalty.
    pub score: f64,
    /// The step that ended it.
    pub step: usize,
    /// The hypothesis, `0..beam` within the sentence, that the step ended.
    pub parent: u32,
    /// The token that it ended with.
    pub token: u32,
}

/// What a search holds between steps, hypotheses counted over all sentences, the best of each first.
#[derive(Clone, Debug, PartialEq)]
pub struct BeamState {
    /// Log-probabilities.
    pub scores: Vec<f64>,
    /// Whether a sentence is done, or its length 0.
    pub done: Vec<bool>,
    /// The coverage penalty of each hypothesis.
    pub penalties: Vec<f64>,
    /// The texts of each sentence that have ended, at most `beam`, the best first.
    pub ended: Vec<Vec<Ended>>,
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
}

/// lp(Y) of Wu et al. (2016), section 7, equation 14, for a text of `length` tokens, its end included.
pub fn length_penalty(alpha: f64, length: usize) -> f64 {
    ((5.0 + length as f64) / 6.0).powf(alpha)
}

/// The log-probabilities of a row of logits.
fn log_probabilities(logits: &[f64], normalised: bool) -> Vec<f64> {
    let denominator = if normalised { 0.0 } else { log_sum_exp(logits) };
    logits.iter().map(|logit| logit - denominator).collect()
}

/// The log-probability that a row of logits gives a token.
pub fn log_probability(logits: &[f64], token: u32, normalised: bool) -> f64 {
    log_probabilities(logits, normalised)[token as usize]
}

/// The likeliest token of a row, of equal ones the smallest, and its log-probability: a step of greedy search.
pub fn greedy(logits: &[f64], normalised: bool) -> (u32, f64) {
    let gains = log_probabilities(logits, normalised);
    let best = (FIRST_CHOICE as usize..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a });
    best.map_or((END, NOTHING), |best| (best as u32, gains[best]))
}

impl BeamStep {
    /// One empty hypothesis in each sentence.
    pub fn start(&self) -> BeamState {
        let rows = self.sentences * self.beam;
        BeamState {
            scores: (0..rows).map(|row| if row % self.beam == 0 { 0.0 } else { NOTHING }).collect(),
            done: vec![false; self.sentences],
            penalties: vec![0.0; rows],
            ended: vec![Vec::new(); self.sentences],
        }
    }

    /// Everything that a step can make of a sentence's hypotheses, from logits `[beam, classes]` and scores `[beam]`, the
    /// best first; of equal scores the smaller (parent, token). Absent hypotheses and blocked tokens make nothing.
    pub fn candidates(&self, logits: &[f64], scores: &[f64]) -> Vec<Selection> {
        let mut candidates = Vec::new();
        for (parent, (logits, score)) in logits.chunks(self.classes).zip(scores).enumerate() {
            if *score < ABSENT {
                continue;
            }
            let gains = log_probabilities(logits, self.normalised);
            for token in FIRST_CHOICE..self.classes as u32 {
                let score = score + gains[token as usize];
                if score >= ABSENT {
                    candidates.push(Selection { parent: parent as u32, token, score });
                }
            }
        }
        // The sort is stable and candidates stand in the order of (parent, token): that settles equal scores.
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates
    }

    /// The `[sentences * beam]` hypotheses after step `step` (from 0), from logits `[sentences * beam, classes]`; `state`
    /// becomes what there is after it. Hypotheses that are absent extend themselves by padding. A sentence that is done
    /// has none.
    pub fn select(&self, logits: &[f64], step: usize, state: &mut BeamState) -> Vec<Vec<Selection>> {
        assert!(self.classes > END as usize, "there are {} classes, and no <eos> among them", self.classes);
        expect_shape("logits", logits, &[self.sentences, self.beam, self.classes]);
        let mut selections = Vec::with_capacity(self.sentences);
        for sentence in 0..self.sentences {
            if state.done[sentence] {
                selections.push(Vec::new());
                continue;
            }
            let rows = sentence * self.beam..(sentence + 1) * self.beam;
            let last = step + 1 == self.capacity;
            let logits = &logits[rows.start * self.classes..rows.end * self.classes];
            let candidates = self.candidates(logits, &state.scores[rows.clone()]);
            let ended = &mut state.ended[sentence];
            for candidate in candidates.iter().take(self.beam).filter(|candidate| candidate.token == END || last) {
                let penalty = state.penalties[rows.start + candidate.parent as usize];
                let score = candidate.score / length_penalty(self.length_penalty, step + 1) + penalty;
                ended.push(Ended { score, step, parent: candidate.parent, token: candidate.token });
            }
            ended.sort_by(|a, b| b.score.total_cmp(&a.score));
            ended.truncate(self.beam);
            let open = candidates.into_iter().filter(|candidate| candidate.token != END);
            let mut open: Vec<_> = open.take(self.beam).collect();
            let reachable = open.first().map(|best| best.score / length_penalty(self.length_penalty, self.capacity));
            state.done[sentence] = last
                || reachable
                    .is_none_or(|reachable| ended.get(self.asked - 1).is_some_and(|asked| asked.score >= reachable));
            for parent in open.len() as u32..self.beam as u32 {
                open.push(Selection { parent, token: PADDING, score: NOTHING });
            }
            state.scores[rows].iter_mut().zip(&open).for_each(|(score, selection)| *score = selection.score);
            selections.push(open);
        }
        selections
    }
}
