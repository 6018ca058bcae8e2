//! Texts that a model goes on with, each by itself: by the best token of whole passes, and by the steps of a search.

use super::{
    File, GoldenRow,
    model::{Outputs, Pass},
};
use crate::{
    Gpu, Result,
    batch::{Batch, BatchShape},
    generate::{Generator, SearchOptions},
    graph::Parameters,
    model::{Network, TokenModel},
};

const NAME: &str = "out.generated";

/// A source, and the text so far, from the token that begins it on.
pub(super) struct Begun {
    pub source: Vec<u32>,
    pub text: Vec<u32>,
}

impl Begun {
    /// Texts that have only just begun, for the rows of a tensor of sources.
    pub fn translations(file: &File, source: &str, lengths: &[u32], network: &Network) -> Result<Vec<Self>> {
        let [_, steps] = file.shape(source)?;
        let rows = file.integer(source)?.1.chunks(steps).zip(lengths);
        let begun = |(row, length): (&[u32], &u32)| Self {
            source: row.iter().copied().take(*length as usize).collect(),
            text: vec![network.limits().specials.bos],
        };
        Ok(rows.map(begun).collect())
    }
}

/// Each text continued by the best token of each whole pass.
pub(super) fn by_passes(
    file: &File,
    gpu: &Gpu,
    network: &Network,
    parameters: &Parameters,
    texts: &[Begun],
) -> Result<GoldenRow> {
    let [_, continued] = file.shape(NAME)?;
    let limits = network.limits();
    let mut tokens = Vec::new();
    for Begun { source, text } in texts {
        let given = text.len();
        let shape = BatchShape { rows: 1, source: source.len(), target: given + continued };
        let mut pass = Pass::new(file, gpu, network.as_ref(), parameters, shape)?;
        let mut batch = Batch::filler(shape, limits.specials);
        batch.put_source(0, source);
        batch.target_in.iter_mut().zip(text).for_each(|(place, token)| *place = *token);
        for known in given..given + continued {
            let Outputs { logits, .. } = pass.run(&batch)?;
            let last = logits.chunks(limits.target_vocabulary).nth(known - 1).unwrap_or_default();
            let best = last.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
            let best = best.map_or(0, |(token, _)| token as u32);
            batch.target_in.iter_mut().skip(known).take(1).for_each(|place| *place = best);
            tokens.push(best as f32);
        }
    }
    let reference: Vec<f64> = file.integer(NAME)?.1.iter().map(|token| f64::from(*token)).collect();
    Ok(file.row(NAME, &tokens, &reference))
}

/// What a search writes for each source, a step at a time. The file's text goes on past special tokens, where a search ends or chooses
/// otherwise.
pub(super) fn by_steps(
    file: &File,
    gpu: &Gpu,
    network: &Network,
    parameters: &Parameters,
    texts: &[Begun],
) -> Result<GoldenRow> {
    let [_, continued] = file.shape(NAME)?;
    let sources: Vec<_> = texts.iter().map(|text| text.source.clone()).collect();
    let (network, parameters) = (network.clone(), parameters.clone());
    let specials = network.limits().specials;
    let mut generator = Generator::new(TokenModel { gpu: gpu.clone(), network, parameters });
    let options = SearchOptions { max_length: Some(continued), ..SearchOptions::default() };
    let (mut tokens, mut reference) = (Vec::new(), Vec::new());
    for (texts, wanted) in generator.generate(&sources, &options)?.iter().zip(file.integer(NAME)?.1.chunks(continued)) {
        let special = |token: &&u32| [specials.pad, specials.bos, specials.eos].contains(token);
        let wanted: Vec<_> = wanted.iter().take_while(|token| !special(token)).collect();
        let written = texts.first().map_or(&[][..], |text| &text.tokens);
        tokens.extend(written.iter().take(wanted.len()).map(|token| *token as f32));
        reference.extend(wanted.into_iter().map(|token| f64::from(*token)));
    }
    Ok(file.row(&format!("{NAME} by steps"), &tokens, &reference))
}
