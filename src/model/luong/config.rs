//! Settings of a Luong model: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    kernels::local_attention,
    model::settings::{self, LAYERS, SIZE, VOCABULARY},
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["luong"];

/// The score of a decoder's state h against an annotation h̄ of the source (equation 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// `h · h̄`, for an encoder of one direction.
    Dot,
    /// `h · W h̄`
    General,
    /// `v · tanh(W [h; h̄])`
    Concat,
    /// `(W h)[s]` for source position s: it does not look at the source at all.
    Location,
}

/// Which source positions a step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// All of them (section 3.1).
    Global,
    /// Positions around the step's own number (local-m, section 3.2).
    LocalM,
    /// Positions around one that the model predicts (local-p, section 3.2).
    LocalP,
}

/// Sizes and kind of a [`super::Luong`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `luong`.
    pub architecture: String,
    /// Source tokens, specials included.
    pub source_vocabulary: usize,
    /// Target tokens, specials included.
    pub target_vocabulary: usize,
    /// Size of an embedded word, E.
    pub embedding: usize,
    /// Size of a hidden state, H.
    pub hidden: usize,
    /// GRU layers of the encoder.
    pub encoder_layers: usize,
    /// Whether the encoder reads the source in both directions.
    pub bidirectional: bool,
    /// The score of states against annotations.
    pub score: Score,
    /// Size of the alignment layer of [`Score::Concat`], A.
    pub attention: usize,
    /// Source positions that [`Score::Location`] knows, L.
    pub location_rows: usize,
    /// The source positions that a step attends to.
    pub window: Window,
    /// Positions on either side of a window's centre, the paper's D.
    pub half_width: usize,
    /// Size of the layer that predicts positions, P.
    pub position: usize,
    /// Whether the decoder's cell reads the last attentional state (section 3.3).
    pub input_feeding: bool,
    /// Dropout on embedded words and on what the output layer reads, in training.
    pub dropout: f32,
    /// The longest source or target, its end token included.
    pub max_length: usize,
}

impl Config {
    /// General scores over the whole source with input feeding: E = H = A = P = 256, one layer read in both directions, no dropout,
    /// up to 100 tokens.
    pub fn new(source_vocabulary: usize, target_vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            source_vocabulary,
            target_vocabulary,
            embedding: 256,
            hidden: 256,
            encoder_layers: 1,
            bidirectional: true,
            score: Score::General,
            attention: 256,
            location_rows: 100,
            window: Window::Global,
            half_width: 10,
            position: 256,
            input_feeding: true,
            dropout: 0.0,
            max_length: 100,
        }
    }

    /// Checks that the sizes make a model. `path` names the file or option in errors.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub fn check(&self, path: &str) -> Result<()> {
        settings::check_name(path, &self.architecture, IN_FILES)?;
        let sizes = [
            ("source_vocabulary", self.source_vocabulary, VOCABULARY),
            ("target_vocabulary", self.target_vocabulary, VOCABULARY),
            ("embedding", self.embedding, SIZE),
            ("hidden", self.hidden, SIZE),
            ("encoder_layers", self.encoder_layers, LAYERS),
            ("attention", self.attention, SIZE),
            ("location_rows", self.location_rows, SIZE),
            ("half_width", self.half_width, SIZE),
            ("position", self.position, SIZE),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        if self.score == Score::Dot && self.bidirectional {
            let message = "the dot score compares a state with an annotation of the same size, and those of a bidirectional \
                           encoder are twice as large; set score to general, or bidirectional to false";
            return Err(Error::data(path, message));
        }
        settings::check_rates(path, [("dropout", self.dropout)])
    }

    /// Size of an annotation, K.
    pub fn annotation(&self) -> usize {
        if self.bidirectional { 2 * self.hidden } else { self.hidden }
    }

    /// The input size of the decoder's cell.
    pub(super) fn cell_input(&self) -> usize {
        if self.input_feeding { self.embedding + self.hidden } else { self.embedding }
    }

    /// Size of a hypothesis's state in a search: h, and with input feeding h~.
    pub(super) fn state(&self) -> usize {
        if self.input_feeding { 2 * self.hidden } else { self.hidden }
    }

    /// Scores of a step over `keys` source positions.
    pub(super) fn columns(&self, keys: usize) -> usize {
        if self.score == Score::Location { self.location_rows } else { keys }
    }

    /// The kernel's window for queries from step number `first` on.
    pub(super) fn window_from(&self, first: usize) -> local_attention::Window {
        let half_width = self.half_width as f32;
        match self.window {
            Window::Global => local_attention::Window::Global,
            Window::LocalM => local_attention::Window::Monotonic { half_width, first },
            Window::LocalP => local_attention::Window::Predicted { half_width },
        }
    }

    /// The kernel's window for queries that are all of step number `step` after those that a search has counted.
    pub(super) fn window_of(&self, step: usize) -> local_attention::Window {
        match self.window {
            Window::LocalM => local_attention::Window::Counted { half_width: self.half_width as f32, step },
            Window::Global | Window::LocalP => self.window_from(step),
        }
    }
}
