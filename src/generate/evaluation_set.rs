//! Pairs to evaluate on, and what is scored of them.

use std::{collections::HashMap, slice};

use super::{Generator, Likelihood, SearchOptions, replace_unknown};
use crate::{
    Error, Result,
    model::{Answers, BatchShape, Layers, Model},
    text::{AnswerStatistics, Pair, Tokenization, escaped, metrics::Statistics, without_last},
};

/// How texts are compared with references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scoring {
    /// The origin of the pairs, for messages.
    pub name: String,
    /// The tokens of BLEU; without, those that fit the model ([`crate::text::Tokenizer::tokenization`]).
    pub tokenization: Option<Tokenization>,
    /// Whether the targets of all pairs with one source are references of one text, or else each pair is scored by itself.
    pub group_references: bool,
    /// The number of corpora drawn by bootstrap for the intervals; 0 for no intervals.
    pub resamples: usize,
    /// The seed of their draws.
    pub seed: u64,
}

impl Default for Scoring {
    fn default() -> Self {
        Self { name: "pairs".into(), tokenization: None, group_references: false, resamples: 0, seed: 1 }
    }
}

/// Pairs to evaluate on, encoded for every model of the same tokenizers.
#[derive(Clone, Debug)]
pub struct EvaluationSet {
    /// The tokens of the distinct sources that models can read, each with its `<eos>`.
    sources: Vec<Vec<u32>>,
    items: Vec<Item>,
    /// For each pair the item that its target is a reference of.
    of_pairs: Vec<usize>,
    pub(super) tokenization: Tokenization,
    /// Whether the units of error rates are words.
    pub(super) scores_words: bool,
    /// Whether texts are names of classes.
    pub(super) names_classes: bool,
    /// Whether texts are parts of their sources.
    pub(super) quotes: bool,
}

/// What is scored as one: a source and its references.
#[derive(Clone, Debug)]
struct Item {
    source: String,
    /// Its place among the encoded sources; none where it is too long.
    place: Option<usize>,
    /// The references in the forms that scores compare: units, tokens of BLEU, and whole.
    units: Vec<Vec<String>>,
    tokens: Vec<Vec<String>>,
    texts: Vec<Vec<String>>,
}

/// A text to score.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    text: String,
    units: Vec<String>,
}

impl EvaluationSet {
    /// Encodes `pairs`. Warnings say how many sources are too long for the model, whose texts will be empty, and how many
    /// references its vocabulary cannot write as they stand.
    ///
    /// # Errors
    /// [`Error::Data`] for a text that the tokenizer refuses.
    pub fn new(model: &Model, pairs: &[Pair], scoring: &Scoring) -> Result<Self> {
        Self::up_to(model.network.limits().max_length, model, pairs, scoring)
    }

    /// The same for sources of up to `longest` tokens.
    pub(super) fn up_to(longest: usize, model: &Model, pairs: &[Pair], scoring: &Scoring) -> Result<Self> {
        let mut set = Self::collect(pairs, scoring, model.target.tokenization());
        set.scores_words = model.target.scores_words();
        set.names_classes = model.target.takes_whole();
        set.quotes = model.network.answers() == Answers::Spans;
        for (&item, pair) in set.of_pairs.iter().zip(pairs) {
            let units = model.target.units_of(&pair.target)?;
            set.items.get_mut(item).into_iter().for_each(|item| item.units.push(units.clone()));
        }
        let mut places: HashMap<String, Option<usize>> = HashMap::new();
        for item in &mut set.items {
            if !places.contains_key(&item.source) {
                let tokens = model.source.encode_source(&item.source)?;
                let fits = tokens.len() <= longest;
                places.insert(item.source.clone(), fits.then_some(set.sources.len()));
                set.sources.extend(fits.then_some(tokens));
            }
            item.place = places.get(&item.source).copied().flatten();
        }
        set.warn_of_long(longest, scoring);
        warn_of_foreign(model, pairs, scoring)?;
        Ok(set)
    }

    /// Pairs to compare with texts of no model, in words.
    pub(super) fn of_words(pairs: &[Pair], scoring: &Scoring) -> Self {
        let mut set = Self::collect(pairs, scoring, Tokenization::None);
        for item in &mut set.items {
            item.units = item.texts.iter().flatten().map(|text| Tokenization::None.tokens(text)).collect();
        }
        set
    }

    /// The items of `pairs` with their references, without units.
    fn collect(pairs: &[Pair], scoring: &Scoring, default: Tokenization) -> Self {
        let tokenization = scoring.tokenization.unwrap_or(default);
        let (mut items, mut of_pairs) = (Vec::<Item>::new(), Vec::new());
        let mut known: HashMap<&str, usize> = HashMap::new();
        for pair in pairs {
            let next = items.len();
            let number = if scoring.group_references { *known.entry(&pair.source).or_insert(next) } else { next };
            if number == next {
                let (source, units, tokens, texts) = (pair.source.clone(), Vec::new(), Vec::new(), Vec::new());
                items.push(Item { source, place: None, units, tokens, texts });
            }
            if let Some(item) = items.get_mut(number) {
                item.tokens.push(tokenization.tokens(&pair.target));
                item.texts.push(vec![pair.target.clone()]);
            }
            of_pairs.push(number);
        }
        Self {
            sources: Vec::new(),
            items,
            of_pairs,
            tokenization,
            scores_words: true,
            names_classes: false,
            quotes: false,
        }
    }

    fn warn_of_long(&self, longest: usize, scoring: &Scoring) {
        let long = self.items.iter().filter(|item| item.place.is_none()).count();
        let is_long = |item: usize| self.items.get(item).is_some_and(|item| item.place.is_none());
        if let Some(first) = self.of_pairs.iter().position(|item| is_long(*item)) {
            tracing::warn!(
                "{}: {long} of {} sources have more tokens than the {longest} that the model takes, their <eos> counted, the first \
                 in line {}. Their texts are empty, and the perplexity is without them",
                escaped(&scoring.name),
                self.items.len(),
                first + 1
            );
        }
    }

    /// The best text for each item.
    pub(super) fn write(
        &self,
        generator: &mut Generator,
        model: &Model,
        options: &SearchOptions,
    ) -> Result<Vec<Written>> {
        let found = generator.generate(&self.sources, options)?;
        let written = self.items.iter().map(|item| {
            let best = item.place.and_then(|place| found.get(place)?.first());
            match best {
                None => Ok(Written::default()),
                Some(best) if self.quotes => {
                    let text = model.text(&item.source, &best.tokens)?;
                    Ok(Written { units: model.target.units_of(&text)?, text })
                }
                Some(best) if options.attended => {
                    let text = replace_unknown(generator, model, &item.source, best)?;
                    Ok(Written { units: model.target.units_of(&text)?, text })
                }
                Some(best) => {
                    Ok(Written { text: model.target.decode(&best.tokens), units: model.target.units(&best.tokens) })
                }
            }
        });
        written.collect()
    }

    /// Texts from elsewhere, the lines of a file: one for each item, or one for each pair.
    pub(super) fn given(&self, model: Option<&Model>, (name, lines): (&str, &[String])) -> Result<Vec<Written>> {
        let (pairs, items) = (self.of_pairs.len(), self.items.len());
        let [by_pair, by_item] = [pairs, items].map(|wanted| without_last(lines, wanted));
        let texts: Vec<&String> = if by_pair.len() == pairs {
            self.of_items(name, by_pair)?
        } else if by_item.len() == items {
            by_item.iter().collect()
        } else {
            let sources = if items < pairs { format!(", or of the {items} sources") } else { String::new() };
            let message = format!("{} lines in place of one for each of the {pairs} pairs{sources}", lines.len());
            return Err(Error::data(name, message));
        };
        let written = texts.into_iter().map(|text| {
            let units = match model {
                Some(model) => model.target.units_of(text)?,
                None => Tokenization::None.tokens(text),
            };
            Ok(Written { text: text.clone(), units })
        });
        written.collect()
    }

    /// Each item's text, of a text for each pair.
    fn of_items<'a>(&self, name: &str, texts: &'a [String]) -> Result<Vec<&'a String>> {
        let mut found: Vec<(&String, usize)> = Vec::new();
        for ((text, &item), line) in texts.iter().zip(&self.of_pairs).zip(1..) {
            match found.get(item) {
                None => found.push((text, line)),
                Some((known, _)) if *known == text => {}
                Some((_, first)) => {
                    let message = format!(
                        "lines {first} and {line} differ, and both are for the source \"{}\", whose references are grouped: give \
                         all of a source's pairs the same line, or one line for each of the {} sources",
                        self.items.get(item).map(|item| escaped(&item.source)).unwrap_or_default(),
                        self.items.len()
                    );
                    return Err(Error::data(name, message));
                }
            }
        }
        Ok(found.into_iter().map(|(text, _)| text).collect())
    }

    /// What each item adds to the scores.
    pub(super) fn statistics(&self, written: &[Written]) -> Vec<Statistics> {
        let of_item = |(item, written): (&Item, &Written)| {
            let tokens = self.tokenization.tokens(&written.text);
            let whole = slice::from_ref(&written.text);
            Statistics::of_forms([(&written.units, &item.units), (&tokens, &item.tokens), (whole, &item.texts)])
        };
        self.items.iter().zip(written).map(of_item).collect()
    }

    /// What each text adds to the scores of answers that are parts of their sources; nothing for other texts.
    pub(crate) fn answer_statistics(&self, texts: &[Pair]) -> Vec<AnswerStatistics> {
        let items = self.items.iter().zip(texts).filter(|_| self.quotes);
        items.map(|(item, text)| AnswerStatistics::of(&text.target, &item.texts.concat())).collect()
    }

    /// The likelihood of each item's references, which `pairs` hold; of none whose source is too long. A reference may be as long
    /// as it likes, but for models with a table of positions; a warning says how many are then too long.
    pub(super) fn likelihoods(&self, generator: &Generator, model: &Model, pairs: &[Pair]) -> Result<Vec<Likelihood>> {
        let (mut examples, mut items, mut long) = (Vec::new(), Vec::new(), Vec::new());
        for (pair, &item) in pairs.iter().zip(&self.of_pairs) {
            if self.items.get(item).is_none_or(|item| item.place.is_none()) {
                continue;
            }
            let example = model.example(pair)?;
            let length = example.target.len() + 1;
            if length > generator.longest() && !takes(generator, length) {
                long.push(&pair.target);
                continue;
            }
            examples.push(example);
            items.push(item);
        }
        if let Some(first) = long.first() {
            tracing::warn!(
                "{} of {} references have more than {} tokens, their <eos> counted, and this model has places for no more: the \
                 perplexity is without them. The first is \"{}\"",
                long.len(),
                pairs.len(),
                generator.longest(),
                escaped(first)
            );
        }
        let mut sums = vec![Likelihood::default(); self.items.len()];
        for (item, likelihood) in items.into_iter().zip(generator.scorer().score(&examples)?) {
            sums.get_mut(item).into_iter().for_each(|sum| *sum += likelihood);
        }
        Ok(sums)
    }

    /// Each item's source with its text.
    pub(super) fn texts(&self, written: Vec<Written>) -> Vec<Pair> {
        self.items.iter().zip(written).map(|(item, written)| Pair::new(&item.source, written.text)).collect()
    }

    /// The references of each item.
    pub(super) fn answers(&self) -> Vec<Vec<String>> {
        self.items.iter().map(|item| item.texts.concat()).collect()
    }

    /// The fewest and the most references of an item.
    pub(super) fn references(&self) -> [usize; 2] {
        let counts = || self.items.iter().map(|item| item.texts.len());
        [counts().min().unwrap_or(0), counts().max().unwrap_or(0)]
    }
}

/// Whether the models can score a text of `length` tokens, its `<eos>` counted, which may be longer than what they write.
fn takes(generator: &Generator, length: usize) -> bool {
    let shape = BatchShape { rows: 1, source: 1, target: length };
    generator.members.iter().all(|member| member.network.forward(&mut Layers::new(), shape).is_ok())
}

/// Says how many references a model's vocabulary cannot write as they stand: lower-cased by its tokenizer, for one, or with words
/// that it lacks.
fn warn_of_foreign(model: &Model, pairs: &[Pair], scoring: &Scoring) -> Result<()> {
    if model.network.answers() == Answers::Spans {
        // Every part of a paragraph can be quoted.
        return Ok(());
    }
    let mut foreign = 0;
    let mut first = None;
    for (pair, line) in pairs.iter().zip(1..) {
        let tokens = model.target.encode(&pair.target)?;
        if model.target.units(&tokens) != model.target.units_of(&pair.target)? {
            foreign += 1;
            first.get_or_insert_with(|| (line, &pair.target, model.target.decode(&tokens)));
        }
    }
    if let Some((line, reference, nearest)) = first {
        tracing::warn!(
            "{}: {foreign} of {} references cannot be written as they stand with the model's vocabulary, and so never match. The \
             first, in line {line}, is \"{}\"; \"{}\" is as near as it gets",
            escaped(&scoring.name),
            pairs.len(),
            escaped(reference),
            escaped(&nearest)
        );
    }
    Ok(())
}
