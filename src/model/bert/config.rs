//! Settings of a BERT or RoBERTa: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    model::{
        Nonlinearity,
        settings::{self, COUNT, LAYERS, SIZE, VOCABULARY},
    },
};

/// The name of the original.
pub(super) const BERT: &str = "bert";
/// The name of the one whose padding, positions and output layer differ.
pub(super) const ROBERTA: &str = "roberta";
/// The name of the RoBERTa whose attention has a window.
pub(super) const LONGFORMER: &str = "longformer";

/// The special tokens before the names of classes.
pub(super) const SPECIALS: usize = Specials::COUNT;

/// What is predicted from the encoder's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Nothing: the states are what is wanted.
    States,
    /// The token at each position, for those that were masked (Devlin et al. 2019, section 3.1).
    Masked,
    /// One class of a whole text (section 4.1).
    Classify,
    /// The first and the last position of an answer in the text (section 4.2).
    Span,
}

/// Sizes and kind of a [`super::Bert`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files: `bert`, `roberta` or `longformer`.
    pub architecture: String,
    /// Tokens, specials included.
    pub vocabulary: usize,
    /// Classes of texts, for [`Head::Classify`].
    pub classes: usize,
    /// Whether classes have names: the tokens of the target vocabulary behind its special ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub named: bool,
    /// The token that stands in place of those to be predicted, for [`Head::Masked`], if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
    /// What is predicted.
    pub head: Head,
    /// Size of an embedded word and of every position's state, D.
    pub hidden: usize,
    /// Heads of each attention, N; they share D between them.
    pub heads: usize,
    /// Size between the two layers of a feed-forward part.
    pub feed_forward: usize,
    /// Layers.
    pub layers: usize,
    /// How many positions to either side each layer's attention sees besides global ones, in a Longformer; else nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<usize>,
    /// Kinds of segments that a position may belong to.
    pub segments: usize,
    /// The nonlinearity of the feed-forward parts and of the layer before the tokens.
    pub activation: Nonlinearity,
    /// Added to the variance of what is normalised.
    pub epsilon: f32,
    /// Dropout on embedded words and on each layer's result, in training.
    pub dropout: f32,
    /// Dropout of attention weights, in training.
    pub attention_dropout: f32,
    /// The longest text, its special tokens included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// A BERT of four layers with D = 256, 4 heads and 1,024 between, that predicts masked tokens; no dropout, up to 256 tokens.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            architecture: BERT.into(),
            vocabulary,
            classes: 2,
            named: false,
            mask: None,
            head: Head::Masked,
            hidden: 256,
            heads: 4,
            feed_forward: 1024,
            layers: 4,
            windows: Vec::new(),
            segments: 2,
            activation: Nonlinearity::Gelu,
            epsilon: 1e-12,
            dropout: 0.0,
            attention_dropout: 0.0,
            max_length: 256,
            specials: Specials::default(),
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming the field, or the two that contradict each other.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, &[BERT, ROBERTA, LONGFORMER])?;
        let sizes = [
            ("vocabulary", self.vocabulary, VOCABULARY),
            ("classes", self.classes, SIZE),
            ("hidden", self.hidden, SIZE),
            ("heads", self.heads, SIZE),
            ("feed_forward", self.feed_forward, SIZE),
            ("layers", self.layers, LAYERS),
            ("segments", self.segments, SIZE),
            ("max_length", self.max_length, SIZE),
            ("pad", if self.follows_roberta() { self.specials.pad as usize } else { 0 }, COUNT),
        ];
        settings::check_sizes(path, sizes)?;
        for reach in &self.windows {
            settings::check_sizes(path, [("windows", *reach, SIZE)])?;
        }
        let windows = if self.is_longformer() { self.layers } else { 0 };
        if self.windows.len() != windows {
            let message = format!(
                "`windows` has {} numbers; a {} of {} layers has {windows}",
                self.windows.len(),
                self.architecture,
                self.layers
            );
            return Err(Error::data(path, message));
        }
        if self.named && self.head != Head::Classify {
            return Err(Error::data(path, "`named` says that classes have names, and `head` is not `classify`"));
        }
        if self.mask.is_some_and(|mask| self.head != Head::Masked || mask as usize >= self.vocabulary) {
            let message = "`mask` is a token of the vocabulary where `head` is `masked`, and is nothing elsewhere";
            return Err(Error::data(path, message));
        }
        settings::check_specials(path, self.specials, self.vocabulary)?;
        settings::check_heads(path, self.hidden, self.heads)?;
        settings::check_rates(path, [("dropout", self.dropout), ("attention_dropout", self.attention_dropout)])?;
        settings::check_epsilon(path, self.epsilon)
    }

    /// The same with named classes, the tokens of a target vocabulary of `targets`.
    pub(super) fn telling(self, targets: usize) -> Self {
        Self { head: Head::Classify, named: true, classes: targets.saturating_sub(SPECIALS), ..self }
    }

    /// The classes, behind tokens that are none where they have names.
    pub(super) fn target_vocabulary(&self) -> usize {
        self.classes + if self.named { SPECIALS } else { 0 }
    }

    /// Whether padding, positions and output layers are those of a RoBERTa.
    pub(super) fn follows_roberta(&self) -> bool {
        self.architecture != BERT
    }

    /// Whether its attention has a window.
    pub(super) fn is_longformer(&self) -> bool {
        self.architecture == LONGFORMER
    }

    /// The row of the table of positions that is the first place's: RoBERTa's begin behind the row of the padding.
    pub(super) fn first_position(&self) -> usize {
        if self.follows_roberta() { self.specials.pad as usize + 1 } else { 0 }
    }
}
