//! Checks of [`crate::kernels::beam_search`]. A search has no gradient: its forward row checks the first step, its backward
//! row, if one may call it so, that several steps in a row lead where the reference leads.

use super::{Case, Check, Direction, widen};
use crate::{
    Result, Tensor,
    gpu::Dtype,
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed},
        matmul::Matrix,
    },
    reference::beam_search::{BeamStep, Selection},
};

/// Scores are sums of up to five logarithms of sums of up to 300 exponentials, relative to the largest. A row that chose
/// otherwise than the reference errs by what the choice is worse, and infinitely if a tie was resolved otherwise.
const TOLERANCE: f64 = 2e-6;

pub(super) const CHECKS: &[Check] = &[
    Check { kernel: "beam_search", direction: Direction::Forward, tolerance: TOLERANCE, run: one },
    Check { kernel: "beam_search", direction: Direction::Backward, tolerance: TOLERANCE, run: several },
];

fn one(case: &mut Case<'_>) -> Result<f64> {
    search(case, 1)
}

fn several(case: &mut Case<'_>) -> Result<f64> {
    search(case, 5)
}

fn search(case: &mut Case<'_>, steps: usize) -> Result<f64> {
    let beam = [1, 1, 2, 3, 5, 16][case.below(6)];
    let search = BeamSearch { sentences: case.size(9), beam, classes: 2 + case.size(298), capacity: steps };
    let state = BeamState::new(case.gpu, &search)?;
    let scratch = case.poisoned([search.scratch()])?;
    let fed = Fed::new(case, &search)?;
    let feed = fed.feed();
    let lengths = case.gpu.tensor("lengths", [search.sentences], Dtype::U32, &vec![1_u32; search.sentences])?;
    case.run(|recorder| search.record_start(recorder, &state, &lengths, &fed.state0, &feed))?;
    let sentences: Vec<u32> = (0..search.rows()).map(|row| (row / beam) as u32).collect();
    if !fed.follows(case, &vec![1; search.rows()], |states| rows_of(&fed.first, &sentences, fed.hidden) == states[0])? {
        return Ok(f64::INFINITY);
    }
    let step = BeamStep { sentences: search.sentences, beam, classes: search.classes };
    let mut scores: Vec<f64> = (0..search.rows()).map(|row| if row % beam == 0 { 0.0 } else { -1e30 }).collect();
    let mut finished = vec![false; search.rows()];
    let mut worst = 0.0_f64;
    for number in 0..steps {
        // A quarter of the logits repeat the one before them: ties inside a row, where they are exact in any arithmetic.
        let mut logits = case.values(search.rows() * search.classes, 3.0);
        for i in 1..logits.len() {
            if case.below(4) == 0 {
                logits[i] = logits[i - 1];
            }
        }
        let logits_gpu = case.upload([search.rows(), search.classes], &logits)?;
        // Two steps to a count, and one where their number is odd.
        let (uncounted, last) = (number % 2, number + 1 == steps);
        let after = search.rows() * fed.hidden;
        let next = fed.next_states(case)?;
        case.run(|recorder| {
            search.record(recorder, &logits_gpu, &state, &scratch, uncounted, &feed, after)?;
            if uncounted == 1 || last { search.record_count(recorder, &state, uncounted + 1) } else { Ok(()) }
        })?;
        let expected = step.select(&widen(&logits), &scores, &finished);
        let found_scores: Vec<f32> = case.gpu.read(&state.scores)?;
        let tokens: Vec<u32> = case.gpu.read(&state.tokens)?;
        let parents: Vec<u32> = case.gpu.read(&state.parents)?;
        let ended: Vec<u32> = case.gpu.read(&state.finished)?;
        let history_tokens: Vec<u32> = case.gpu.read(&state.history_tokens)?;
        let history_parents: Vec<u32> = case.gpu.read(&state.history_parents)?;
        let rows = search.rows();
        let kept = number * rows..(number + 1) * rows;
        let is_counted = uncounted == 1 || last;
        let counted = case.gpu.read::<u32>(&state.counter)? == [if is_counted { number + 1 } else { number } as u32];
        let all_finished = case.gpu.read::<u32>(&state.all_finished)? == [ended.iter().copied().min().unwrap_or(1)];
        let recorded = history_tokens[kept.clone()] == tokens && history_parents[kept] == parents;
        let follows = fed.follows(case, &tokens, |states| {
            beam == 1 || rows_of(&next, &parents, fed.hidden) == states[0] && next == states[1]
        })?;
        if !(counted && (all_finished || !is_counted) && recorded && follows) {
            return Ok(f64::INFINITY);
        }
        let largest = expected.iter().map(|e| e.score.abs()).filter(|s| *s < 1e29).fold(1.0, f64::max);
        for (row, Selection { parent, token, score, .. }) in expected.iter().enumerate() {
            let first = (row / beam * beam) as u32;
            let chosen = (parents[row], tokens[row]);
            let sentence = row / beam * beam..(row / beam + 1) * beam;
            let repeated = (sentence.start..row).any(|other| (parents[other], tokens[other]) == chosen);
            let has_ended = matches!(chosen.1, 0 | 2);
            if repeated || !sentence.contains(&(parents[row] as usize)) || (ended[row] == 1) != has_ended {
                return Ok(f64::INFINITY);
            }
            if chosen != (first + parent, *token) {
                // Scores that f32 cannot tell apart may change places; equal ones may not.
                let worth = worth(&search, &logits, &scores, &finished, chosen);
                if worth == *score {
                    return Ok(f64::INFINITY);
                }
                worst = worst.max((worth - score).abs() / largest.max(score.abs()));
            }
            worst = worst.max((f64::from(found_scores[row]) - score).abs() / largest.max(score.abs()));
        }
        // From the device's scores, so that rounding does not add up to another choice.
        scores = widen(&found_scores);
        finished = ended.iter().map(|ended| *ended == 1).collect();
    }
    Ok(worst)
}

/// What a search feeds to the next step, and the tables that it comes from.
struct Fed {
    word: usize,
    hidden: usize,
    words: Vec<f32>,
    gates: Option<Vec<f32>>,
    first: Vec<f32>,
    words_gpu: Tensor,
    gates_gpu: Option<(Tensor, Tensor)>,
    /// `[R, 2 + E]`: words have rows of another length.
    word_rows: Tensor,
    state0: Tensor,
    states: Tensor,
}

impl Fed {
    fn new(case: &mut Case<'_>, search: &BeamSearch) -> Result<Self> {
        let (word, hidden) = (case.size(9), case.size(9));
        let (rows, classes) = (search.rows(), search.classes);
        let words = case.values(classes * word, 1.0);
        let first = case.values(search.sentences * hidden, 1.0);
        let gates = if case.below(2) == 0 { None } else { Some(case.values(classes * 3 * hidden, 1.0)) };
        let gates_gpu = match &gates {
            Some(gates) => Some((case.upload([classes, 3 * hidden], gates)?, case.poisoned([rows, 3 * hidden])?)),
            None => None,
        };
        Ok(Self {
            words_gpu: case.upload([classes, word], &words)?,
            state0: case.upload([search.sentences, hidden], &first)?,
            word_rows: case.poisoned([rows, 4 + word])?,
            states: case.poisoned([2, rows, hidden])?,
            word,
            hidden,
            words,
            gates,
            first,
            gates_gpu,
        })
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: self.word,
            words: &self.words_gpu,
            word_rows: Matrix::rows(&self.word_rows).offset(4),
            gates: self.gates_gpu.as_ref().map(|(table, rows)| (table, rows)),
            hidden: self.hidden,
            states: &self.states,
        }
    }

    /// Fills the second states with new values, as the step of a model does.
    fn next_states(&self, case: &mut Case<'_>) -> Result<Vec<f32>> {
        let elements = self.states.elements() / 2;
        let next = case.values(elements, 1.0);
        let mut both: Vec<f32> = case.gpu.read(&self.states)?;
        both[elements..].copy_from_slice(&next);
        case.gpu.write(&self.states, &both)?;
        Ok(next)
    }

    /// Whether the words and gates of `tokens` are where they should be, and the states are what `states` wants.
    fn follows(&self, case: &Case<'_>, tokens: &[u32], states: impl FnOnce([&[f32]; 2]) -> bool) -> Result<bool> {
        let found: Vec<f32> = case.gpu.read(&self.word_rows)?;
        let found: Vec<f32> = found.chunks(4 + self.word).flat_map(|row| &row[4..]).copied().collect();
        let gates = match (&self.gates, &self.gates_gpu) {
            (Some(gates), Some((_, rows))) => case.gpu.read::<f32>(rows)? == rows_of(gates, tokens, 3 * self.hidden),
            _ => true,
        };
        let both: Vec<f32> = case.gpu.read(&self.states)?;
        Ok(found == rows_of(&self.words, tokens, self.word) && gates && states(both.split_at(both.len() / 2).into()))
    }
}

fn rows_of(table: &[f32], rows: &[u32], size: usize) -> Vec<f32> {
    rows.iter().flat_map(|row| &table[*row as usize * size..][..size]).copied().collect()
}

/// The score of the continuation of row `parent` by `token`.
fn worth(search: &BeamSearch, logits: &[f32], scores: &[f64], finished: &[bool], (parent, token): (u32, u32)) -> f64 {
    let (parent, token) = (parent as usize, token as usize);
    let score = scores[parent];
    if finished[parent] || score < -1e29 {
        return score;
    }
    if !(2..search.classes).contains(&token) {
        return f64::NEG_INFINITY;
    }
    let logits = widen(&logits[parent * search.classes..][..search.classes]);
    let maximum = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let denominator = maximum + logits.iter().map(|x| (x - maximum).exp()).sum::<f64>().ln();
    score + (logits[token] - denominator)
}
