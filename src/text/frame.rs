//! The special tokens around a whole source: `<eos>` behind it, or those that a `tokenizer.json` from elsewhere asks for, such as
//! `[CLS]` before it and `[SEP]` behind it; and those between the two texts of a source.

use tokenizers::{Encoding, PostProcessor as _, PostProcessorWrapper, Token, processors::template::TemplateProcessing};

/// The tokens before a source, between its texts where it has two, and behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub before: Vec<u32>,
    /// None where a source is one text.
    pub between: Vec<u32>,
    pub behind: Vec<u32>,
}

/// An id that no tokenizer gives out, for the place of the text.
const TEXT: u32 = u32::MAX;

impl Frame {
    /// The frame that a file's post-processor makes, found by giving it a text to work on. Where it adds nothing, `<eos>` ends a
    /// source, if there is one.
    pub fn of(processor: Option<&PostProcessorWrapper>, eos: Option<u32>) -> Self {
        let made = processor.map(Self::made_by).unwrap_or_default();
        if made == Self::default() { Self { behind: eos.into_iter().collect(), ..made } } else { made }
    }

    /// The frame that a post-processor makes, if any.
    pub fn made_by(processor: &PostProcessorWrapper) -> Self {
        let text = || Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
        let parts = |second: Option<Encoding>| -> Vec<Vec<u32>> {
            let whole = processor.process(text(), second, true);
            let ids = whole.map(|whole| whole.get_ids().to_vec()).unwrap_or_default();
            ids.split(|id| *id == TEXT).map(<[u32]>::to_vec).collect()
        };
        let part = |parts: &[Vec<u32>], place: usize| parts.get(place).cloned().unwrap_or_default();
        let (one, two) = (parts(None), parts(Some(text())));
        Self { before: part(&one, 0), between: part(&two, 1), behind: part(&one, 1) }
    }

    /// A post-processor that makes the frame of the tokens that `name` names.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn processor(&self, name: impl Fn(u32) -> Option<String>) -> Result<PostProcessorWrapper, String> {
        let named = |ids: &[u32]| -> Result<Vec<(String, u32)>, String> {
            ids.iter().map(|id| Ok((name(*id).ok_or(format!("no token has id {id}"))?, *id))).collect()
        };
        let [before, between, behind] = [named(&self.before)?, named(&self.between)?, named(&self.behind)?];
        let names = |tokens: &[(String, u32)]| tokens.iter().map(|(token, _)| token.clone()).collect::<Vec<_>>();
        let single = [names(&before), vec!["$A".to_owned()], names(&behind)].concat();
        let second = |token: String| format!("{token}:1");
        let pair = [names(&before), vec!["$A".to_owned()], names(&between), vec!["$B:1".to_owned()]].concat();
        let pair = pair.into_iter().chain(names(&behind).into_iter().map(second)).collect::<Vec<_>>();
        let mut template = TemplateProcessing::builder();
        template.try_single(single)?;
        if !self.between.is_empty() {
            template.try_pair(pair)?;
        }
        template.special_tokens([before, between, behind].concat());
        Ok(PostProcessorWrapper::Template(template.build().map_err(|error| error.to_string())?))
    }

    /// A source with its frame.
    pub fn around(&self, mut ids: Vec<u32>) -> Vec<u32> {
        ids.splice(0..0, self.before.iter().copied());
        ids.extend(&self.behind);
        ids
    }

    /// A source of two texts with its frame.
    pub fn around_both(&self, [first, second]: [Vec<u32>; 2]) -> Vec<u32> {
        [&self.before, &first, &self.between, &second, &self.behind].into_iter().flatten().copied().collect()
    }

    /// How sources are read, in words, with `name` for each special token: a source of one text, and where there is any such of two.
    pub fn shown(&self, name: impl Fn(u32) -> String) -> String {
        let token = |id: u32| if id == TEXT { "…".to_owned() } else { name(id) };
        let row = |ids: Vec<u32>| format!("`{}`", ids.into_iter().map(token).collect::<Vec<_>>().join(" "));
        let one = row(self.around(vec![TEXT]));
        match self.between.is_empty() {
            true => one,
            false => format!("{one} or {}", row(self.around_both([vec![TEXT], vec![TEXT]]))),
        }
    }
}
