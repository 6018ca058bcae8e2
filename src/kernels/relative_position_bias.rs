//! A learned bias for each bucket of relative positions: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
//! Text-to-Text Transformer" (2020), section 2.1, as T5's code defines the buckets.

use super::{
    expect::{expect, expect_extents, expect_setting},
    forms,
    library::shader,
};
use crate::{
    Result,
    gpu::{Cost, ELEMENT, Launch, Recorder, Shader, Tensor, grid},
};

pub(super) static RELATIVE_POSITION_BIAS: Shader = shader!("relative_position_bias", |tiles| vec![forms::row(tiles)]);
pub(super) static RELATIVE_POSITION_BIAS_BACKWARD: Shader =
    shader!("relative_position_bias_backward", |tiles| vec![forms::row_reduction(tiles)]);

const NAME: &str = "relative_position_bias";

/// The most buckets: their runs of distances are parameters of a launch.
pub const MOST_BUCKETS: usize = 60;

/// Which distances of a key from a query share a bias.
///
/// Near distances have a bucket each; farther ones share buckets that widen with the logarithm of the distance, up to `farthest`,
/// from which on all share the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionBuckets {
    /// How many there are, for both sides together: from 2, or 4 for both sides, to [`MOST_BUCKETS`].
    pub count: usize,
    /// Whether keys behind the query have buckets of their own, as many as those before it; else all of them share the nearest's.
    pub bidirectional: bool,
    /// T5's maximal distance.
    pub farthest: usize,
}

impl PositionBuckets {
    /// Buckets of one side.
    fn side(&self) -> usize {
        if self.bidirectional { self.count / 2 } else { self.count }
    }

    /// The bucket of a key `distance` steps behind the query (before it where that is negative).
    pub fn bucket(&self, distance: i64) -> usize {
        let side = self.side();
        let behind = if self.bidirectional && distance > 0 { side } else { 0 };
        let steps = if self.bidirectional { distance.unsigned_abs() } else { distance.min(0).unsigned_abs() };
        let near = side / 2;
        if steps < near as u64 {
            return behind + steps as usize;
        }
        // A distance on the edge of a bucket belongs to the farther one, whatever rounding makes of its logarithm.
        const EDGE: f64 = 1e-9;
        let far = side - near;
        let share = (steps as f64 / near as f64).ln() / (self.farthest as f64 / near as f64).ln();
        let further = (share * far as f64 + EDGE) as usize;
        behind + near + further.min(far - 1)
    }
}

/// `bias[n, s - t + T - 1] = table[bucket of s - t, n]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelativePositionBias {
    /// The buckets.
    pub buckets: PositionBuckets,
    /// Heads, N.
    pub heads: usize,
    /// Queries, T.
    pub queries: usize,
    /// Keys, S.
    pub keys: usize,
}

impl RelativePositionBias {
    /// Distances, T + S - 1.
    fn span(&self) -> usize {
        (self.queries + self.keys).saturating_sub(1)
    }

    /// Operations and bytes of either pass.
    pub fn cost(&self, backward: bool) -> Cost {
        let [bias, table] = [self.span(), self.buckets.count].map(|rows| ELEMENT as f64 * (rows * self.heads) as f64);
        let (read, written) = if backward { (bias, table) } else { (table, bias) };
        let operations = if backward { bias / ELEMENT as f64 } else { 0.0 };
        Cost { operations, transcendental: 0.0, read, written }
    }

    /// Records the bias `[N, T + S - 1]` from the table `[buckets, N]`, both f32.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] if a tensor has another number of elements, or for buckets that cannot be; and what
    /// [`Recorder::dispatch`] reports.
    pub fn record(&self, recorder: &mut Recorder, table: &Tensor, bias: &Tensor) -> Result<()> {
        self.launch(recorder, &RELATIVE_POSITION_BIAS, [table, bias], false)
    }

    /// Records d_table from d_bias.
    ///
    /// # Errors
    /// As [`RelativePositionBias::record`].
    pub fn record_backward(&self, recorder: &mut Recorder, d_bias: &Tensor, d_table: &Tensor) -> Result<()> {
        self.launch(recorder, &RELATIVE_POSITION_BIAS_BACKWARD, [d_bias, d_table], true)
    }

    fn launch(
        &self,
        recorder: &mut Recorder,
        kernel: &'static Shader,
        [from, to]: [&Tensor; 2],
        backward: bool,
    ) -> Result<()> {
        let (table, bias) = if backward { (to, from) } else { (from, to) };
        self.check(table, bias)?;
        let tiles = recorder.gpu().tiles();
        let mut params = self.starts();
        params.resize(MOST_BUCKETS, 0);
        params.extend([self.heads, self.span(), self.buckets.count, self.buckets.side()].map(|size| size as u32));
        recorder.launch(&Launch {
            kernel,
            specialisation: if backward { forms::row_reduction(tiles) } else { forms::row(tiles) },
            params: &params,
            tensors: &[from, to],
            workgroups: grid(self.heads * self.buckets.count),
            cost: self.cost(backward),
        })
    }

    /// Where the runs of the buckets start, in the order of distances; those of no distance are empty.
    fn starts(&self) -> Vec<u32> {
        let PositionBuckets { count, .. } = self.buckets;
        let side = self.buckets.side();
        let run = |bucket: usize| if bucket < side { side - 1 - bucket } else { bucket };
        let first = 1 - self.queries as i64;
        let runs: Vec<_> = (0..self.span()).map(|k| run(self.buckets.bucket(first + k as i64))).collect();
        (0..count).map(|run| runs.partition_point(|other| *other < run) as u32).collect()
    }

    fn check(&self, table: &Tensor, bias: &Tensor) -> Result<()> {
        let Self { buckets: PositionBuckets { count, bidirectional, farthest }, heads, queries, keys } = *self;
        let sides = if bidirectional { 2 } else { 1 };
        let whole = (2 * sides..=MOST_BUCKETS).contains(&count) && count.is_multiple_of(sides);
        let wanted = format!("from {} to {MOST_BUCKETS}, as many on each side", 2 * sides);
        expect_setting(NAME, "buckets", whole, &wanted, count as f64)?;
        let near = self.buckets.side() / 2;
        expect_setting(NAME, "farthest", farthest > near, &format!("more than {near}"), farthest as f64)?;
        expect_extents(NAME, &[("heads", heads), ("queries", queries), ("keys", keys)])?;
        expect(NAME, "table", table, &[count, heads])?;
        expect(NAME, "bias", bias, &[heads, self.span()])
    }
}
