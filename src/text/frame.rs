//! The special tokens around a whole source: `<eos>` behind it, or those that a `tokenizer.json` from elsewhere asks for, such as
//! `[CLS]` before it and `[SEP]` behind it.

use tokenizers::{Encoding, PostProcessor as _, PostProcessorWrapper, Token, processors::template::TemplateProcessing};

/// The tokens before a source and behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub before: Vec<u32>,
    pub behind: Vec<u32>,
}

/// An id that no tokenizer gives out, for the place of the text.
const TEXT: u32 = u32::MAX;

impl Frame {
    /// The frame that a file's post-processor makes, found by giving it a text to work on. Where it adds nothing, `<eos>` ends a
    /// source.
    pub fn of(processor: Option<&PostProcessorWrapper>, eos: u32) -> Self {
        let made = processor.map(Self::made_by).unwrap_or_default();
        if made == Self::default() { Self { before: Vec::new(), behind: vec![eos] } } else { made }
    }

    /// The frame that a post-processor makes, if any.
    pub fn made_by(processor: &PostProcessorWrapper) -> Self {
        let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
        let around = processor.process(text, None, true).map(|whole| whole.get_ids().to_vec()).unwrap_or_default();
        let mut parts = around.split(|id| *id == TEXT).map(<[u32]>::to_vec);
        Self { before: parts.next().unwrap_or_default(), behind: parts.next().unwrap_or_default() }
    }

    /// A post-processor that makes the frame of the tokens that `name` names.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn processor(&self, name: impl Fn(u32) -> Option<String>) -> Result<PostProcessorWrapper, String> {
        let named = |ids: &[u32]| -> Result<Vec<(String, u32)>, String> {
            ids.iter().map(|id| Ok((name(*id).ok_or(format!("no token has id {id}"))?, *id))).collect()
        };
        let [before, behind] = [named(&self.before)?, named(&self.behind)?];
        let names = |tokens: &[(String, u32)]| tokens.iter().map(|(token, _)| token.clone()).collect::<Vec<_>>();
        let single = [names(&before), vec!["$A".to_owned()], names(&behind)].concat();
        let template = TemplateProcessing::builder()
            .try_single(single)?
            .special_tokens(before.into_iter().chain(behind).collect::<Vec<_>>())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(PostProcessorWrapper::Template(template))
    }

    /// A source with its frame.
    pub fn around(&self, mut ids: Vec<u32>) -> Vec<u32> {
        ids.splice(0..0, self.before.iter().copied());
        ids.extend(&self.behind);
        ids
    }
}
