//! Settings of a Transformer with adaptive spans: `config.json` of its folder.

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    batch::Specials,
    model::settings::{self, LAYERS, SIZE, VOCABULARY},
};

/// Names of the architecture in files.
pub(super) const IN_FILES: &[&str] = &["adaptive-span"];

/// Sizes of an [`super::AdaptiveSpan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in files, `adaptive-span`.
    pub architecture: String,
    /// Tokens, specials included.
    pub vocabulary: usize,
    /// Size of an embedded word and of every position's state, D.
    pub hidden: usize,
    /// Heads of each attention, N; they share D.
    pub heads: usize,
    /// Size between the two layers of a feed-forward part.
    pub feed_forward: usize,
    /// Layers.
    pub layers: usize,
    /// Steps of a segment: gradients reach no farther.
    pub segment: usize,
    /// The longest span, in steps: a layer remembers as many before a segment.
    pub span_limit: usize,
    /// The paper's R: the steps over which what a head sees fades out behind its span.
    pub ramp: usize,
    /// The paper's lambda: what the sum over layers of the heads' mean span is multiplied with in the loss.
    pub span_penalty: f32,
    /// Added to the variance of what is normalised.
    pub epsilon: f32,
    /// Dropout on embedded words, each part's result and within feed-forward parts, in training.
    pub dropout: f32,
    /// The longest text, its end token included.
    pub max_length: usize,
    /// The ids of the special tokens.
    pub specials: Specials,
}

impl Config {
    /// Four layers with D = 256, 4 heads and 1,024 between, segments of 64 steps, spans of up to 128 that fade out over 32 with the
    /// penalty of the paper's small models, no dropout, up to 256 tokens.
    pub fn new(vocabulary: usize) -> Self {
        Self {
            architecture: IN_FILES.concat(),
            vocabulary,
            hidden: 256,
            heads: 4,
            feed_forward: 1024,
            layers: 4,
            segment: 64,
            span_limit: 128,
            ramp: 32,
            span_penalty: 2e-6,
            epsilon: 1e-5,
            dropout: 0.0,
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
        // A span of 0 with a ramp of 1 would see nothing.
        let ramps = 2..=*SIZE.end();
        let sizes = [
            ("vocabulary", self.vocabulary, VOCABULARY),
            ("hidden", self.hidden, SIZE),
            ("heads", self.heads, SIZE),
            ("feed_forward", self.feed_forward, SIZE),
            ("layers", self.layers, LAYERS),
            ("segment", self.segment, SIZE),
            ("span_limit", self.span_limit, SIZE),
            ("ramp", self.ramp, ramps),
            ("max_length", self.max_length, SIZE),
        ];
        settings::check_sizes(path, sizes)?;
        settings::check_heads(path, self.hidden, self.heads)?;
        settings::check_rates(path, [("dropout", self.dropout)])?;
        settings::check_epsilon(path, self.epsilon)?;
        if !(self.span_penalty >= 0.0 && self.span_penalty.is_finite()) {
            return Err(Error::data(path, format!("span_penalty is {}; it must be from 0 on", self.span_penalty)));
        }
        Ok(())
    }
}
