//! Which few shapes hold a corpus with little padding.

use serde::{Deserialize, Serialize};

use super::Example;

/// The most shapes that one [`Buckets::new`](super::Buckets::new) makes. Every shape is a compiled Program, so they
/// are few.
pub const MAX_SHAPES: usize = 12;

/// The size of a batch. All batches of one shape have the same number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchSize {
    /// The number of sentence pairs, whatever their length.
    Sentences(usize),
    /// The most positions on either side, padding included: the larger of rows times S and rows times T. One pair that is
    /// longer makes a batch alone.
    Tokens(usize),
}

/// Rows are a multiple of this where there are more: kernels work on tiles of rows.
const TILE: usize = 8;

impl BatchSize {
    /// Rows of a batch of this shape.
    pub(super) fn rows(self, shape: Shape) -> usize {
        match self {
            Self::Sentences(rows) => rows,
            Self::Tokens(most) => match most / shape.source.max(shape.target).max(1) {
                0 => 1,
                rows if rows < TILE => rows,
                rows => rows / TILE * TILE,
            },
        }
    }
}

/// The steps of a source and a target, `<eos>` included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Shape {
    pub source: usize,
    pub target: usize,
}

impl Shape {
    /// The steps that an example fills.
    pub fn of(example: &Example) -> Self {
        Self { source: example.source.len(), target: example.predicted() }
    }

    /// Whether `self` lies within `room`.
    pub fn fits(self, room: Self) -> bool {
        self.source <= room.source && self.target <= room.target
    }

    /// Steps of both sides: what a row of this shape costs.
    pub fn steps(self) -> usize {
        self.source + self.target
    }

    /// The least shape that holds both.
    fn join(self, other: Self) -> Self {
        Self { source: self.source.max(other.source), target: self.target.max(other.target) }
    }
}

/// The examples that share one shape.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub shape: Shape,
    pub members: Vec<usize>,
}

/// The settings that decide the cost of a bucket: the size of a batch, and the width that S and T are multiples of.
pub(super) struct Grid {
    pub size: BatchSize,
    pub width: usize,
}

impl Grid {
    /// Sorts `members` (an example's index and shape) into at most [`MAX_SHAPES`] buckets, by shape.
    ///
    /// Greedy cuts along either side, like a k-d tree: on word data (CMUdict) that leaves 9 % of padding, where
    /// quantiles of the source lengths leave 28 %: there one long target sets the T of a whole bucket.
    pub fn cut(&self, members: Vec<(usize, Shape)>) -> Vec<Bucket> {
        let mut leaves = vec![self.leaf(members)];
        while leaves.len() < MAX_SHAPES {
            let cuts = leaves.iter().enumerate().filter_map(|(at, leaf)| Some((at, leaf.cut?)));
            let Some((at, cut)) = cuts.max_by_key(|(_, cut)| cut.saving) else { break };
            let (low, high) =
                leaves.swap_remove(at).members.into_iter().partition(|(_, shape)| (cut.side)(shape) <= cut.limit);
            leaves.push(self.leaf(low));
            leaves.push(self.leaf(high));
        }
        let mut buckets: Vec<Bucket> = leaves
            .into_iter()
            .map(|leaf| Bucket {
                shape: leaf.shape,
                members: leaf.members.into_iter().map(|(index, _)| index).collect(),
            })
            .collect();
        self.settle(&mut buckets);
        buckets
    }

    /// Brings buckets into their final state: sorted by shape, no shape twice, none empty, and the members that would
    /// make a short batch moved to where filler rows of a larger shape have room for all of them.
    pub fn settle(&self, buckets: &mut Vec<Bucket>) {
        buckets.sort_by_key(|bucket| bucket.shape);
        buckets.dedup_by(|next, kept| {
            let same = next.shape == kept.shape;
            if same {
                kept.members.append(&mut next.members);
            }
            same
        });
        // In this order a bucket that took members in can still pass its own short batch on: whatever holds a bucket's
        // shape comes after it.
        for at in 0..buckets.len() {
            let Some((bucket, larger)) = buckets.get_mut(at..).and_then(<[Bucket]>::split_first_mut) else { break };
            let over = bucket.members.len() % self.size.rows(bucket.shape);
            let room = |other: &Bucket| {
                let rows = self.size.rows(other.shape);
                (rows - other.members.len() % rows) % rows
            };
            let home = larger.iter_mut().filter(|other| bucket.shape.fits(other.shape) && room(other) >= over);
            if let Some(home) = home.min_by_key(|other| other.shape.steps()) {
                home.members.extend(bucket.members.drain(bucket.members.len() - over..));
            }
        }
        buckets.retain(|bucket| !bucket.members.is_empty());
    }

    /// The bucket of these members, with the cut that saves most.
    fn leaf(&self, members: Vec<(usize, Shape)>) -> Leaf {
        let shape = self.round(members.iter().fold(Shape::default(), |all, &(_, shape)| all.join(shape)));
        let whole = self.price(members.len(), shape);
        let mut cut: Option<Cut> = None;
        let sides: [fn(&Shape) -> usize; 2] = [|shape| shape.source, |shape| shape.target];
        for side in sides {
            let mut sorted: Vec<Shape> = members.iter().map(|&(_, shape)| shape).collect();
            sorted.sort_unstable_by_key(side);
            let up_to = running_max(sorted.iter());
            let mut from = running_max(sorted.iter().rev());
            from.reverse();
            let places = sorted.windows(2).zip(&up_to).zip(from.iter().skip(1)).zip(1..);
            for (((neighbours, &low), &high), count) in places {
                let [left, right] = neighbours else { continue };
                if side(left) == side(right) {
                    continue;
                }
                let parts = self.price(count, self.round(low)) + self.price(sorted.len() - count, self.round(high));
                let saving = whole.saturating_sub(parts);
                if saving > cut.map_or(0, |best| best.saving) {
                    cut = Some(Cut { saving, side, limit: side(left) });
                }
            }
        }
        Leaf { shape, members, cut }
    }

    /// The positions that `count` examples take in this shape, filler rows included.
    fn price(&self, count: usize, shape: Shape) -> usize {
        count.next_multiple_of(self.size.rows(shape)) * shape.steps()
    }

    /// Both sides rounded up to the width.
    fn round(&self, shape: Shape) -> Shape {
        let up = |steps: usize| steps.div_ceil(self.width) * self.width;
        Shape { source: up(shape.source), target: up(shape.target) }
    }
}

/// The least shape that holds everything up to each place.
fn running_max<'a>(shapes: impl Iterator<Item = &'a Shape>) -> Vec<Shape> {
    shapes
        .scan(Shape::default(), |all, &shape| {
            *all = all.join(shape);
            Some(*all)
        })
        .collect()
}

/// A bucket that may still be cut.
struct Leaf {
    shape: Shape,
    members: Vec<(usize, Shape)>,
    cut: Option<Cut>,
}

/// A cut: members whose `side` is at most `limit`, and the others.
#[derive(Clone, Copy)]
struct Cut {
    saving: usize,
    side: fn(&Shape) -> usize,
    limit: usize,
}
