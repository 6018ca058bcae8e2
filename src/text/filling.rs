//! Texts with masks, and with what was found in their places.

use std::ops::Range;

use super::Tokenizer;
use crate::Result;

impl Tokenizer {
    /// A text of `ids` to be looked at, with masks by their name.
    pub fn decode_masked(&self, ids: &[u32]) -> String {
        let Some(mask) = self.mask() else { return self.decode(ids) };
        let parts = ids.chunk_by(|one, next| (*one == mask) == (*next == mask)).flat_map(|part| match part {
            [first, ..] if *first == mask => vec![self.piece(mask); part.len()],
            part => vec![self.decode(part)],
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    /// A text with its masks filled in, and all else as it is written: `ids` are those of [`Tokenizer::encode_masked`] with others in
    /// the places of masks.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn fill(&self, text: &str, ids: &[u32]) -> Result<String> {
        let own = ids.get(self.own(ids)).unwrap_or_default();
        let read = self.read_masked(text)?;
        let (mut filled, mut end, mut place) = (String::new(), 0, 0);
        let is_mask = |id: u32| Some(id) == self.mask();
        // White space that the tokenizer counts to a mask.
        let space = |place: &Range<usize>| {
            let own = text.get(place.clone()).unwrap_or_default();
            own.get(..own.len() - own.trim_start().len()).unwrap_or_default()
        };
        // Masks side by side may stand for the bytes of one character.
        let goes_on =
            |one: &Range<usize>, next: &Range<usize>| one.end == next.start && ["", " "].contains(&space(next));
        for run in read.chunk_by(|one, next| is_mask(one.0) && is_mask(next.0) && goes_on(&one.1, &next.1)) {
            let (before, found) = (place, place + run.len());
            place = found;
            let ([(id, first), ..], [.., (_, last)]) = (run, run) else { continue };
            if !is_mask(*id) {
                continue;
            }
            filled.push_str(text.get(end..first.start).unwrap_or_default());
            let spelled =
                self.behind(own.get(..before).unwrap_or_default(), own.get(before..found).unwrap_or_default());
            // Where what was found has no space before it, it goes on with the word before.
            let space = space(first);
            if spelled.starts_with(' ') || filled.is_empty() || space != " " {
                filled.push_str(space);
            }
            filled.push_str(without_space(&spelled, &filled));
            end = last.end;
        }
        filled.push_str(text.get(end..).unwrap_or_default());
        Ok(filled)
    }

    /// What tokens spell behind others.
    fn behind(&self, before: &[u32], ids: &[u32]) -> String {
        let before = before.get(before.len().saturating_sub(1)..).unwrap_or_default();
        let both = self.decode(&[before, ids].concat());
        both.strip_prefix(&self.decode(before)).map_or_else(|| self.decode(ids), str::to_owned)
    }
}

/// A word without the space before it, where the text has one there already or begins.
fn without_space<'a>(word: &'a str, before: &str) -> &'a str {
    let begins = before.is_empty() || before.ends_with(char::is_whitespace);
    word.strip_prefix(' ').filter(|rest| begins && !rest.is_empty()).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TokenUnit;

    fn tokenizer(unit: &TokenUnit) -> Tokenizer {
        let tokenizer = Tokenizer::train(unit, ["the cat sat on the mat"; 9].into_iter(), None).unwrap();
        tokenizer.begun().unwrap().with_mask().unwrap()
    }

    /// A masked text filled in with the tokens of another one, which has as many.
    fn filled(tokenizer: &Tokenizer, masked: &str, whole: &str) -> String {
        let masked_ids = tokenizer.encode_masked(masked).unwrap();
        let whole = tokenizer.framed(tokenizer.encode(whole).unwrap());
        assert_eq!(masked_ids.len(), whole.len(), "{masked}");
        let mask = tokenizer.mask();
        let ids: Vec<_> =
            masked_ids.iter().zip(&whole).map(|(id, found)| if Some(*id) == mask { *found } else { *id }).collect();
        tokenizer.fill(masked, &ids).unwrap()
    }

    #[test]
    fn masks_are_filled_and_all_else_stays_as_it_is_written() {
        for (unit, masked, expected) in [
            (TokenUnit::Words, "[MASK]  cat [MASK] On\tthe [MASK] ", "the  cat sat On\tthe mat "),
            (TokenUnit::Bpe(60), "[MASK]  cat [MASK] on\tthe [MASK] ", "the  cat sat on\tthe mat "),
            (TokenUnit::Bpe(60), " the  [MASK]\n[MASK] on", " the  cat\nsat on"),
            (TokenUnit::Bytes(Some(290)), "the [MASK] sat[MASK] the [MASK]", "the cat sat on the mat"),
            (TokenUnit::Chars, "t[MASK]e[MASK]cat", "the cat"),
            (TokenUnit::Bytes(None), "the [MASK]at[MASK]s[MASK]t caf[MASK][MASK]", "the cat sat café"),
        ] {
            assert_eq!(filled(&tokenizer(&unit), masked, expected), expected, "{unit}");
        }
    }

    /// A tokenizer whose file says something else of the way to cut texts, and leaves them as they are before.
    fn changed(unit: &TokenUnit, name: &str, value: serde_json::Value) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        tokenizer(unit).save(&path).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (json["pre_tokenizer"][name], json["normalizer"]) = (value, serde_json::Value::Null);
        std::fs::write(&path, json.to_string()).unwrap();
        Tokenizer::load(&path).unwrap()
    }

    #[test]
    fn a_part_of_a_text_is_no_text_of_its_own() {
        for (tokenizer, sign) in [
            (tokenizer(&TokenUnit::Bpe(60)), "▁"),
            (changed(&TokenUnit::Bpe(60), "prepend_scheme", "first".into()), "▁"),
            (tokenizer(&TokenUnit::Bytes(Some(290))), "Ġ"),
            (changed(&TokenUnit::Bytes(Some(290)), "add_prefix_space", true.into()), "Ġ"),
        ] {
            let pieces = |text: &str| -> Vec<_> {
                tokenizer.encode_masked(text).unwrap().into_iter().map(|id| tokenizer.piece(id)).collect()
            };
            let [cat, on] = ["cat", "on"].map(|word| format!("{sign}{word}"));
            assert_eq!(pieces("[MASK]at on[MASK]")[1..5], ["[MASK]", "at", &on, "[MASK]"]);
            assert_eq!(pieces("[MASK] cat [MASK][MASK]o")[1..6], ["[MASK]", &cat, "[MASK]", "[MASK]", "o"]);
        }
    }
}
