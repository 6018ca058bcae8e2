//! The alignment in a search: coverage (Wu et al. 2016, section 7), and the position that each token attended to most.

use super::{BeamSearch, BeamState, NAME, single, words};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Shader, Tensor, grid},
    kernels::{
        expect::{expect, expect_setting},
        forms,
        library::shader,
    },
};

pub(in crate::kernels) static BEAM_SEARCH_ATTEND: Shader = shader!("beam_search/attend", single);

/// The coverage penalty of each hypothesis, `beta` times the sum over the source of `log(min(coverage, 1))`, a position's
/// coverage being the sum of its weights so far; and, where [`BeamSearch::positions`] are kept, the one of the greatest weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attend {
    /// The search.
    pub search: BeamSearch,
    /// Source steps, S, masked ones included.
    pub keys: usize,
    /// Models, whose weights' mean counts.
    pub members: usize,
    /// Beta, 0 or more.
    pub coverage_penalty: f32,
}

/// The tensors of an [`Attend`].
#[derive(Clone, Copy, Debug)]
pub struct Attended<'a> {
    /// `[members, sentences * beam, S]`, of the step.
    pub weights: &'a Tensor,
    /// Of the sources, u32 `[sentences]`.
    pub lengths: &'a Tensor,
    /// [`Attend::coverage`] elements, kept from step to step.
    pub coverage: &'a Tensor,
}

impl Attend {
    /// Operations and bytes of a step with full sources and no row finished.
    pub fn cost(&self) -> Cost {
        let elements = (self.search.rows() * self.keys) as f64;
        Cost {
            operations: elements * (self.members as f64 + 3.0),
            transcendental: elements,
            read: ELEMENT as f64 * elements * (self.members as f64 + 1.0),
            written: ELEMENT as f64 * elements,
        }
    }

    /// Elements of the coverage, `[2, sentences * beam, S]`: after steps of even and of odd number.
    pub fn coverage(&self) -> usize {
        2 * self.search.rows() * self.keys
    }

    /// Records what the weights of the `step`-th step since the last count add. It stands before the choice of the step.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for settings or tensors that do not fit the search; [`crate::Error::Limit`] past the adapter's
    /// limits.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        attended: &Attended<'_>,
        state: &BeamState,
        step: usize,
    ) -> Result<()> {
        let Attended { weights, lengths, coverage } = *attended;
        let Self { search, keys, members, coverage_penalty } = *self;
        let rows = search.rows();
        search.check(state)?;
        let penalty = coverage_penalty >= 0.0 && coverage_penalty.is_finite();
        expect_setting(NAME, "coverage_penalty", penalty, "a number from 0 on", coverage_penalty.into())?;
        expect(NAME, "weights", weights, &[members, rows, keys])?;
        expect(NAME, "lengths", lengths, &[search.sentences])?;
        expect(NAME, "coverage", coverage, &[2, rows, keys])?;
        let sizes = [rows, search.capacity, step, search.beam, keys, members, usize::from(search.positions)];
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_ATTEND,
            specialisation: forms::row_reduction(recorder.gpu().tiles()),
            params: &[&words(sizes)[..], &[coverage_penalty.to_bits()]].concat(),
            tensors: &[weights, &state.all, lengths, coverage],
            workgroups: grid(rows),
            cost: self.cost(),
        })
    }
}
