//! Options of a run where nothing is said about them: by its data, and by its architecture.

use std::collections::BTreeMap;

use super::{
    Data, Decay, Metric, Precision, Schedule, TrainOptions,
    options::{alone, default_architecture, once},
};
use crate::{
    model::{Habits, Kind, Learns, Readout},
    text::{Task, TokenUnit},
};

/// The architecture for plain text, where nobody asks for another.
const LANGUAGE_MODEL: &str = "gpt2";

/// The architecture for texts and their classes, and for questions over paragraphs, likewise.
const ENCODER: &str = "bert";

/// Subwords of masked text, where nobody says how many.
const SUBWORDS: usize = 4_000;

/// The habits of an architecture; those of the default one for a name that is not known, which is refused elsewhere.
fn habits_of(architecture: &str) -> Habits {
    Kind::named(architecture).map_or(Kind::DEFAULT.habits, |kind| kind.habits)
}

/// Elements of a state for some data, of an architecture of ordinary width.
fn hidden_for(data: &Data) -> usize {
    if matches!(data, Data::Task(_)) { 128 } else { 256 }
}

/// The schedule of layers of these habits.
fn schedule_of(habits: Habits) -> Schedule {
    match habits.recurrent {
        true => Schedule { warmup: 0, decay: Decay::Constant },
        false => Schedule { warmup: 200, decay: Decay::InverseSqrt },
    }
}

/// The decay of the average of parameters that layers of these habits are validated and kept by. Those that are not recurrent, at the
/// rates at which they learn fast, are right and wrong by turns from step to step; Vaswani et al. 2017, section 6.1, average too.
fn average_of(habits: Habits) -> Option<f64> {
    if habits.recurrent { None } else { Some(0.98) }
}

impl TrainOptions {
    /// The defaults for some data: a task brings its own units and a model of the kind and the size that it needs, and plain text
    /// a model that learns from it.
    pub fn new(data: Data) -> Self {
        match data {
            Data::Text { .. } => Self::of_pairs(data).with_architecture(LANGUAGE_MODEL),
            Data::Task(Task::Opinions | Task::Stories) | Data::Questions { .. } => {
                Self::of_pairs(data).with_architecture(ENCODER)
            }
            data => Self::of_pairs(data),
        }
    }

    /// The same for another architecture, with its own defaults where these are those of the one before. One that learns from plain text,
    /// classes or questions brings all of its own.
    pub fn with_architecture(self, name: &str) -> Self {
        let (learns, before) = (self.learns(), habits_of(&self.architecture));
        let options = Self { architecture: name.to_owned(), ..self };
        // The defaults for other data say nothing here.
        let (options, before) = match options.learns() == learns {
            true => (options, before),
            false => {
                let defaults = Self::of_pairs(options.data);
                (Self { from: options.from, architecture: options.architecture, ..defaults }, Kind::DEFAULT.habits)
            }
        };
        let task = matches!(options.data, Data::Task(_));
        let schedule = Schedule { warmup: 100, ..options.schedule };
        match options.learns() {
            Some(Learns::Text) => Self {
                metric: Metric::CrossEntropy,
                schedule,
                learning_rate: 1e-3,
                batch: 32,
                max_length: if task { 64 } else { 256 },
                layers: if task { 2 } else { 4 },
                ..options
            },
            Some(Learns::Masked) => Self {
                metric: Metric::CrossEntropy,
                schedule,
                learning_rate: 5e-4,
                batch: 32,
                target_unit: TokenUnit::Bpe(SUBWORDS),
                max_length: 128,
                layers: 4,
                ..options
            },
            Some(learns @ (Learns::Classes | Learns::Spans)) => Self {
                metric: Metric::Exact,
                schedule,
                learning_rate: 5e-4,
                batch: 32,
                source_unit: TokenUnit::Words,
                target_unit: if learns == Learns::Classes { TokenUnit::Whole } else { TokenUnit::Words },
                max_length: 256,
                layers: 2,
                ..options
            },
            Some(Learns::Pairs) => options.with_habits(before, habits_of(name)),
            None => options,
        }
    }

    /// The same with the habits `after` where it has those `before`.
    fn with_habits(self, before: Habits, after: Habits) -> Self {
        let hidden = hidden_for(&self.data);
        Self {
            batch: if self.batch == before.batch { after.batch } else { self.batch },
            layers: if self.layers == before.layers { after.layers } else { self.layers },
            hidden: if self.hidden == hidden * before.width { hidden * after.width } else { self.hidden },
            schedule: if self.schedule == schedule_of(before) { schedule_of(after) } else { self.schedule },
            ema: if self.ema == average_of(before) { average_of(after) } else { self.ema },
            ..self
        }
    }

    /// The defaults for pairs and the default architecture.
    fn of_pairs(data: Data) -> Self {
        let task = matches!(data, Data::Task(_));
        let (habits, hidden) = (Kind::DEFAULT.habits, hidden_for(&data));
        let [source_unit, target_unit] = match data {
            Data::Task(task) => task.units(),
            _ => [TokenUnit::Chars, TokenUnit::Chars],
        };
        Self {
            data,
            from: None,
            source_unit,
            target_unit,
            max_vocabulary: None,
            min_count: once(),
            shared_vocabulary: false,
            bpe_dropout: 0.0,
            max_length: 100,
            batch: habits.batch,
            batch_tokens: None,
            accumulate: alone(),
            learning_rate: if task { 2e-3 } else { 1e-3 },
            schedule: schedule_of(habits),
            clip_norm: 1.0,
            weight_decay: 0.0,
            rate: Vec::new(),
            ema: average_of(habits),
            precision: Precision::default(),
            label_smoothing: 0.0,
            dropout: 0.0,
            variational: false,
            dropout_state: 0.0,
            dropout_words: 0.0,
            guided_alignment: None,
            teacher: None,
            coverage_weight: 0.0,
            embedding: if task { 64 } else { 128 },
            hidden,
            readout: Readout::Tanh,
            tie_embeddings: false,
            layers: habits.layers,
            architecture: default_architecture(),
            model: BTreeMap::new(),
            seed: 1,
            validate_every: None,
            metric: Metric::default(),
            keep_best: 0,
            group_references: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Preset;

    fn habits(options: &TrainOptions) -> (usize, usize, usize, Schedule, Option<f64>) {
        (options.batch, options.layers, options.hidden, options.schedule, options.ema)
    }

    #[test]
    fn architectures_bring_their_habits_and_take_them_along() {
        let recurrent = TrainOptions::new(Data::Task(Task::Numbers));
        let warmed = Schedule { warmup: 200, decay: Decay::InverseSqrt };
        let transformer = recurrent.clone().with_architecture("transformer");
        assert_eq!(habits(&transformer), (64, 1, 128, warmed, Some(0.98)));
        let convolutions = transformer.with_architecture("convs2s");
        assert_eq!(habits(&convolutions), (64, 3, 128, warmed, Some(0.98)));
        let wide = convolutions.with_architecture("sutskever");
        assert_eq!(habits(&wide), (128, 1, 256, recurrent.schedule, None));
        assert_eq!(wide.with_architecture(Kind::DEFAULT.name), recurrent);
    }

    #[test]
    fn what_a_recipe_says_stays() {
        let (recipe, _) = Preset::TranslateSmall.recipe(Data::Task(Task::Numbers));
        let own = habits(&recipe);
        assert_ne!(own.0, Kind::DEFAULT.habits.batch);
        let deeper = TrainOptions { layers: 2, ..recipe };
        assert_eq!(habits(&deeper.with_architecture("convs2s")), (own.0, 2, own.2, own.3, own.4));
    }
}
