//! Example sources with the model's answers and its attention.

use serde::Serialize;

use crate::{
    Result,
    generate::{Generator, SearchOptions},
    model::Model,
    text::{Pair, nearest},
};

/// The most right answers, and the most wrong ones, that are shown.
const SHOWN: usize = 12;
/// The longest side of an attention matrix that is shown: longer ones are not seen at a glance.
const LONGEST: usize = 80;

/// The model's answer to a source, in tokens.
pub(super) struct Answer {
    pub source: String,
    /// What was written, as text.
    pub text: String,
    /// The tokens of the source as the model reads them, special ones around it.
    pub tokens: Vec<u32>,
    /// How many of them are its own.
    pub source_length: usize,
    pub written: Vec<String>,
    pub references: Vec<Vec<String>>,
    /// The nearest of the references.
    pub nearest: Vec<String>,
    /// The same, as text.
    pub wanted: String,
}

impl Answer {
    fn is_right(&self) -> bool {
        self.written == self.nearest
    }
}

/// An answer with its alignment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Tokens of the source, `<eos>` included.
    pub source: Vec<String>,
    /// Tokens of the answer, `<eos>` included.
    pub target: Vec<String>,
    /// The source, as text.
    pub source_text: String,
    /// The answer, as text.
    pub text: String,
    /// The nearest reference, as text, where the answer is another.
    pub wanted: Option<String>,
    /// The weight of each source token, a row for each target token; none from a model without attention.
    pub weights: Vec<Vec<f32>>,
}

/// Cuts the texts that a model wrote and the references of each into tokens.
pub(super) fn answers(model: &Model, texts: &[Pair], references: &[Vec<String>]) -> Result<Vec<Answer>> {
    texts
        .iter()
        .zip(references)
        .map(|(text, wanted)| {
            let references = wanted.iter().map(|text| model.target.tokens(text)).collect::<Result<Vec<_>>>()?;
            let written = model.target.tokens(&text.target)?;
            let nearest = nearest(&written, &references).cloned().unwrap_or_default();
            let place = references.iter().position(|reference| *reference == nearest);
            let tokens = model.source.encode_source(&text.source)?;
            Ok(Answer {
                source: text.source.clone(),
                text: text.target.clone(),
                source_length: model.source.own(&tokens).len(),
                tokens,
                wanted: place.and_then(|place| wanted.get(place)).cloned().unwrap_or_default(),
                nearest,
                written,
                references,
            })
        })
        .collect()
}

/// Right and wrong answers from all over, the wrong ones first, with their alignments.
pub(super) fn choose<'a>(
    generator: &mut Generator,
    model: &Model,
    answers: &'a [Answer],
    search: &SearchOptions,
) -> Result<Vec<Example>> {
    // What the model cannot read has no alignment.
    let longest = LONGEST.min(generator.longest());
    let legible = answers.iter().filter(|answer| answer.tokens.len().max(answer.written.len() + 1) <= longest);
    let (right, wrong): (Vec<&Answer>, Vec<&Answer>) = legible.partition(|answer| answer.is_right());
    let some = |from: Vec<&'a Answer>| from.clone().into_iter().step_by(from.len().div_ceil(SHOWN).max(1));
    let chosen: Vec<&Answer> = some(wrong).chain(some(right)).collect();
    let sources: Vec<_> = chosen.iter().map(|answer| answer.tokens.clone()).collect();
    let found = generator.generate(&sources, search)?;
    let attends = generator.attends();
    let mut examples = Vec::new();
    for ((answer, source), hypotheses) in chosen.iter().zip(&sources).zip(found) {
        let Some(best) = hypotheses.into_iter().next() else { continue };
        let weights = if attends { generator.alignment(source, &best.tokens)? } else { Vec::new() };
        if weights.iter().any(|weight| !weight.is_finite()) {
            // A model that is lost has nothing to show.
            continue;
        }
        let [names, written] = model.names(source, &best.tokens);
        examples.push(Example {
            source: names,
            target: written,
            source_text: answer.source.clone(),
            text: answer.text.clone(),
            wanted: (!answer.is_right()).then(|| answer.wanted.clone()),
            // Finer differences cannot be seen, and the page stays small.
            weights: weights
                .chunks(source.len())
                .map(|row| row.iter().map(|w| (w * 1e4).round() / 1e4).collect())
                .collect(),
        });
    }
    Ok(examples)
}
