//! Settings of a Reformer: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    kernels::{dot_product_attention::LARGEST_SIZE, lsh_attention::MOST_FACTORS},
    model::{
        Nonlinearity,
        settings::{self, COUNT, LAYERS, SIZE, VOCABULARY},
    },
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["reformer"];

/// Whom a layer's positions see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKind {
    /// Those near them in the text.
    Local,
    /// Those near them in orders by bucket of a locality-sensitive hash.
    Lsh,
}

/// Vectors of places that are put together from two tables, as many rows as columns of a rectangle that the text fills row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axial {
    /// Rows and columns of the rectangle.
    pub shape: [usize; 2],
    /// Features that tell the row, and those that tell the column.
    pub sizes: [usize; 2],
}

/// Sizes of a [`super::Reformer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `reformer`.
    pub architecture: String,
    /// Tokens, specials included.
    pub vocabulary: usize,
    /// Size of an embedded word and of either stream of states, D.
    pub hidden: usize,
    /// Heads of each attention, N.
    pub heads: usize,
    /// Features of each head, whatever D.
    pub head_size: usize,
    /// Size between the two layers of a feed-forward part.
    pub feed_forward: usize,
    /// The attention of each layer.
    pub attention: Vec<AttentionKind>,
    /// Positions of a chunk of the text, which local attention sees.
    pub local_chunk: usize,
    /// Chunks before it that are seen too.
    pub local_before: usize,
    /// Positions of a chunk of an order by bucket.
    pub lsh_chunk: usize,
    /// Chunks before it that are seen too.
    pub lsh_before: usize,
    /// Hashes, each of which gives an order of its own.
    pub hashes: usize,
    /// Even numbers whose product is the number of buckets of a hash.
    pub buckets: Vec<usize>,
    /// The directions by which positions are hashed are drawn from this seed, once and for all.
    pub hash_seed: u64,
    /// Vectors of places from two tables; without, there is a table with a row for each place.
    pub axial: Option<Axial>,
    /// The nonlinearity of the feed-forward parts.
    pub activation: Nonlinearity,
    /// Added to the variance of what is normalised.
    pub epsilon: f32,
    /// Dropout on embedded words, each part's result and within feed-forward parts, in training.
    pub dropout: f32,
    /// Dropout on the weights of attention to chunks of the text, in training.
    #[serde(default)]
    pub local_dropout: f32,
    /// Dropout on the weights of attention within buckets, in training.
    #[serde(default)]
    pub lsh_dropout: f32,
    /// The longest text, its end token included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// Four layers with D = 256, local and by hash in turn, 4 heads of 64 and 1,024 between, chunks of 32 positions, two hashes of 16
    /// buckets, no dropout, up to 256 tokens.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            vocabulary,
            hidden: 256,
            heads: 4,
            head_size: 64,
            feed_forward: 1024,
            attention: in_turn(4),
            local_chunk: 32,
            local_before: 1,
            lsh_chunk: 32,
            lsh_before: 1,
            hashes: 2,
            buckets: buckets(256, 32),
            hash_seed: 0,
            axial: None,
            activation: Nonlinearity::Relu,
            epsilon: 1e-12,
            dropout: 0.0,
            local_dropout: 0.0,
            lsh_dropout: 0.0,
            max_length: 256,
            specials: Specials::default(),
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field, or the two that contradict each other.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let sizes = [
            ("vocabulary", self.vocabulary, VOCABULARY),
            ("hidden", self.hidden, SIZE),
            ("heads", self.heads, SIZE),
            ("head_size", self.head_size, 1..=LARGEST_SIZE),
            ("feed_forward", self.feed_forward, SIZE),
            ("the number of layers in attention", self.attention.len(), LAYERS),
            ("local_chunk", self.local_chunk, SIZE),
            ("local_before", self.local_before, COUNT),
            ("lsh_chunk", self.lsh_chunk, SIZE),
            ("lsh_before", self.lsh_before, COUNT),
            ("hashes", self.hashes, SIZE),
            ("the number of factors in buckets", self.buckets.len(), 1..=MOST_FACTORS),
            ("max_length", self.max_length, SIZE),
            (
                "the least common multiple of local_chunk and lsh_chunk, both of which padded texts are whole chunks of,",
                self.multiple(),
                SIZE,
            ),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_specials(path, self.specials, self.vocabulary)?;
        let rates =
            [("dropout", self.dropout), ("local_dropout", self.local_dropout), ("lsh_dropout", self.lsh_dropout)];
        settings::check_rates(path, rates)?;
        settings::check_epsilon(path, self.epsilon)?;
        self.check_buckets(path)?;
        self.check_axial(path)
    }

    fn check_buckets(&self, path: &str) -> Result<()> {
        let count = self.buckets.iter().fold(1, |count: usize, factor| count.saturating_mul(*factor));
        if self.buckets.iter().all(|factor| factor.is_multiple_of(2)) && SIZE.contains(&count) {
            return Ok(());
        }
        let message = format!(
            "buckets is {:?}; it must hold even numbers above 0, which come in pairs of opposite directions, and their product be at \
             most {}",
            self.buckets,
            SIZE.end()
        );
        Err(Error::data(path, message))
    }

    fn check_axial(&self, path: &str) -> Result<()> {
        let Some(Axial { shape: [rows, columns], sizes: [first, second] }) = self.axial else { return Ok(()) };
        let all = [rows, columns, first, second];
        let wrong = if all.iter().any(|size| !SIZE.contains(size)) {
            format!("axial holds {all:?}; each must be from 1 to {}", SIZE.end())
        } else if first + second != self.hidden {
            format!("axial has sizes {first} and {second}, and hidden is {}, which must be their sum", self.hidden)
        } else if rows.saturating_mul(columns) < self.max_length {
            format!("axial has {rows} x {columns} places, and max_length is {}, which is more", self.max_length)
        } else {
            return Ok(());
        };
        Err(Error::data(path, wrong))
    }

    /// The chunk of a kind of attention.
    pub(super) fn chunk(&self, kind: AttentionKind) -> usize {
        match kind {
            AttentionKind::Local => self.local_chunk,
            AttentionKind::Lsh => self.lsh_chunk,
        }
    }

    fn chunks(&self) -> impl Iterator<Item = usize> {
        self.attention.iter().map(|kind| self.chunk(*kind))
    }

    /// The longest text that is not padded: one that is a chunk of either kind.
    pub(super) fn least(&self) -> usize {
        self.chunks().min().unwrap_or(1)
    }

    /// What a longer text is padded to a multiple of.
    pub(super) fn multiple(&self) -> usize {
        self.chunks().fold(1, |multiple, chunk| multiple / common_divisor(multiple, chunk).max(1) * chunk)
    }

    /// The positions that a text of so many tokens has with its padding.
    pub(super) fn padded(&self, steps: usize) -> usize {
        if steps <= self.least() { steps } else { steps.next_multiple_of(self.multiple()) }
    }
}

/// Local attention and attention by hash in turn.
pub(super) fn in_turn(layers: usize) -> Vec<AttentionKind> {
    [AttentionKind::Local, AttentionKind::Lsh].into_iter().cycle().take(layers).collect()
}

/// As many buckets as there are half chunks in a text of `steps`, as a power of two, and at least two.
pub(super) fn buckets(steps: usize, chunk: usize) -> Vec<usize> {
    let halves = (2 * (steps / chunk.max(1))).max(2);
    vec![1 << halves.ilog2()]
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
