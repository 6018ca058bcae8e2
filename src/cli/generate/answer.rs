//! What `softalign generate` writes: texts, lists, JSON, pictures of alignments.

use std::{collections::HashSet, path::Path};

use serde::Serialize;
use softalign::{
    Result,
    generate::{Generator, Hypothesis, Scorer, draw_alignment, replace_unknown},
    model::{Answers, Model},
    text::{Example, escaped, is_blank},
};

use super::{
    Args, Options, TERMINAL,
    alignments::Alignment,
    source::{Input, Source},
};
use crate::cli::{grid, output};

/// Texts for a source. A blank source, and one that the model cannot read, has none.
pub struct Answer<'a> {
    /// The source's place among all, from 1.
    pub number: u64,
    pub source: &'a Source,
    pub options: &'a Options,
    /// The best first.
    pub hypotheses: Vec<Hypothesis>,
}

/// A text, and the hypothesis that spells it; an empty text where there is none.
type Spelled = (String, Option<Hypothesis>);

/// A text as `--jsonl` prints it.
#[derive(Clone, Serialize)]
pub struct Written {
    text: String,
    score: Option<f32>,
    /// Whether it ended by itself rather than at the greatest length.
    finished: bool,
    /// Where token scores are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<Token>>,
    /// Where attention is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    attention: Option<Alignment>,
}

#[derive(Clone, Serialize)]
struct Token {
    token: String,
    log_probability: f32,
}

/// The writer of answers in the form that the arguments ask for.
pub struct Printer<'a> {
    args: &'a Args,
    model: &'a Model,
    /// Where tokens are scored, once that has been asked for.
    scorer: Option<Scorer>,
}

impl<'a> Printer<'a> {
    pub fn new(args: &'a Args, model: &'a Model) -> Self {
        Self { args, model, scorer: None }
    }

    /// Prints lines of text.
    ///
    /// # Errors
    /// The errors of the device; [`softalign::Error::Io`].
    pub fn print(&mut self, generator: &mut Generator, answer: &Answer<'_>) -> Result<()> {
        let texts = self.texts(generator, answer)?;
        if answer.options.n_best.is_some() {
            for (rank, (text, hypothesis)) in (1..).zip(&texts) {
                let score = hypothesis.as_ref().map_or_else(String::new, |found| format!("{:.4}", found.score));
                output::print(&format!("{}\t{rank}\t{score}\t{text}", answer.number))?;
            }
        } else if self.args.pairs {
            for (text, _) in texts.iter().filter(|(text, _)| !is_blank(text)) {
                output::print(&format!("{}\t{text}", answer.source.text))?;
            }
        } else {
            texts.iter().try_for_each(|(text, _)| output::print(text))?;
        }
        Ok(())
    }

    /// Draws the alignment of an answer, where that is asked for.
    ///
    /// # Errors
    /// [`softalign::Error::Data`] for a model without attention; the errors of the device; [`softalign::Error::Io`].
    pub fn draw(&self, generator: &mut Generator, answer: &Answer<'_>) -> Result<()> {
        let aligned = answer.source.input.as_ref().zip(answer.hypotheses.first());
        match (&self.args.attention, aligned) {
            // Among objects the weights are numbers.
            (Some(path), Some((input, best))) if !(self.args.jsonl && path == Path::new(TERMINAL)) => {
                draw(self.model, generator, &input.tokens, &best.tokens, path)
            }
            _ => Ok(()),
        }
    }

    /// The different texts of an answer with their best hypotheses, as many as were asked for; samples as they were drawn.
    fn texts(&self, generator: &mut Generator, answer: &Answer<'_>) -> Result<Vec<Spelled>> {
        let Source { place, text: source, input } = answer.source;
        let mut texts = Vec::new();
        let mut seen = HashSet::new();
        for hypothesis in &answer.hypotheses {
            // Answers that are no texts have no words to replace.
            let writes = self.model.network.answers() == Answers::Texts;
            let text = match answer.options.search.replace_unk && writes {
                true => replace_unknown(generator, self.model, source, hypothesis)?,
                false => self.model.text(source, &hypothesis.tokens)?,
            };
            if answer.options.sample.sample || seen.insert(text.clone()) {
                texts.push((text, hypothesis.clone()));
            }
        }
        let wanted = answer.options.texts();
        texts.truncate(wanted);
        for (text, _) in texts.iter().filter(|(_, hypothesis)| !hypothesis.finished) {
            tracing::warn!("{place}: `{}` was cut at the greatest length", escaped(text));
        }
        if input.is_some() && texts.is_empty() {
            tracing::warn!("{place}: no text for `{}`: the options leave none", escaped(source));
        } else if input.is_some() && texts.len() < wanted {
            tracing::warn!("{place}: {} different texts in place of {wanted}: the search found no more", texts.len());
        }
        let mut texts: Vec<Spelled> = texts.into_iter().map(|(text, hypothesis)| (text, Some(hypothesis))).collect();
        if texts.is_empty() {
            texts.push(Spelled::default());
        }
        Ok(texts)
    }

    /// The texts of an answer for `--jsonl`, the best first; an empty one where there is none.
    ///
    /// # Errors
    /// [`softalign::Error::Data`] for attention of a model without any; the errors of the device.
    pub fn written(&mut self, generator: &mut Generator, answer: &Answer<'_>) -> Result<Vec<Written>> {
        let Options { token_scores, attention, .. } = *answer.options;
        let texts = self.texts(generator, answer)?.into_iter().map(|(text, hypothesis)| {
            let (score, finished) = hypothesis.as_ref().map(|found| (found.score, found.finished)).unzip();
            let mut written =
                Written { text, score, finished: finished.unwrap_or_default(), tokens: None, attention: None };
            let Some((input, hypothesis)) = answer.source.input.as_ref().zip(hypothesis) else { return Ok(written) };
            if attention {
                let alignment = Alignment::new(self.model, generator, &input.tokens, &hypothesis.tokens)?;
                written.attention = Some(alignment);
            }
            if token_scores {
                written.tokens = Some(self.tokens(generator, input, hypothesis)?);
            }
            Ok(written)
        });
        texts.collect()
    }

    /// The tokens of a text and their scores.
    fn tokens(&mut self, generator: &Generator, input: &Input, hypothesis: Hypothesis) -> Result<Vec<Token>> {
        let scorer = self.scorer.get_or_insert_with(|| generator.scorer());
        let [_, named] = self.model.names(&input.tokens, &hypothesis.tokens);
        let finished = hypothesis.finished;
        let mut scores = Vec::new();
        let cut = matches!(self.model.network.answers(), Answers::Spans | Answers::Filled { .. });
        scorer.score_tokens(&[Example { source: input.tokens.clone(), target: hypothesis.tokens, cut }], |found| {
            scores.extend(found.iter().flatten().copied());
            Ok(())
        })?;
        // A text that was cut has no end.
        scores.truncate(if finished { scores.len() } else { scores.len().saturating_sub(1) });
        Ok(named.into_iter().zip(scores).map(|(token, log_probability)| Token { token, log_probability }).collect())
    }
}

fn draw(model: &Model, generator: &mut Generator, source: &[u32], target: &[u32], path: &Path) -> Result<()> {
    let weights = generator.alignment(source, target)?;
    let [columns, rows] = model.names(source, target);
    if path == Path::new(TERMINAL) {
        return grid::print(&columns, &rows, &weights);
    }
    draw_alignment(path, &columns, &rows, &weights)
}
