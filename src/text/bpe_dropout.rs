//! Byte-pair encoding that leaves out merges at random, so that training sees words cut in many ways (Provilkov, Emelianenko and
//! Voita, "BPE-Dropout", 2020, section 3.1).
//!
//! The `tokenizers` crate draws from a generator that nobody can seed; here the same seed cuts a text in the same way.

use std::collections::HashMap;

use rand::{Rng, RngExt as _};
use serde::Deserialize;

use super::{UNK, subwords};

/// The merges of a vocabulary that `bpe:N` has trained.
#[derive(Debug, Clone)]
pub struct Merges {
    ids: HashMap<String, u32>,
    /// For two tokens side by side the rank of their merge, the first being 0, and the token that they become.
    merges: HashMap<[u32; 2], (usize, u32)>,
}

/// What a `tokenizer.json` has of them.
#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    merges: Vec<[String; 2]>,
}

impl Merges {
    /// Those of the model of a `tokenizer.json`, if it has any.
    pub(super) fn of(model: serde_json::Value) -> Option<Self> {
        let Model { vocab, merges } = serde_json::from_value(model).ok()?;
        let merge = |(rank, pair): (usize, [String; 2])| {
            let [left, right] = pair.each_ref().map(|token| vocab.get(token).copied());
            Some(([left?, right?], (rank, *vocab.get(&pair.concat())?)))
        };
        let merges = merges.into_iter().enumerate().map(merge).collect::<Option<_>>()?;
        Some(Self { ids: vocab, merges })
    }

    /// The ids of `text`, where each merge that is possible is left out with probability `dropout` at each step; with 0 they are
    /// those of [`super::Tokenizer::encode`].
    pub fn encode(&self, text: &str, dropout: f32, random: &mut impl Rng) -> Vec<u32> {
        subwords::split(text).flat_map(|word| self.word(word, dropout, random)).collect()
    }

    fn word(&self, word: &str, dropout: f32, random: &mut impl Rng) -> Vec<u32> {
        let characters = std::iter::once(subwords::SPACE).chain(word.chars());
        let id = |character: char| self.ids.get(character.encode_utf8(&mut [0; 4]) as &str).copied().unwrap_or(UNK);
        let mut tokens: Vec<u32> = characters.map(id).collect();
        tokens.dedup_by(|right, left| (*right, *left) == (UNK, UNK));
        loop {
            let merge = |(place, pair): (usize, &[u32])| {
                let (rank, id) = self.merges.get(&<[u32; 2]>::try_from(pair).ok()?)?;
                Some((*rank, place, *id))
            };
            let mut possible: Vec<_> = tokens.windows(2).enumerate().filter_map(merge).collect();
            possible.sort_unstable();
            let Some((_, place, id)) = possible.into_iter().find(|_| random.random::<f32>() >= dropout) else {
                return tokens;
            };
            tokens.splice(place..place + 2, [id]);
        }
    }
}
