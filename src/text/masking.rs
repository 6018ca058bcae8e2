//! Plain text, as encoders learn it: windows, some tokens of which are to be found from all others (Devlin et al., "BERT", 2019,
//! section 3.1 and appendix A.1), each window a text by itself (Liu et al., "RoBERTa", 2019, section 4.2).

use rand::{Rng, RngExt as _, seq::IndexedRandom as _};

use super::{Example, Tokenizer, windows};
use crate::{Error, Result};

/// The share of a window's tokens that are to be found.
const FOUND: f64 = 0.15;
/// The share of these that the mask stands for,
const MASKED: f64 = 0.8;
/// and of those that another token does. The others are left as they are.
const REPLACED: f64 = 0.1;

/// What is drawn from where tokens are to be found.
#[derive(Debug, Clone)]
pub struct Masking {
    tokenizer: Tokenizer,
    mask: u32,
    words: Vec<u32>,
}

impl Masking {
    /// With the mask and the words of a tokenizer.
    ///
    /// # Errors
    /// [`Error::Data`] for a vocabulary without a mask.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let mask = tokenizer.mask().ok_or_else(|| {
            let message =
                "has no token for those that are masked; one that learns masked text has `[MASK]` or `<mask>`";
            Error::data("the vocabulary", message)
        })?;
        Ok(Self { words: tokenizer.words(), mask, tokenizer: tokenizer.clone() })
    }

    /// The examples of a text's windows, of up to `length` tokens with the special ones around them, which begin `shift` tokens behind
    /// where they would begin by themselves: of 15 % of the tokens, at least one, four in five are masked, and one in ten is another token. Targets
    /// are those tokens in their places, and padding elsewhere.
    pub fn windows(&self, tokens: &[u32], length: usize, shift: usize, random: &mut impl Rng) -> Vec<Example> {
        let around = self.tokenizer.framed(Vec::new()).len();
        let own = length.saturating_sub(around).max(1);
        let windows = windows(tokens, own, shift % own).into_iter();
        windows.map(|window| window.target).filter(|own| !own.is_empty()).map(|own| self.masked(own, random)).collect()
    }

    fn masked(&self, mut own: Vec<u32>, random: &mut impl Rng) -> Example {
        let count = ((own.len() as f64 * FOUND).round() as usize).max(1);
        let padding = self.tokenizer.specials().pad;
        let before = self.tokenizer.own(&self.tokenizer.framed(own.clone())).start;
        let mut places = rand::seq::index::sample(random, own.len(), count).into_vec();
        places.sort_unstable();
        let mut target = vec![padding; self.tokenizer.framed(own.clone()).len()];
        for place in places {
            let (Some(token), Some(wanted)) = (own.get_mut(place), target.get_mut(before + place)) else { continue };
            *wanted = *token;
            let drawn: f64 = random.random();
            if drawn < MASKED {
                *token = self.mask;
            } else if drawn < MASKED + REPLACED {
                *token = self.words.choose(random).copied().unwrap_or(self.mask);
            }
        }
        Example { source: self.tokenizer.framed(own), target, cut: true }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::text::TokenUnit;

    #[test]
    fn a_share_of_tokens_is_to_be_found() {
        let text = "a b c d e f g h i j";
        let tokenizer = Tokenizer::train(&TokenUnit::Words, std::iter::once(text), None).unwrap();
        assert!(Masking::new(&tokenizer).is_err());
        let tokenizer = tokenizer.begun().unwrap().with_mask().unwrap();
        let (mask, specials) = (tokenizer.mask().unwrap(), tokenizer.specials());
        assert_eq!((mask as usize, tokenizer.size()), (14, 15));
        let masking = Masking::new(&tokenizer).unwrap();
        let tokens = tokenizer.encode(text).unwrap().repeat(400);
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let examples = masking.windows(&tokens, 22, 7, &mut random);
        assert_eq!(examples.len(), 1 + (4_000_usize - 7).div_ceil(20));
        let (mut found, mut masked, mut same) = (0, 0, 0);
        let mut place = 0;
        for example in &examples {
            let own = tokenizer.own(&example.source);
            assert_eq!((example.source[0], example.source[own.end]), (specials.bos, specials.eos));
            for (read, wanted) in example.source[own.clone()].iter().zip(&example.target[own]) {
                let original = tokens[place];
                place += 1;
                match *wanted == specials.pad {
                    true => assert_eq!(*read, original),
                    false => {
                        assert_eq!(*wanted, original);
                        found += 1;
                        masked += usize::from(*read == mask);
                        same += usize::from(*read == original);
                    }
                }
            }
        }
        assert_eq!((place, found), (4_000, 1 + 199 * 3 + 2));
        assert!((430..=530).contains(&masked) && (40..=100).contains(&same), "{masked} {same}");
        // The same draws give the same masks.
        let again = masking.windows(&tokens, 22, 7, &mut ChaCha8Rng::seed_from_u64(5));
        assert_eq!(again, examples);
    }

    #[test]
    fn masks_are_written_by_their_names() {
        for unit in [TokenUnit::Words, TokenUnit::Chars, TokenUnit::Bytes(None)] {
            let tokenizer = Tokenizer::train(&unit, std::iter::once("the cat sat on"), None)
                .unwrap()
                .begun()
                .unwrap()
                .with_mask()
                .unwrap();
            let mask = tokenizer.mask().unwrap();
            let ids = tokenizer.encode_masked("the [MASK] sat [MASK]").unwrap();
            assert_eq!(ids.iter().filter(|id| **id == mask).count(), 2, "{unit}");
            // Elsewhere it is text like any other.
            assert!(!tokenizer.encode_source("the [MASK] sat").unwrap().contains(&mask), "{unit}");
        }
        let words =
            Tokenizer::train(&TokenUnit::Words, std::iter::once("the cat sat"), None).unwrap().with_mask().unwrap();
        let ids = words.encode_masked("the [MASK] sat").unwrap();
        assert_eq!(words.decode_masked(&ids), "the [MASK] sat");
    }
}
