//! What kernels that need no tile of their own share: how their workgroups are specialised. And lists of forms for the table.

use crate::gpu::{Dtype, ELEMENT, Specialisation, Tiles};

/// A workgroup of a kernel that goes through elements.
pub(super) fn workgroup(tiles: &Tiles) -> Specialisation {
    Specialisation::new().constant("LANES", tiles.workgroup)
}

/// A workgroup that shares one row, and reduces nothing.
pub(super) fn row(tiles: &Tiles) -> Specialisation {
    Specialisation::new().constant("LANES", tiles.row)
}

/// A workgroup that reduces one row or run: its lanes, and whether they are one subgroup.
pub(super) fn row_reduction(tiles: &Tiles) -> Specialisation {
    let subgroup = tiles.subgroup == Some(tiles.row);
    Specialisation::new().define_if(subgroup, "SUBGROUPS").constant("LANES", tiles.row)
}

/// Whether a kernel that is bound by loads and stores of fours takes them in 64-bit words: those hold two elements of four bytes.
pub(super) fn words(tiles: &Tiles, dtype: Dtype) -> bool {
    tiles.wide && dtype.bytes() == ELEMENT
}

/// A workgroup of a kernel that goes through elements, or fours of them.
pub(super) fn fours(tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    in_fours(workgroup(tiles), tiles, dtype, vector)
}

/// The same for any workgroup.
pub(super) fn in_fours(form: Specialisation, tiles: &Tiles, dtype: Dtype, vector: bool) -> Specialisation {
    form.define_if(vector, "VECTOR").define_if(vector && words(tiles, dtype), "WORDS").element(dtype)
}

/// A form for each answer to a yes-or-no question.
pub(super) fn either<T>(form: impl Fn(bool) -> T) -> Vec<T> {
    vec![form(false), form(true)]
}

/// What activations may be.
pub(super) fn elements(tiles: &Tiles) -> &'static [Dtype] {
    if tiles.f16 { &[Dtype::F32, Dtype::F16] } else { &[Dtype::F32] }
}

/// A form for each type of activations.
pub(super) fn each_element<T>(tiles: &Tiles, form: impl Fn(Dtype) -> T) -> Vec<T> {
    elements(tiles).iter().map(|dtype| form(*dtype)).collect()
}

/// Each of some with each of others.
pub(super) fn pairs<T: Copy, U: Copy>(some: impl IntoIterator<Item = T>, others: &[U]) -> Vec<(T, U)> {
    some.into_iter().flat_map(|one| others.iter().map(move |other| (one, *other))).collect()
}

/// Without repetitions: many shapes lead to few tiles.
pub(super) fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}
