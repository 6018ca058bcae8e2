//! Options of a training run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Data, Decay, Distillation, Metric, Optimizer, Precision, Rate, Schedule, data};
use crate::{
    Error, Result,
    generate::Scoring,
    model::{CONFIG, Kind, Learns, Limits, Model, ModelOptions, Readout, Regularisation},
    names::setting,
    text::{BatchSize, Pair, Task, TokenUnit, hold_out, is_blank, read_plain, read_questions, read_tsv},
};

/// Word alignments that guide the attention of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuidedAlignment {
    /// The file with the alignments of the training pairs: [`crate::text::read_alignment`].
    #[serde(serialize_with = "data::as_text")]
    pub file: PathBuf,
    /// The weight of the loss of guided alignment.
    pub weight: f32,
}

impl GuidedAlignment {
    /// The weight that Marian gives it.
    pub const WEIGHT: f32 = 0.1;
}

/// Everything that decides what a run computes. Two runs with equal options give the same parameters on the same adapter.
/// Fields will be added: end a literal with `..TrainOptions::new(data)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainOptions {
    /// The data.
    pub data: Data,
    /// A model folder whose parameters, tokenizers and settings the run begins with, in place of new ones. The run's own options of
    /// tokens and of the model then decide nothing, but for its architecture, which is that model's.
    #[serde(default, serialize_with = "data::as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// The unit of source tokens.
    pub source_unit: TokenUnit,
    /// The unit of target tokens.
    pub target_unit: TokenUnit,
    /// The largest vocabulary of either side, specials included; the rarest tokens become `<unk>`.
    pub max_vocabulary: Option<usize>,
    /// The least number of times that a token must be in the training data; a rarer one becomes `<unk>`.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub min_count: u64,
    /// Whether sources and targets have one vocabulary, made from both; their units are then the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_vocabulary: bool,
    /// The probability that a merge of byte-pair encoding is left out in training, in every epoch anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bpe_dropout: f32,
    /// The longest source or target, `<eos>` included.
    pub max_length: usize,
    /// Sentence pairs per batch.
    pub batch: usize,
    /// Tokens of either side per batch, padding included, if that decides in place of `batch`: [`BatchSize::Tokens`].
    #[serde(default)]
    pub batch_tokens: Option<usize>,
    /// Batches that make one step together; an epoch's last step makes do with what is left.
    #[serde(default = "alone")]
    pub accumulate: usize,
    /// Adam's learning rate, the largest of the schedule.
    pub learning_rate: f32,
    /// The learning rate from step to step.
    #[serde(default)]
    pub schedule: Schedule,
    /// Gradients are scaled down to this global norm.
    pub clip_norm: f32,
    /// Decoupled weight decay (AdamW) of all parameters but biases and norms, as a share of the learning rate.
    #[serde(default)]
    pub weight_decay: f32,
    /// Learning rates by the names of parameters, of which the last that matches holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate: Vec<Rate>,
    /// Decay of a moving average of the parameters, if one is kept: the average is then validated and saved.
    #[serde(default)]
    pub ema: Option<f64>,
    /// The type in which activations are stored.
    #[serde(default)]
    pub precision: Precision,
    /// Label smoothing.
    pub label_smoothing: f32,
    /// Dropout on embedded words and on what the output layer reads.
    pub dropout: f32,
    /// Whether that dropout draws one mask for all steps of a sentence.
    #[serde(default)]
    pub variational: bool,
    /// Dropout of states: the share of elements that are 0, at all steps of a sentence the same ones.
    #[serde(default)]
    pub dropout_state: f32,
    /// Dropout of words: the probability that all of an embedded word is 0.
    #[serde(default)]
    pub dropout_words: f32,
    /// Word alignments that guide the attention.
    #[serde(default)]
    pub guided_alignment: Option<GuidedAlignment>,
    /// Models whose distributions are learnt beside the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Distillation>,
    /// The weight of the coverage loss.
    #[serde(default)]
    pub coverage_weight: f32,
    /// Size of an embedded word.
    pub embedding: usize,
    /// Size of a hidden state, of the alignment layer and of the readout.
    pub hidden: usize,
    /// The kind of readout.
    pub readout: Readout,
    /// Whether the output layer's weight is the table of embedded target words; the readout then has their size.
    #[serde(default)]
    pub tie_embeddings: bool,
    /// Layers of the encoder.
    pub layers: usize,
    /// The model's architecture, by its name in [`crate::model::ARCHITECTURES`]. A run of the default one does not say it, so
    /// that version 0.1.0 can read it.
    #[serde(default = "default_architecture", skip_serializing_if = "is_default_architecture")]
    pub architecture: String,
    /// Settings of that architecture, by the names in its `config.json`; they have precedence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model: BTreeMap<String, String>,
    /// Seed of the first values, the order of the data and dropout.
    pub seed: u64,
    /// Steps between validations; `None`: once per epoch.
    pub validate_every: Option<u64>,
    /// The metric that decides which model is the best.
    #[serde(default)]
    pub metric: Metric,
    /// The number of best models kept, to be averaged at the end; 0: none beside the best one.
    #[serde(default)]
    pub keep_best: usize,
    /// Whether validations take the targets of all pairs with one source for references of one text ([`Scoring`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub group_references: bool,
}

/// Batches that make a step, unless more are asked for.
pub(super) fn alone() -> usize {
    1
}

/// The least count that leaves nothing out.
pub(super) fn once() -> u64 {
    1
}

fn is_once(count: &u64) -> bool {
    *count == once()
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}

pub(super) fn default_architecture() -> String {
    Kind::DEFAULT.name.to_owned()
}

fn is_default_architecture(name: &String) -> bool {
    name == Kind::DEFAULT.name
}

/// Names in a sentence.
fn and(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.concat(),
    }
}

impl TrainOptions {
    /// The same, beginning with the model in the folder `from`: fine-tuning. Once the run in the folder `run` has begun, that has all
    /// that it needs, and `from` may be gone.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] for a folder that holds no model.
    pub fn beginning_with(self, from: &Path, run: &Path) -> Result<Self> {
        let copied = [from, run].map(|folder| folder.join(CONFIG).is_file()) == [false, true];
        let (network, ..) = Model::parts(if copied { run } else { from })?;
        Ok(Self { from: Some(from.to_owned()), ..self.with_architecture(network.name()) })
    }

    /// What the architecture learns from the data, if it is known and trained here: of what it can, what the data are for, or else what
    /// it is made for first.
    pub fn learns(&self) -> Option<Learns> {
        let kind = Kind::named(&self.architecture).ok()?;
        let wanted: &[Learns] = match self.data {
            Data::Questions { .. } | Data::Task(Task::Stories) => &[Learns::Spans],
            Data::Text { .. } => &[Learns::Text, Learns::Masked],
            _ => &[],
        };
        kind.learns().find(|learns| wanted.contains(learns)).or_else(|| kind.learns().next())
    }

    /// Whether the architecture learns from plain text rather than pairs.
    pub fn learns_text(&self) -> bool {
        matches!(self.learns(), Some(Learns::Text | Learns::Masked))
    }

    /// Checks what no later part checks.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub fn check(&self) -> Result<()> {
        let wrong = |option: &str, message: String| Err(Error::data(setting(option), message));
        for (option, size) in [("batch", self.batch), ("batch_tokens", self.batch_tokens.unwrap_or(1))] {
            if size == 0 {
                return wrong(option, "must be at least 1".into());
            }
        }
        self.check_vocabularies()?;
        self.check_pairs()?;
        if !(1..=u32::MAX as usize).contains(&self.accumulate) {
            return wrong("accumulate", format!("{} is not a number of batches", self.accumulate));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return wrong("learning_rate", format!("{} is not a positive number", self.learning_rate));
        }
        if !(self.clip_norm > 0.0 && self.clip_norm.is_finite()) {
            return wrong("clip_norm", format!("{} is not a positive number", self.clip_norm));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return wrong("weight_decay", format!("{} is not a number from 0 on", self.weight_decay));
        }
        if let Some(decay) = self.ema.filter(|decay| !(0.0..1.0).contains(decay)) {
            return wrong("ema", format!("{decay} is not from 0 to less than 1"));
        }
        self.teacher.as_ref().map_or(Ok(()), Distillation::check)?;
        self.regularisation().check()?;
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("dropout", format!("{} is not from 0 to less than 1", self.dropout));
        }
        for (option, size) in [("embedding", self.embedding), ("hidden", self.hidden), ("layers", self.layers)] {
            if size == 0 {
                return wrong(option, "must be at least 1".into());
            }
        }
        if self.tie_embeddings && self.readout == Readout::None {
            let readout = setting("readout");
            let message =
                format!("needs {readout} tanh: without a readout the output layer reads more than a word has");
            return wrong("tie_embeddings", message);
        }
        // Any vocabularies will do; the run's own are not known yet.
        let learns = self.learns().unwrap_or(Learns::Pairs);
        Kind::named(&self.architecture)?.make_for(learns, &self.model(), [1_000; 2])?;
        if matches!(self.schedule.decay, Decay::Linear { epochs: 0 } | Decay::Cosine { epochs: 0 }) {
            return wrong("decay", "ends after no epoch at all; it takes at least 1".into());
        }
        if self.schedule.decay == (Decay::Plateau { patience: 0 }) {
            return wrong("decay", "a plateau of no validations is none; it takes at least 1".into());
        }
        if self.keep_best == 1 {
            let message = "an average takes at least 2 models; the best one alone is the run's folder anyway";
            return wrong("keep_best", message.into());
        }
        if self.validate_every == Some(0) {
            return wrong("validate_every", "must be at least 1".into());
        }
        Ok(())
    }

    fn check_vocabularies(&self) -> Result<()> {
        let wrong = |option: &str, message: String| Err(Error::data(setting(option), message));
        let (source, target) = (&self.source_unit, &self.target_unit);
        if self.min_count == 0 {
            return wrong("min_count", "must be at least 1, which leaves nothing out".into());
        }
        if self.shared_vocabulary && source != target {
            let [one, other] = ["source_tokens", "target_tokens"].map(setting);
            let message = format!("needs one unit for both: {one} are {source} and {other} {target}");
            return wrong("shared_vocabulary", message);
        }
        let classes = self.learns() == Some(Learns::Classes);
        if *source == TokenUnit::Whole {
            return wrong(
                "source_tokens",
                "are whole texts, which no other text has; use words or parts of them".into(),
            );
        }
        if classes != (*target == TokenUnit::Whole) {
            let message = match classes {
                true => format!(
                    "are {target}; `{}` learns the classes of texts, whose names are `whole`",
                    self.architecture
                ),
                false => format!(
                    "are `whole`, the names of classes, and `{}` writes texts; {} learn classes",
                    self.architecture,
                    and(&Kind::that_learn(Learns::Classes))
                ),
            };
            return wrong("target_tokens", message);
        }
        if !(0.0..1.0).contains(&self.bpe_dropout) {
            return wrong("bpe_dropout", format!("{} is not from 0 to less than 1", self.bpe_dropout));
        }
        if self.bpe_dropout > 0.0 && ![source, target].iter().any(|unit| matches!(unit, TokenUnit::Bpe(_))) {
            let [one, other] = ["source_tokens", "target_tokens"].map(setting);
            return wrong("bpe_dropout", format!("needs {one} or {other} of bpe:N"));
        }
        if self.bpe_dropout > 0.0 && self.learns() == Some(Learns::Spans) {
            return wrong(
                "bpe_dropout",
                "moves the places of answers, which a model of questions learns; leave it out".into(),
            );
        }
        if self.bpe_dropout > 0.0 && self.guided_alignment.is_some() {
            let links = setting("guided_alignment");
            return wrong("bpe_dropout", format!("moves the tokens that {links} links; use one of them"));
        }
        Ok(())
    }

    /// Checks that nothing is asked for that a model of plain text does not have.
    fn check_pairs(&self) -> Result<()> {
        if !self.learns_text() {
            return Ok(());
        }
        let architecture = &self.architecture;
        if self.metric != Metric::CrossEntropy {
            let message = format!(
                "is {}; `{architecture}` learns from plain text, and is known by its cross-entropy",
                self.metric
            );
            return Err(Error::data(setting("metric"), message));
        }
        let of_pairs = [
            ("group_references", self.group_references),
            ("shared_vocabulary", self.shared_vocabulary),
            ("bpe_dropout", self.bpe_dropout > 0.0),
            ("guided_alignment", self.guided_alignment.is_some()),
            ("coverage_weight", self.coverage_weight > 0.0),
        ];
        of_pairs.into_iter().find(|(_, given)| *given).map_or(Ok(()), |(option, _)| {
            Err(Error::data(setting(option), format!("needs pairs; `{architecture}` learns from plain text")))
        })
    }

    /// The most tokens of a text in a batch of the run.
    pub(super) fn longest(&self, limits: Limits) -> usize {
        // Plain text comes in windows of the model's own length.
        if self.learns_text() { limits.max_length } else { self.max_length.min(limits.max_length) }
    }

    /// The size of a batch.
    pub fn batch_size(&self) -> BatchSize {
        self.batch_tokens.map_or(BatchSize::Sentences(self.batch), BatchSize::Tokens)
    }

    /// The run's options for its model.
    pub fn model(&self) -> ModelOptions {
        let Self { embedding, hidden, layers, dropout, readout, tie_embeddings, max_length, .. } = *self;
        let settings = self.model.clone();
        ModelOptions { embedding, hidden, layers, dropout, readout, tie_embeddings, max_length, settings }
    }

    /// The run's regularisation.
    pub fn regularisation(&self) -> Regularisation {
        let Self { label_smoothing, dropout_state, dropout_words, variational, coverage_weight: coverage, .. } = *self;
        let guided_alignment = self.guided_alignment.as_ref().map_or(0.0, |guided| guided.weight);
        Regularisation { label_smoothing, dropout_state, dropout_words, variational, guided_alignment, coverage }
    }

    /// How the run's validations compare texts with references.
    pub fn scoring(&self) -> Scoring {
        Scoring { name: self.valid_name(), group_references: self.group_references, ..Scoring::default() }
    }

    /// The run's optimiser.
    pub(super) fn optimizer(&self) -> Optimizer {
        Optimizer {
            clip_norm: Some(self.clip_norm),
            weight_decay: self.weight_decay,
            rates: self.rate.clone(),
            // With 0 the average is the parameters themselves.
            average_decay: self.ema.filter(|decay| *decay > 0.0),
            accumulate: self.accumulate > 1,
            precision: self.precision.dtype(),
            ..Optimizer::default()
        }
    }

    /// The name of the data, for messages and folders.
    pub fn data_name(&self) -> String {
        match &self.data {
            Data::Task(task) => task.to_string(),
            Data::Files { train, .. } | Data::Questions { train, .. } | Data::Text { train, .. } => {
                train.display().to_string()
            }
            Data::Pairs(_) => "pairs".to_owned(),
        }
    }

    /// The name of the validation data.
    pub fn valid_name(&self) -> String {
        match &self.data {
            Data::Task(task) => format!("{task}, unseen"),
            Data::Files { valid, .. } | Data::Questions { valid, .. } | Data::Text { valid: Some(valid), .. } => {
                valid.display().to_string()
            }
            Data::Text { train, valid: None } => format!("{}, its last tenth", train.display()),
            Data::Pairs(_) => "pairs to check with".to_owned(),
        }
    }

    /// Reads or makes the training and the validation pairs.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Data`] for a line that is no pair ([`read_tsv`]), for pairs that were
    /// in memory, in the options that a run's folder keeps, and for data that are no pairs.
    pub fn pairs(&self) -> Result<(Vec<Pair>, Vec<Pair>)> {
        match &self.data {
            Data::Task(task) => {
                let data = task.generate(self.seed);
                Ok((data.train, data.valid))
            }
            Data::Files { train, valid } => Ok((read_tsv(train)?, read_tsv(valid)?)),
            Data::Questions { train, valid } => {
                if self.learns() != Some(Learns::Spans) {
                    return self.other_data(Learns::Spans);
                }
                Ok((read_questions(train)?, read_questions(valid)?))
            }
            Data::Pairs(pairs) => pairs.get(),
            Data::Text { .. } => self.other_data(Learns::Text),
        }
    }

    /// Reads or makes the training and the validation text; of a task, a line for each pair, its source and its target.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Data`] for one that is not UTF-8 or blank, and for data that are
    /// pairs.
    pub fn plain(&self) -> Result<[String; 2]> {
        match &self.data {
            Data::Task(_) => {
                let (train, valid) = self.pairs()?;
                let line = |pair: &Pair| format!("{} {}\n", pair.source, pair.target);
                Ok([train, valid].map(|pairs| pairs.iter().map(line).collect()))
            }
            Data::Text { train, valid: Some(valid) } => Ok([read_plain(train)?, read_plain(valid)?]),
            Data::Text { train, valid: None } => {
                let text = read_plain(train)?;
                let (train, valid) = hold_out(&text);
                if is_blank(valid) {
                    let message =
                        "the text is too short to hold a tenth of it out for validation; give a text to validate on";
                    return Err(Error::data(self.data_name(), message));
                }
                Ok([train.to_owned(), valid.to_owned()])
            }
            Data::Files { .. } | Data::Pairs(_) => self.other_data(Learns::Pairs),
            Data::Questions { .. } => self.other_data(Learns::Spans),
        }
    }

    /// The error for data that the architecture does not learn from.
    fn other_data<T>(&self, given: Learns) -> Result<T> {
        let wanted = Kind::named(&self.architecture)?.learns().map(|learns| learns.to_string()).collect::<Vec<_>>();
        let [name, wanted, others] = [&self.architecture, &wanted.join(" or "), &Kind::that_learn(given).join(" or ")];
        let message = format!("`{name}` learns from {wanted}, and the data are {given}, which {others} learns from");
        Err(match &self.from {
            Some(from) => self.other_beginning(from, &message),
            None => Error::data(setting("architecture"), message),
        })
    }

    /// The error for a run that begins with a model which cannot learn from the data.
    pub(super) fn other_beginning(&self, from: &Path, why: &str) -> Error {
        let message = format!("{why}: begin with another model, or leave {} out to train a new one", setting("from"));
        Error::data(from.display().to_string(), message)
    }
}
