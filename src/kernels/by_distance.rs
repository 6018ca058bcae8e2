//! The dispatches of attentions whose scores have a part by distance: [`super::relative_attention`] and [`super::span_attention`].

use super::{
    dot_product_attention::{DotProductAttention, Form, Heads, LARGEST_SIZE, Pass, Tile},
    forms::{distinct, elements},
    rounds::expect_rounds,
};
use crate::{
    Result,
    gpu::{Cost, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
};

/// What a pass of an attention by distance goes through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    /// The shader of the pass.
    pub kernel: &'static Shader,
    /// How many lines of rows its workgroups own, and how many rows each has.
    pub owned: [usize; 2],
    /// How many lines of columns one of them walks over, and how many columns each has.
    pub walked: [usize; 2],
    /// In the order of their layouts, with which the parameters begin.
    pub heads: &'a [Heads<'a>],
    /// In the order of the kernel's bindings.
    pub tensors: &'a [&'a Tensor],
    pub cost: Cost,
}

/// Records a pass. Its parameters are the layouts of heads, the numbers of heads in a row and in all, of queries and of keys, the size
/// of a head, and the `settings`. `what` and `advice` are for walks that are too long for the driver.
///
/// # Errors
/// [`crate::Error::Limit`] for these, and what [`Recorder::dispatch`] reports.
pub(super) fn launch(
    recorder: &mut Recorder,
    plain: &DotProductAttention,
    walk: &Walk<'_>,
    settings: &[u32],
    [what, advice]: [&str; 2],
) -> Result<()> {
    let DotProductAttention { batch, heads: count, queries, keys, size, .. } = *plain;
    let Walk { kernel, owned: [lines, rows], walked: [walks, columns], heads, tensors, cost } = *walk;
    let gpu = recorder.gpu();
    let tile = Tile::by_distance(gpu.tiles());
    // In each tile, and in the two strips that may be more, there are at most ten products of tiles or sums; tiles of dot-product attention count four.
    let tiles = walks.saturating_mul(columns.div_ceil(tile.width())).saturating_add(2);
    let rounds = tiles.saturating_mul(3 * tile.rounds(size, gpu.checked(), false));
    expect_rounds(gpu, rounds, || what.to_owned(), advice)?;
    let sizes = [count, batch * count, queries, keys, size].map(|size| size as u32);
    let words: Vec<_> = heads.iter().flat_map(Heads::layout).chain(sizes).chain(settings.iter().copied()).collect();
    recorder.launch(&Launch {
        kernel,
        specialisation: tile.specialisation(recorder.gpu().tiles(), plain.form(Pass::Forward, heads, false)),
        params: &words,
        tensors,
        workgroups: grid(lines * rows.div_ceil(tile.height())),
        cost,
    })
}

/// Every form of such a pass.
pub(super) fn specialisations(tiles: &Tiles) -> Vec<Specialisation> {
    let of = |dtype, size| {
        // What sizes are multiples of, offsets and strides may be too, or not.
        let form = Form { size, piece: size, pass: Pass::Forward, adjusted: false, together: false, dtype };
        Tile::by_distance(tiles).specialisation(tiles, form)
    };
    distinct(elements(tiles).iter().flat_map(|dtype| (1..=LARGEST_SIZE).map(move |size| of(*dtype, size))))
}
