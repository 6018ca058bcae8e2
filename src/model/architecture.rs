//! The seam between a model and everything that trains it, searches with it and keeps it.

use std::{fmt, sync::Arc};

use super::{Counterpart, Layers, Learns, Parameter, SearchRoom, Stepper};
use crate::{
    Error, Result,
    batch::{BatchShape, Specials},
    graph::{Parameters, Value},
};

/// A kind of model at given sizes: its parameters, its graph and its steps in a search. It holds no values, so that many may
/// share it.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// The name in the table of architectures.
    fn name(&self) -> &'static str;

    /// The settings, as `config.json` holds them.
    ///
    /// # Errors
    /// [`Error::Data`] for settings that JSON does not have.
    fn config(&self) -> Result<String>;

    /// The vocabularies and lengths that the model was made for.
    fn limits(&self) -> Limits;

    /// The special tokens of sources, where these are numbered in another way than targets.
    fn source_specials(&self) -> Specials {
        self.limits().specials
    }

    /// Every parameter once, in the order of PyTorch's `state_dict`.
    fn parameters(&self) -> Vec<Parameter>;

    /// The graph's nodes from tokens to logits, under teacher forcing. Its inputs are columns of [`crate::batch::Batch`].
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward>;

    /// What training adds to the loss for the parameters themselves, `[1]`, f32, if anything.
    ///
    /// # Errors
    /// [`Error::Shape`].
    fn penalty(&self, layers: &mut Layers) -> Result<Option<Value>> {
        let _ = layers;
        Ok(None)
    }

    /// The model's encoder and steps in a search, with memory for them.
    ///
    /// # Errors
    /// [`Error::Shape`] for parameters that are not this model's; [`Error::OutOfMemory`] when memory runs out.
    fn stepper(&self, parameters: &Parameters, room: &SearchRoom<'_>) -> Result<Box<dyn Stepper>>;

    /// The graph's nodes from the tokens of sources to a state for each, `[B, S, D]`, of a model that is an encoder alone. Its inputs
    /// are columns of [`crate::batch::Batch`].
    ///
    /// # Errors
    /// [`Error::Data`] for a model that writes text; [`Error::Shape`].
    fn states(&self, layers: &mut Layers, shape: BatchShape) -> Result<Value> {
        let _ = (layers, shape);
        Err(Error::data(
            self.name(),
            "is no encoder alone, whose states stand for a text; bert, roberta and longformer are",
        ))
    }

    /// The kind of its answers.
    fn answers(&self) -> Answers {
        Answers::Texts
    }

    /// The same encoder with the layers for data of another kind behind it, for `targets` tokens of the target vocabulary.
    ///
    /// # Errors
    /// [`Error::Data`] for a model that is no encoder alone, or has no such layers.
    fn taught(&self, learns: Learns, targets: usize) -> Result<Network> {
        let _ = targets;
        let message =
            format!("does not learn from {learns}: it is no encoder alone, which layers for that could follow");
        Err(Error::data(self.name(), message))
    }

    /// The same model among Hugging Face's.
    ///
    /// # Errors
    /// [`Error::Data`] for one that they do not have, naming the setting that differs from the nearest of theirs.
    fn counterpart(&self) -> Result<Counterpart> {
        let message = "has no counterpart among Hugging Face's models; as a `state_dict` of PyTorch's any model is written, to a name \
                       that ends in .safetensors";
        Err(Error::data(self.name(), message))
    }
}

/// What a model answers a source with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A text of the target vocabulary, a token at a time.
    Texts,
    /// The name of a class: a token of the target vocabulary, whose special tokens are those of this crate's tokenizers.
    Classes,
    /// A part of the source: the places of its first and its last token.
    Spans,
    /// The source with its masked tokens filled in.
    Filled {
        /// The token that stands in their places.
        mask: u32,
    },
    /// Nothing that has a name: states, or numbers of classes.
    None,
}

impl dyn Architecture {
    /// Whether a target means the same to both models: their target vocabularies are of one size, or it is a place in the source, which
    /// is the same whatever their longest sources are.
    pub(crate) fn shares_targets(&self, other: &dyn Architecture) -> bool {
        let places = [self.answers(), other.answers()] == [Answers::Spans; 2];
        places || self.limits().target_vocabulary == other.limits().target_vocabulary
    }
}

impl Answers {
    /// The number of tokens, before all others of the target vocabulary, that no answer has: where these are names of classes, the special
    /// ones.
    pub fn impossible(self) -> usize {
        if self == Self::Classes { Specials::COUNT } else { 0 }
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Texts => "texts",
            Self::Classes => "names of classes",
            Self::Spans => "parts of sources",
            Self::Filled { .. } => "masked tokens",
            Self::None => "nothing that has a name",
        })
    }
}

/// An architecture at its sizes, shared.
pub type Network = Arc<dyn Architecture>;

/// The vocabularies, the longest text and the special tokens that a model was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Source tokens, specials included; 0 for a model that reads no source.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// The longest source or target, its end token included.
    pub max_length: usize,
    /// The special tokens.
    pub specials: Specials,
    /// The target that loss and scores leave out.
    pub padding: u32,
}

impl Limits {
    /// Those of a model that reads no source.
    pub(super) fn of_text(vocabulary: usize, max_length: usize, specials: Specials) -> Self {
        Self { source_vocabulary: 0, target_vocabulary: vocabulary, max_length, specials, padding: specials.pad }
    }

    /// Whether the model reads a source. One that does not continues its own text.
    pub fn reads_source(&self) -> bool {
        self.source_vocabulary > 0
    }
}

/// The outputs of a model's forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// `[B, T, W]`, a row for each target position.
    pub logits: Value,
    /// `[B, T]`, the input of the tokens that the logits should predict.
    pub targets: Value,
    /// The alignment weights `[B, T, S]`, if the model has any.
    pub attention: Option<Value>,
}

impl Forward {
    /// The alignment weights, which `what` needs.
    ///
    /// # Errors
    /// [`Error::Data`] naming `what`, if the model has none.
    pub fn attention_for(&self, what: &str) -> Result<Value> {
        self.attention.ok_or_else(|| {
            Error::data(what, "needs alignment weights, and this architecture gives none here; bahdanau and luong do")
        })
    }
}
