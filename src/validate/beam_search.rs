//! Checks of [`crate::kernels::beam_search`]. A search has no gradient: its forward row checks the first step, its backward
//! row, if one may call it so, that several steps in a row lead where the reference leads.

mod adjust;
mod attend;
mod fed;
mod sample;
mod texts;

use fed::Fed;

use super::{Case, KernelChecks, widen};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    kernels::{
        beam_search::{BeamSearch, BeamState, Rule, SearchStep},
        matmul::Matrix,
    },
    reference::beam_search as reference,
};

/// Scores are sums of up to five logarithms of sums of up to 300 exponentials, relative to the largest. A row that chose
/// otherwise than the reference errs by what the choice is worse, and infinitely if a tie was resolved otherwise.
const TOLERANCE: f64 = 2e-6;

pub(super) const KERNELS: &[KernelChecks] = &[
    KernelChecks { kernel: "beam_search", forward: one, backward: Some(several), f32: [TOLERANCE; 2], f16: None },
    KernelChecks {
        kernel: "beam_search_adjust",
        forward: adjust::adjust,
        backward: None,
        f32: [adjust::TOLERANCE; 2],
        f16: None,
    },
    KernelChecks {
        kernel: "beam_search_attend",
        forward: attend::attend,
        backward: None,
        f32: [attend::TOLERANCE; 2],
        f16: None,
    },
    KernelChecks {
        kernel: "beam_search_sample",
        forward: sample::sample,
        backward: None,
        f32: [sample::TOLERANCE; 2],
        f16: None,
    },
    KernelChecks { kernel: "beam_search_texts", forward: texts::texts, backward: None, f32: [0.0; 2], f16: None },
];

/// A score below this is that of an absent hypothesis, and a logit that of a blocked token.
const ABSENT: f64 = -1e29;

fn one(case: &mut Case<'_>) -> Result<f64> {
    search(case, 1)
}

fn several(case: &mut Case<'_>) -> Result<f64> {
    search(case, 5)
}

fn search(case: &mut Case<'_>, steps: usize) -> Result<f64> {
    let beam = [1, 1, 2, 3, 5, 16, 17, 64][case.below(8)];
    let length_penalty = [0.0, 0.0, 0.6, 2.0][case.below(4)];
    let search = BeamSearch {
        sentences: case.size(9),
        beam,
        classes: 2 + case.size(298),
        // The last step ends what is left; half of the searches do not get there.
        capacity: steps + case.below(2),
        rule: Rule::Best { length_penalty, asked: 1 + case.below(beam) },
        normalised: case.coin(),
        positions: case.coin(),
        ..BeamSearch::default()
    };
    let mut run = Run::new(case, search)?;
    let mut worst = 0.0_f64;
    for number in 0..steps {
        worst = worst.max(run.step(case, number, number + 1 == steps)?);
        if !worst.is_finite() {
            break;
        }
    }
    Ok(worst)
}

/// Logits of `rows`, or log-probabilities of which some are blocked.
fn logits(case: &mut Case<'_>, search: &BeamSearch, rows: usize) -> Vec<f32> {
    let mut logits = case.values(rows * search.classes, 3.0);
    // A quarter repeat the one before them: ties inside a row, where they are exact in any arithmetic.
    for i in 1..logits.len() {
        if case.below(4) == 0 {
            logits[i] = logits[i - 1];
        }
    }
    if search.normalised {
        for row in logits.chunks_mut(search.classes) {
            let sum = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
            row.iter_mut().for_each(|x| *x = (f64::from(*x) - sum) as f32);
            for x in row.iter_mut().filter(|_| case.below(5) == 0) {
                *x = -1e30;
            }
        }
    }
    logits
}

/// A search on the device beside the reference.
struct Run {
    search: BeamSearch,
    state: BeamState,
    fed: Fed,
    /// Another member of an ensemble, that follows.
    second: Fed,
    reference: reference::BeamState,
    /// The device's state after the last step.
    before: Found,
}

/// The state of a search on the device.
#[derive(Clone, Default)]
struct Found {
    scores: Vec<f32>,
    finished: Vec<u32>,
    tokens: Vec<u32>,
    parents: Vec<u32>,
    ended_scores: Vec<f32>,
    ended: Vec<[u32; 3]>,
}

impl Found {
    fn read(gpu: &Gpu, state: &BeamState) -> Result<Self> {
        let words = |tensor| gpu.read::<u32>(tensor);
        let (steps, parents, tokens) =
            (words(&state.ended_steps)?, words(&state.ended_parents)?, words(&state.ended_tokens)?);
        Ok(Self {
            scores: gpu.read(&state.scores)?,
            finished: words(&state.finished)?,
            tokens: words(&state.tokens)?,
            parents: words(&state.parents)?,
            ended_scores: gpu.read(&state.ended_scores)?,
            ended: (0..steps.len()).map(|row| [steps[row], parents[row], tokens[row]]).collect(),
        })
    }

    /// Everything about one row but its finished flag.
    fn row(&self, row: usize) -> (u32, u32, u32, u32) {
        (self.scores[row].to_bits(), self.tokens[row], self.parents[row], self.ended_scores[row].to_bits())
    }
}

impl Run {
    fn new(case: &mut Case<'_>, search: BeamSearch) -> Result<Self> {
        let BeamSearch { sentences, beam, .. } = search;
        let state = BeamState::new(case.gpu, &search)?;
        let (fed, second) = (Fed::new(case, &search)?, Fed::new(case, &search)?);
        let lengths = case.gpu.tensor("lengths", [sentences], Dtype::U32, &vec![1_u32; sentences])?;
        for fed in [&fed, &second] {
            case.run(|recorder| search.record_start(recorder, &state, &lengths, Some(&fed.state0), &fed.feed()))?;
        }
        let rows: Vec<_> = (0..search.rows()).collect();
        let of_sentences: Vec<u32> = rows.iter().map(|row| (row / beam) as u32).collect();
        let started = fed.fed(case, &rows, &vec![1; rows.len()])? && fed.started(case, &of_sentences)?;
        let reference = step_of(&search).start();
        let mut before = Found::read(case.gpu, &state)?;
        if !started || widen(&before.scores).iter().zip(&reference.scores).any(|(a, b)| (a < &ABSENT) != (b < &ABSENT))
        {
            // Wrong from the start: a score that no step can make good.
            before.scores[0] = f32::NAN;
        }
        Ok(Self { search, state, fed, second, reference, before })
    }

    /// The worst error of step `number`. Two steps go to a count, and one where their number is odd.
    fn step(&mut self, case: &mut Case<'_>, number: usize, last: bool) -> Result<f64> {
        if self.before.scores[0].is_nan() {
            return Ok(f64::INFINITY);
        }
        let Self { search, state, fed, second, .. } = self;
        let rows = search.rows();
        let logits = logits(case, search, rows);
        let logits_gpu = case.upload([rows, search.classes], &logits)?;
        let scratch = case.poisoned([search.scratch()])?;
        let penalties: Vec<f32> = case.values(rows, 1.0).iter().map(|value| -value.abs()).collect();
        case.gpu.write(&state.penalties, &penalties)?;
        let nexts = [fed.next_states(case)?, second.next_states(case)?];
        let uncounted = number % 2;
        let counted = uncounted == 1 || last;
        case.run(|recorder| {
            let from = rows * fed.hidden;
            let step = SearchStep { logits: Matrix::rows(&logits_gpu), scratch: &scratch, number: uncounted, from };
            search.record(recorder, &step, state, &fed.feed())?;
            search.record_follow(recorder, state, &second.feed(), rows * second.hidden)?;
            if counted { search.record_count(recorder, state, uncounted + 1) } else { Ok(()) }
        })?;
        let found = Found::read(case.gpu, state)?;
        let logits = widen(&logits);
        let error = if search.beam == 1 {
            self.greedy(&found, &logits)
        } else {
            self.reference.penalties = widen(&penalties);
            self.beam(&found, &logits, number)
        };
        let kept = self.kept(case, &found, number, counted)? && self.follows(case, &found, &nexts)?;
        self.before = found;
        Ok(if kept { error } else { f64::INFINITY })
    }

    fn greedy(&mut self, found: &Found, logits: &[f64]) -> f64 {
        let mut worst = 0.0_f64;
        for (row, logits) in logits.chunks(self.search.classes).enumerate() {
            let score = f64::from(self.before.scores[row]);
            let (token, gain) = match self.before.finished[row] {
                0 => reference::greedy(logits, self.search.normalised),
                _ => (0, 0.0),
            };
            let ends = u32::from(token == 0 || token == 2);
            if (found.tokens[row], found.finished[row], found.parents[row]) != (token, ends, row as u32) {
                return f64::INFINITY;
            }
            worst = worst.max((f64::from(found.scores[row]) - score - gain).abs() / (score + gain).abs().max(1.0));
        }
        worst
    }

    /// The error of a step in which hypotheses compete; the reference continues from the device's state, so that rounding does
    /// not add up to another choice.
    fn beam(&mut self, found: &Found, logits: &[f64], number: usize) -> f64 {
        let BeamSearch { beam, .. } = self.search;
        let before = self.reference.clone();
        let expected = step_of(&self.search).select(logits, number, &mut self.reference);
        let mut worst = 0.0_f64;
        for (sentence, expected) in expected.iter().enumerate() {
            let rows = sentence * beam..(sentence + 1) * beam;
            let done = u32::from(self.reference.done[sentence]);
            if rows.clone().any(|row| found.finished[row] != done) {
                return f64::INFINITY;
            }
            if before.done[sentence] {
                if rows.clone().any(|row| found.row(row) != self.before.row(row)) {
                    return f64::INFINITY;
                }
                continue;
            }
            for (place, wanted) in expected.iter().enumerate() {
                worst = worst.max(self.open_error(found, logits, &before, rows.start + place, wanted));
            }
            worst = worst.max(self.ended_error(found, logits, &before, number, sentence));
            for row in rows {
                self.reference.scores[row] = f64::from(found.scores[row]);
            }
        }
        worst
    }

    fn open_error(
        &self,
        found: &Found,
        logits: &[f64],
        before: &reference::BeamState,
        row: usize,
        wanted: &reference::Selection,
    ) -> f64 {
        let BeamSearch { beam, classes, normalised, .. } = self.search;
        let first = row - row % beam;
        let (parent, token, score) = (found.parents[row] as usize, found.tokens[row], f64::from(found.scores[row]));
        if !(first..first + beam).contains(&parent) {
            return f64::INFINITY;
        }
        if wanted.score < ABSENT {
            return if score < ABSENT && token == 0 { 0.0 } else { f64::INFINITY };
        }
        let is_there = |token: u32| {
            (first..row).any(|other| (found.parents[other] as usize, found.tokens[other]) == (parent, token))
        };
        if is_there(token) || !(3..classes as u32).contains(&token) {
            return f64::INFINITY;
        }
        // Scores that f32 cannot tell apart may change places; equal ones may not, wherever they stand.
        let logits = &logits[parent * classes..][..classes];
        if (3..token).any(|other| logits[other as usize] == logits[token as usize] && !is_there(other)) {
            return f64::INFINITY;
        }
        let worth = before.scores[parent] + reference::log_probability(logits, token, normalised);
        (worth - wanted.score).abs().max((score - worth).abs()) / wanted.score.abs().max(1.0)
    }

    /// The error of a sentence's texts that have ended. Of candidates whose scores f32 cannot tell apart any may be the last
    /// that competes, and of texts any the last that is kept.
    fn ended_error(
        &mut self,
        found: &Found,
        logits: &[f64],
        before: &reference::BeamState,
        number: usize,
        sentence: usize,
    ) -> f64 {
        let step = step_of(&self.search);
        let BeamSearch { beam, classes, capacity, .. } = self.search;
        let rows = sentence * beam..(sentence + 1) * beam;
        let logits = &logits[rows.start * classes..rows.end * classes];
        let candidates = step.candidates(logits, &before.scores[rows.clone()]);
        let is_near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
        // The competitors are not certain where rounding may swap two candidates.
        let last = candidates.get(beam - 1).map_or(ABSENT, |last| last.score);
        let uncertain = candidates.get(beam).is_some_and(|next| is_near(next.score, last));
        let competes = |place: usize, score: f64| place < beam || is_near(score, last);
        let ending = candidates.iter().enumerate().filter(|(place, candidate)| {
            competes(*place, candidate.score) && (candidate.token == 2 || number + 1 == capacity)
        });
        let ending = ending.map(|(_, candidate)| {
            let penalty = before.penalties[rows.start + candidate.parent as usize];
            let score = candidate.score / reference::length_penalty(step.length_penalty, number + 1) + penalty;
            reference::Ended { score, step: number, parent: candidate.parent, token: candidate.token }
        });
        let possible: Vec<_> = before.ended[sentence].iter().copied().chain(ending).collect();
        let wanted = std::mem::take(&mut self.reference.ended[sentence]);
        let ended = &mut self.reference.ended[sentence];
        let mut worst = 0.0_f64;
        for row in rows.clone().filter(|row| f64::from(found.ended_scores[*row]) > ABSENT) {
            let ([step, parent, token], score) = (found.ended[row], f64::from(found.ended_scores[row]));
            let identity = (step as usize, parent.wrapping_sub(rows.start as u32), token);
            let same = |ended: &&reference::Ended| (ended.step, ended.parent, ended.token) == identity;
            let (Some(of_same), None) = (possible.iter().find(same), ended.iter().find(same)) else {
                return f64::INFINITY;
            };
            worst = worst.max((score - of_same.score).abs() / score.abs().max(1.0));
            ended.push(reference::Ended { score, ..*of_same });
        }
        let complete = ended.len() == wanted.len()
            && ended.iter().zip(&wanted).all(|(found, wanted)| is_near(wanted.score, found.score));
        if complete || uncertain { worst } else { f64::INFINITY }
    }

    /// Whether what a step keeps is there.
    fn kept(&self, case: &Case<'_>, found: &Found, number: usize, counted: bool) -> Result<bool> {
        let (gpu, state, rows) = (case.gpu, &self.state, self.search.rows());
        let (tokens, parents): (Vec<u32>, Vec<u32>) =
            (gpu.read(&state.history_tokens)?, gpu.read(&state.history_parents)?);
        let kept = self.open_rows().all(|row| {
            let at = number * rows + row;
            (tokens[at], parents[at]) == (found.tokens[row], found.parents[row])
        });
        let steps = gpu.read::<u32>(&state.counter)? == [if counted { number + 1 } else { number - number % 2 } as u32];
        let all_finished = gpu.read::<u32>(&state.all_finished)? == [found.finished.iter().copied().min().unwrap_or(1)];
        Ok(kept && steps && (all_finished || !counted))
    }

    /// Rows that the step worked on.
    fn open_rows(&self) -> impl Iterator<Item = usize> {
        (0..self.search.rows()).filter(|row| self.search.beam == 1 || self.before.finished[*row] == 0)
    }

    /// Whether both members are fed, and on the states of the parents.
    fn follows(&self, case: &Case<'_>, found: &Found, nexts: &[Vec<f32>; 2]) -> Result<bool> {
        let (open, all): (Vec<_>, Vec<_>) = (self.open_rows().collect(), (0..self.search.rows()).collect());
        let mut follows = true;
        for (fed, rows, next) in [(&self.fed, &open, &nexts[0]), (&self.second, &all, &nexts[1])] {
            follows &= fed.fed(case, rows, &found.tokens)?;
            follows &= fed.moved(case, if self.search.beam == 1 { &[] } else { rows }, &found.parents, next)?;
        }
        Ok(follows)
    }
}

fn step_of(search: &BeamSearch) -> reference::BeamStep {
    let (length_penalty, asked) = match search.rule {
        Rule::Best { length_penalty, asked } => (length_penalty.into(), asked),
        Rule::Sample(_) => (0.0, 1),
    };
    let BeamSearch { sentences, beam, classes, capacity, normalised, .. } = *search;
    reference::BeamStep { sentences, beam, classes, capacity, length_penalty, asked, normalised }
}
