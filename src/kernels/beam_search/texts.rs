//! The texts of a search so far, for models that read them anew at each step.

use super::{BeamSearch, BeamState, NAME, words};
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Tensor, grid},
    kernels::{
        expect::{expect_apart, expect_of},
        forms,
        library::shader,
    },
};

pub(in crate::kernels) static BEAM_SEARCH_TEXTS: Shader =
    shader!("beam_search/texts", |tiles| vec![forms::workgroup(tiles)]);

/// What [`BeamSearch::record_texts`] writes, all u32.
#[derive(Clone, Copy, Debug)]
pub struct Texts<'a> {
    /// `[sentences * beam, capacity]`: each hypothesis from `<bos>` on, and padding behind it.
    pub tokens: &'a Tensor,
    /// `[sentences * beam]`: its tokens, `<bos>` counted.
    pub lengths: &'a Tensor,
    /// `[sentences * beam]`: the place of its last token.
    pub last: &'a Tensor,
}

impl BeamSearch {
    /// Operations and bytes of [`BeamSearch::record_texts`] with texts of full length.
    pub fn texts_cost(&self) -> Cost {
        let bytes = (self.rows() * self.capacity) as f64 * ELEMENT as f64;
        Cost { operations: 0.0, transcendental: 0.0, read: 2.0 * bytes, written: bytes }
    }

    /// Records the texts after so many `steps` since the last count. Those of rows that have finished mean nothing.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for settings or tensors that do not fit the search; [`crate::Error::Limit`] for texts longer than the
    /// driver can walk.
    pub fn record_texts(
        &self,
        recorder: &mut Recorder,
        state: &BeamState,
        texts: &Texts<'_>,
        steps: usize,
    ) -> Result<()> {
        let Texts { tokens, lengths, last } = *texts;
        let rows = self.rows();
        self.check(state)?;
        expect_of(Dtype::U32, NAME, "texts", tokens, &[rows, self.capacity])?;
        expect_of(Dtype::U32, NAME, "lengths", lengths, &[rows])?;
        expect_of(Dtype::U32, NAME, "last", last, &[rows])?;
        expect_apart(NAME, &[("texts", tokens), ("lengths", lengths), ("last", last)])?;
        self.check_rounds(recorder.gpu(), 0, self.capacity)?;
        let tiles = *recorder.gpu().tiles();
        let pad = (self.specials.pad as usize).min(self.classes - 1);
        recorder.launch(&Launch {
            kernel: &BEAM_SEARCH_TEXTS,
            specialisation: forms::workgroup(&tiles),
            params: &words([rows, self.capacity, self.classes, steps, self.specials.bos as usize, pad]),
            tensors: &[&state.all, tokens, lengths, last],
            workgroups: grid(rows.div_ceil(tiles.workgroup as usize)),
            cost: self.texts_cost(),
        })
    }
}
