//! What `softalign generate` writes: texts, lists, JSON, alignments.

use std::{
    collections::HashSet,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::json;
use softalign::{
    Error, Result,
    generate::{Generator, Hypothesis, Scorer, draw_alignment, replace_unknown},
    model::Model,
    text::{Example, Tokenizer, escaped},
};

use super::{Args, Source, TERMINAL};
use crate::cli::{grid, output};

/// Texts for a source. A blank source, and one that the model cannot read, has none.
pub struct Answer<'a> {
    /// The source's place among all, from 1.
    pub number: u64,
    pub source: Option<&'a Source>,
    /// The best first.
    pub hypotheses: Vec<Hypothesis>,
}

/// A text as `--jsonl` prints it.
#[derive(Default, Serialize)]
struct Written {
    text: String,
    score: f32,
    /// Whether it ended by itself rather than at the greatest length.
    finished: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    token: String,
    log_probability: f32,
}

/// The writer of answers in the form that the arguments ask for.
pub struct Printer<'a> {
    args: &'a Args,
    model: &'a Model,
    alignments: Option<(PathBuf, File)>,
    /// Where tokens are scored.
    scorer: Option<Scorer>,
}

impl<'a> Printer<'a> {
    /// # Errors
    /// [`Error::Io`] for a file that cannot be made.
    pub fn new(args: &'a Args, model: &'a Model, generator: &Generator) -> Result<Self> {
        let create = |path: &PathBuf| Ok((path.clone(), File::create(path).map_err(Error::io(path))?));
        let alignments = args.alignments.as_ref().map(create).transpose()?;
        Ok(Self { args, model, alignments, scorer: args.token_scores.then(|| generator.scorer()) })
    }

    /// # Errors
    /// The errors of the device; [`Error::Io`].
    pub fn print(&mut self, generator: &mut Generator, answer: &Answer<'_>) -> Result<()> {
        let texts = self.texts(answer)?;
        if self.args.jsonl {
            self.print_object(answer, texts)?;
        } else if self.args.n_best.is_some() {
            for (rank, (text, hypothesis)) in (1..).zip(&texts) {
                output::print(&format!("{}\t{rank}\t{:.4}\t{text}", answer.number, hypothesis.score))?;
            }
        } else {
            texts.iter().try_for_each(|(text, _)| output::print(text))?;
        }
        self.write_alignment(generator, answer)?;
        if let (Some(path), Some(source), Some(best)) = (&self.args.attention, answer.source, answer.hypotheses.first())
        {
            draw(self.model, generator, &source.tokens, &best.tokens, path)?;
        }
        Ok(())
    }

    /// The different texts of an answer with their best hypotheses, as many as were asked for; samples as they were drawn. An
    /// empty text where there is none.
    fn texts(&self, answer: &Answer<'_>) -> Result<Vec<(String, Hypothesis)>> {
        let mut texts = Vec::new();
        let mut seen = HashSet::new();
        for hypothesis in &answer.hypotheses {
            let text = match answer.source {
                Some(source) if self.args.search.replace_unk => replace_unknown(self.model, &source.text, hypothesis)?,
                _ => self.model.target.decode(&hypothesis.tokens),
            };
            if self.args.sample.sample || seen.insert(text.clone()) {
                texts.push((text, hypothesis.clone()));
            }
        }
        texts.truncate(self.args.n_best.unwrap_or(1).into());
        for (text, _) in texts.iter().filter(|(_, hypothesis)| !hypothesis.finished) {
            tracing::warn!("`{}` was cut at the greatest length", escaped(text));
        }
        if texts.is_empty() {
            if let Some(source) = answer.source {
                tracing::warn!("no text for `{}`: the options leave none", escaped(&source.text));
            }
            texts.push(Default::default());
        }
        Ok(texts)
    }

    fn print_object(&mut self, answer: &Answer<'_>, texts: Vec<(String, Hypothesis)>) -> Result<()> {
        let texts = texts.into_iter().map(|(text, hypothesis)| {
            let Hypothesis { score, finished, .. } = hypothesis;
            let tokens = answer.source.map_or(Ok(Vec::new()), |source| self.tokens(source, hypothesis))?;
            Ok(Written { text, score, finished, tokens })
        });
        let texts: Vec<Written> = texts.collect::<Result<_>>()?;
        let source = answer.source.map_or("", |source| &source.text);
        output::print(&json!({"sentence": answer.number, "source": source, "texts": texts}).to_string())
    }

    /// The tokens of a text and their scores, where they are asked for.
    fn tokens(&mut self, source: &Source, hypothesis: Hypothesis) -> Result<Vec<Token>> {
        let Some(scorer) = &mut self.scorer else { return Ok(Vec::new()) };
        let named: Vec<String> = hypothesis
            .tokens
            .iter()
            .chain([&self.model.target.specials().eos])
            .map(|token| self.model.target.token(*token))
            .collect();
        let finished = hypothesis.finished;
        let mut scores = Vec::new();
        scorer.score_tokens(&[Example::new(source.tokens.clone(), hypothesis.tokens)], |found| {
            scores.extend(found.iter().flatten().copied());
            Ok(())
        })?;
        // A text that was cut has no end.
        scores.truncate(if finished { scores.len() } else { scores.len().saturating_sub(1) });
        Ok(named.into_iter().zip(scores).map(|(token, log_probability)| Token { token, log_probability }).collect())
    }

    fn write_alignment(&mut self, generator: &mut Generator, answer: &Answer<'_>) -> Result<()> {
        let Some((path, file)) = &mut self.alignments else { return Ok(()) };
        let aligned = answer.source.zip(answer.hypotheses.first());
        let line = match aligned {
            _ if path.extension().is_none_or(|extension| extension != "jsonl" && extension != "json") => {
                aligned.map_or_else(String::new, |(source, best)| links(source, best))
            }
            None => json!({"sentence": answer.number, "source": [], "target": [], "weights": []}).to_string(),
            Some((source, best)) => {
                let weights = generator.alignment(&source.tokens, &best.tokens)?;
                let weights: Vec<_> = weights.chunks(source.tokens.len()).collect();
                let [columns, rows] = names(self.model, &source.tokens, &best.tokens);
                json!({"sentence": answer.number, "source": columns, "target": rows, "weights": weights}).to_string()
            }
        };
        writeln!(file, "{line}").map_err(Error::io(path.as_path()))
    }
}

/// The source token that each target token attended to most, in the Pharaoh form. One that attended to the source's end has none.
fn links(source: &Source, best: &Hypothesis) -> String {
    let end = source.tokens.len().saturating_sub(1);
    let links =
        best.attended.iter().map(|position| *position as usize).zip(0..).filter(|(position, _)| *position < end);
    links.map(|(position, target)| format!("{position}-{target}")).collect::<Vec<_>>().join(" ")
}

/// Source and target tokens as they are shown, the `<eos>` of both included.
fn names(model: &Model, source: &[u32], target: &[u32]) -> [Vec<String>; 2] {
    let name = |tokenizer: &Tokenizer, tokens: &[u32]| -> Vec<String> {
        tokens.iter().map(|token| tokenizer.token(*token)).collect()
    };
    [name(&model.source, source), name(&model.target, &[target, &[model.target.specials().eos]].concat())]
}

fn draw(model: &Model, generator: &mut Generator, source: &[u32], target: &[u32], path: &Path) -> Result<()> {
    let weights = generator.alignment(source, target)?;
    let [columns, rows] = names(model, source, target);
    if path == Path::new(TERMINAL) {
        return grid::print(&columns, &rows, &weights);
    }
    draw_alignment(path, &columns, &rows, &weights)
}
