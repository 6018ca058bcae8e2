//! Buckets of positions, and their orders: what decides whom a position sees.

use super::NAME;
use crate::{
    Result,
    gpu::{Cost, Dtype, ELEMENT, Launch, Recorder, Shader, Specialisation, Tensor, Tiles, grid},
    kernels::{
        expect::{expect_extents, expect_of, expect_scratch_of, expect_setting},
        forms,
        library::shader,
        rounds::expect_rounds,
    },
};

pub static LSH_ATTENTION_HASH: Shader = shader!("lsh_attention/hash", hashes);
pub static LSH_ATTENTION_SORT: Shader = shader!("lsh_attention/sort", sorts);

/// The most factors that a number of buckets may have.
pub const MOST_FACTORS: usize = 4;

/// Values that a pass of the sort tells apart, in bits; as in the shader.
const DIGIT: u32 = 4;

/// Buckets of vectors by their angles (Andoni et al. 2015, in the form of Kitaev, Kaiser and Levskaya 2020, section 2):
///
/// ```text
/// bucket[b, n, h, t] = argmax of [x R; -x R], x = x[b, t, n], R = rotations[n, :, h] [D, buckets / 2]
/// ```
///
/// Where the number of buckets is a product, each factor has as many columns of R as it has pairs of buckets, the first one first, and the
/// first one's bucket counts units, the second one's as many as the first one has, and so on. Positions past their text's end have the
/// bucket behind all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Sequences, B.
    pub batch: usize,
    /// Heads, N.
    pub heads: usize,
    /// Positions of a sequence, T.
    pub steps: usize,
    /// Size of a head, D.
    pub size: usize,
    /// Hashes.
    pub rounds: usize,
    /// Even numbers whose product is the number of buckets; 0 from the first one on that there is not.
    pub factors: [usize; MOST_FACTORS],
}

impl Hash {
    /// The factors that there are.
    fn present(&self) -> impl Iterator<Item = usize> {
        self.factors.into_iter().take_while(|factor| *factor > 0)
    }

    /// Buckets of a hash, without that of padding.
    pub fn buckets(&self) -> usize {
        self.present().fold(1, usize::saturating_mul)
    }

    /// Columns of a hash's rotation, C.
    pub fn directions(&self) -> usize {
        self.present().fold(0, |sum, factor| sum.saturating_add(factor / 2))
    }

    /// Operations and bytes.
    pub fn cost(&self, dtype: Dtype) -> Cost {
        let [vectors, rotation] = [self.batch * self.heads * self.steps, self.heads * self.size * self.rounds];
        let products = (vectors * self.rounds * self.directions()) as f64;
        Cost {
            operations: products * (2.0 * self.size as f64 + 2.0),
            transcendental: 0.0,
            read: (vectors * self.size) as f64 * dtype.bytes() as f64
                + (rotation * self.directions()) as f64 * ELEMENT as f64,
            written: (vectors * self.rounds) as f64 * ELEMENT as f64,
        }
    }

    /// Records `buckets` `[B, N, rounds, T]`, u32, of `x` `[B, T, N·D]` by `rotations` `[N, D, rounds, C]`, f32, and `lengths` `[B]`, u32.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number or type of elements, or a factor is odd; [`crate::Error::Limit`] for more
    /// buckets than the driver can compare; and what [`Recorder::dispatch`] reports.
    pub fn record(
        &self,
        recorder: &mut Recorder,
        [x, rotations, lengths]: [&Tensor; 3],
        buckets: &Tensor,
    ) -> Result<()> {
        let Self { batch, heads, steps, size, rounds, factors } = *self;
        self.check()?;
        let dtype = x.dtype().activation();
        expect_of(dtype, NAME, "x", x, &[batch, steps, heads * size])?;
        expect_of(Dtype::F32, NAME, "rotations", rotations, &[heads, size, rounds, self.directions()])?;
        expect_of(Dtype::U32, NAME, "lengths", lengths, &[batch])?;
        expect_of(Dtype::U32, NAME, "buckets", buckets, &[batch, heads, rounds, steps])?;
        let what = || format!("{NAME} of {} buckets", self.buckets());
        let walked = self.present().map(|factor| factor.div_ceil(8) * (size + 1)).sum();
        expect_rounds(recorder.gpu(), walked, what, "Use fewer buckets, or a product of several numbers.")?;
        let tiles = *recorder.gpu().tiles();
        let sizes = [batch, heads, steps, size, rounds, self.directions(), self.present().count(), 0];
        recorder.launch(&Launch {
            kernel: &LSH_ATTENTION_HASH,
            specialisation: forms::workgroup(&tiles).element(dtype),
            params: &sizes.iter().chain(&factors).map(|size| *size as u32).collect::<Vec<_>>(),
            tensors: &[x, rotations, lengths, buckets],
            workgroups: grid(buckets.elements().div_ceil(tiles.workgroup as usize)),
            cost: self.cost(dtype),
        })
    }

    /// Checks the sizes, as [`Hash::record`] does.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn check(&self) -> Result<()> {
        let Self { batch, heads, steps, size, rounds, .. } = *self;
        let extents = [("batch", batch), ("heads", heads), ("steps", steps), ("size", size), ("rounds", rounds)];
        expect_extents(NAME, &extents)?;
        let even = self.present().all(|factor| factor.is_multiple_of(2)) && self.factors[0] > 0;
        let buckets = self.buckets();
        let valid = even && u32::try_from(buckets).is_ok_and(|buckets| buckets < u32::MAX);
        expect_setting(NAME, "buckets", valid, "an even number, or a product of even numbers", buckets as f64)
    }
}

/// Orders of T positions by bucket, equal ones as they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sort {
    pub groups: usize,
    pub steps: usize,
    /// Without that of padding.
    pub buckets: usize,
}

impl Sort {
    /// Elements of the orders, and of as much memory to sort in.
    pub fn sorted(&self) -> usize {
        2 * self.groups * self.steps
    }

    /// Passes that tell all buckets apart, from 0 to that of padding.
    fn passes(&self) -> u32 {
        (usize::BITS - self.buckets.leading_zeros()).div_ceil(DIGIT)
    }

    /// Operations and bytes.
    pub fn cost(&self) -> Cost {
        let bytes = (self.groups * self.steps) as f64 * ELEMENT as f64 * f64::from(self.passes());
        Cost { operations: 0.0, transcendental: 0.0, read: 4.0 * bytes, written: bytes }
    }

    pub fn record(&self, recorder: &mut Recorder, buckets: &Tensor, sorted: &Tensor) -> Result<()> {
        expect_scratch_of(Dtype::U32, NAME, sorted, self.sorted())?;
        let tiles = *recorder.gpu().tiles();
        let (run, digits) = (self.steps.div_ceil(tiles.row as usize), 1 << DIGIT);
        let walked = self.passes() as usize * (2 * run + digits * (2 * tiles.row as usize + digits));
        let what = || format!("{NAME} of {} positions", self.steps);
        expect_rounds(recorder.gpu(), walked, what, "Use shorter texts, or a GPU.")?;
        recorder.launch(&Launch {
            kernel: &LSH_ATTENTION_SORT,
            specialisation: forms::row(&tiles),
            params: &[self.groups as u32, self.steps as u32, self.passes()],
            tensors: &[buckets, sorted],
            workgroups: grid(self.groups),
            cost: self.cost(),
        })
    }
}

fn hashes(tiles: &Tiles) -> Vec<Specialisation> {
    forms::each_element(tiles, |dtype| forms::workgroup(tiles).element(dtype))
}

fn sorts(tiles: &Tiles) -> Vec<Specialisation> {
    vec![forms::row(tiles)]
}
