//! Length buckets and batches: few static shapes, little padding, an order that a seed decides.

use std::cmp::Reverse;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::shapes::{BatchSize, Bucket, Grid, Shape};
use super::{Alignment, Example};
use crate::{
    Error, Result,
    batch::{Batch, BatchShape, Specials},
};

/// Which examples form a batch, and its shape; made by [`Buckets::epoch`] and [`Buckets::in_order`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlan {
    shape: Shape,
    examples: Vec<usize>,
}

impl BatchPlan {
    /// The examples of the batch, at most as many as its rows.
    pub fn examples(&self) -> &[usize] {
        &self.examples
    }
}

/// The shares of padding in the batches.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Waste {
    /// The share of source positions that hold padding, filler rows included, in percent.
    pub source: f64,
    /// The share of target positions that hold padding, filler rows included, in percent.
    pub target: f64,
}

/// Examples sorted into at most [`MAX_SHAPES`](super::MAX_SHAPES) shapes.
#[derive(Debug, Clone)]
pub struct Buckets {
    examples: Vec<Example>,
    size: BatchSize,
    buckets: Vec<Bucket>,
    alignment: Option<Alignment>,
    specials: Specials,
    padding: u32,
}

impl Buckets {
    /// Sorts `examples` into buckets for batches of exactly `size`, filler included; S and T are multiples of `width`.
    ///
    /// The search for buckets starts from one and cuts, again and again, the bucket and the length (of source or target) where
    /// the cut saves most padded positions, filler rows counted; each bucket's shape is the least that holds its members.
    ///
    /// # Errors
    /// [`Error::Data`] without examples, size or width.
    pub fn new(examples: impl Into<Vec<Example>>, size: BatchSize, width: usize) -> Result<Self> {
        let examples = examples.into();
        check(&examples, size, width)?;
        let all = examples.iter().map(Shape::of).enumerate().collect();
        let buckets = Grid { size, width }.cut(all);
        let (specials, padding) = (Specials::FIRST, Specials::FIRST.pad);
        Ok(Self { examples, size, buckets, alignment: None, specials, padding })
    }

    /// For a model with these special tokens, which leaves out the target `padding`; without this they are [`Specials::FIRST`].
    pub fn with_specials(self, specials: Specials, padding: u32) -> Self {
        Self { specials, padding, ..self }
    }

    /// With the alignment of the examples, which batches then have.
    pub fn aligned(self, alignment: Alignment) -> Self {
        Self { alignment: Some(alignment), ..self }
    }

    /// Sorts `examples` into the shapes of `like` wherever they hold an example, so that its compiled Programs serve these
    /// examples too. Examples longer than every shape of `like` get buckets of their own.
    ///
    /// # Errors
    /// [`Error::Data`] without examples or width.
    pub fn like(like: &Self, examples: impl Into<Vec<Example>>, width: usize) -> Result<Self> {
        let examples = examples.into();
        check(&examples, like.size, width)?;
        let mut buckets: Vec<Bucket> =
            like.buckets.iter().map(|bucket| Bucket { shape: bucket.shape, members: Vec::new() }).collect();
        // The first that fits is then the cheapest that fits.
        buckets.sort_by_key(|bucket| bucket.shape.steps());
        let mut longer = Vec::new();
        for (index, shape) in examples.iter().map(Shape::of).enumerate() {
            match buckets.iter_mut().find(|bucket| shape.fits(bucket.shape)) {
                Some(bucket) => bucket.members.push(index),
                None => longer.push((index, shape)),
            }
        }
        let grid = Grid { size: like.size, width };
        if !longer.is_empty() {
            buckets.extend(grid.cut(longer));
        }
        grid.settle(&mut buckets);
        Ok(Self { examples, size: like.size, buckets, alignment: None, specials: like.specials, padding: like.padding })
    }

    /// The examples, in the order they were given.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// The distinct (S, T), by S, then T.
    pub fn shapes(&self) -> Vec<(usize, usize)> {
        let mut shapes: Vec<_> = self.buckets.iter().map(|bucket| (bucket.shape.source, bucket.shape.target)).collect();
        shapes.sort_unstable();
        shapes.dedup();
        shapes
    }

    /// The shares of padding in one epoch's positions.
    pub fn waste(&self) -> Waste {
        let (mut source_all, mut target_all) = (0, 0);
        for bucket in &self.buckets {
            let rows = bucket.members.len().next_multiple_of(self.size.rows(bucket.shape));
            source_all += rows * bucket.shape.source;
            target_all += rows * bucket.shape.target;
        }
        let source: usize = self.examples.iter().map(|example| Shape::of(example).source).sum();
        let target: usize = self.examples.iter().map(|example| Shape::of(example).target).sum();
        let percent = |full: usize, all: usize| 100.0 * (1.0 - full as f64 / all.max(1) as f64);
        Waste { source: percent(source, source_all), target: percent(target, target_all) }
    }

    /// The batches of one epoch, in an order that `seed` and `epoch` alone decide: examples shuffled within their
    /// bucket, then batches shuffled; rows from the longest on, so that [`Batch::share`] deals out about as many tokens to each. A
    /// cursor into the result is all that a resumed run needs.
    pub fn epoch(&self, seed: u64, epoch: u64) -> Vec<BatchPlan> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Streams of one key never meet, whatever the seeds of other runs are.
        rng.set_stream(epoch);
        let mut plans = Vec::new();
        for bucket in &self.buckets {
            let mut members = bucket.members.clone();
            members.shuffle(&mut rng);
            self.plan(bucket.shape, &members, &mut plans);
        }
        plans.shuffle(&mut rng);
        let steps = |index: &usize| self.examples.get(*index).map(|example| Shape::of(example).steps());
        plans.iter_mut().for_each(|plan| plan.examples.sort_by_key(|index| Reverse(steps(index))));
        plans
    }

    /// Every example once, shorter sources first: for evaluation.
    pub fn in_order(&self) -> Vec<BatchPlan> {
        let mut plans = Vec::new();
        // The buckets themselves lie in this order from the start.
        for bucket in &self.buckets {
            let mut members = bucket.members.clone();
            members.sort_by_key(|&index| (self.examples.get(index).map(Shape::of), index));
            self.plan(bucket.shape, &members, &mut plans);
        }
        plans
    }

    /// Cuts the members of a bucket into batches.
    fn plan(&self, shape: Shape, members: &[usize], plans: &mut Vec<BatchPlan>) {
        plans.extend(
            members.chunks(self.size.rows(shape)).map(|examples| BatchPlan { shape, examples: examples.to_vec() }),
        );
    }

    /// The shape of the batch of a plan.
    pub fn shape(&self, plan: &BatchPlan) -> BatchShape {
        let Shape { source, target } = plan.shape;
        BatchShape { rows: self.size.rows(plan.shape), source, target }
    }

    /// The token ids of a plan. It has as many rows as every batch of its shape; those without an example are all
    /// padding and have length 0. A row of a plan that other buckets made, and that does not fit here, is left as
    /// filler.
    pub fn batch(&self, plan: &BatchPlan) -> Batch {
        let mut batch = Batch::filler(self.shape(plan), self.specials).with_padding(self.padding);
        let BatchShape { rows, source, target } = batch.shape;
        if self.alignment.is_some() {
            batch.alignment = vec![0.0; rows * target * source];
        }
        for (row, &index) in plan.examples.iter().enumerate().take(rows) {
            let fits = |example: &&Example| Shape::of(example).fits(plan.shape);
            let Some(example) = self.examples.get(index).filter(fits) else { continue };
            batch.put_source(row, &example.source);
            match example.cut {
                true => batch.put_cut_target(row, &example.target),
                false => batch.put_target(row, &example.target),
            }
            if let Some(place) = batch.indices.get_mut(row) {
                *place = Some(index);
            }
            let each = target * source;
            if let Some(alignment) = &self.alignment
                && let Some(expected) = batch.alignment.get_mut(row * each..(row + 1) * each)
            {
                batch.aligned_tokens += alignment.fill(index, source, expected);
            }
        }
        batch
    }
}

/// Checks the arguments of every constructor.
fn check(examples: &[Example], size: BatchSize, width: usize) -> Result<()> {
    let longest = examples.iter().map(|example| Shape::of(example).steps()).max().unwrap_or(0);
    // Shaders count positions in u32. Rounding to the width at most adds the width to each side.
    let row = width.checked_mul(2).and_then(|more| more.checked_add(longest));
    let (positions, count, unit) = match size {
        BatchSize::Sentences(rows) => (row.and_then(|row| row.checked_mul(rows)), rows, "rows"),
        BatchSize::Tokens(tokens) => (row.and_then(|row| tokens.checked_mul(2)?.checked_add(row)), tokens, "tokens"),
    };
    let wrong = if examples.is_empty() {
        "there are no examples; give at least one".to_owned()
    } else if count == 0 {
        format!("a batch of 0 {unit} holds nothing; use 1 or more")
    } else if width == 0 {
        "lengths cannot be multiples of 0; use a width of 1 or more".to_owned()
    } else if positions.and_then(|positions| u32::try_from(positions).ok()).is_none() {
        format!(
            "batches of {count} {unit} with up to {longest} in a row pass 2^32 positions; use fewer, or shorter texts"
        )
    } else {
        return Ok(());
    };
    Err(Error::data("batches", wrong))
}
