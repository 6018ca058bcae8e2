//! The tables of source and target words, and the output layer.

use super::{Embedding, Linear};
use crate::model::{Initial, Parameter};

/// The tables of source and target words, and the output layer's weight: one tensor where settings say so (Press and Wolf 2017,
/// section 3).
#[derive(Clone, Debug)]
pub struct Vocabularies {
    /// Of source words.
    pub source: Embedding,
    /// Of target words.
    pub target: Embedding,
    /// To the logits of target words.
    pub output: Linear,
}

/// Sizes and sharing of [`Vocabularies`].
#[derive(Clone, Copy, Debug)]
pub struct VocabularySettings<'a> {
    /// What the names of the tables begin with.
    pub prefix: &'a str,
    /// Source and target words.
    pub words: [usize; 2],
    /// Size of an embedded word, D.
    pub size: usize,
    /// Whether source and target words are one table.
    pub shared: bool,
    /// Whether the output layer's weight is the table of target words.
    pub tied: bool,
    /// First values of the tables.
    pub initial: Initial,
    /// The tables' share of the learning rate.
    pub rate: f32,
}

impl Vocabularies {
    /// Tables with the names of Hugging Face's BART and T5.
    pub fn new(settings: VocabularySettings<'_>) -> Self {
        let VocabularySettings { prefix, words, size, shared, tied, initial, rate } = settings;
        let [source, target] = ["encoder", "decoder"].map(|side| format!("{prefix}{side}.embed_tokens.weight"));
        let table = |name: &str, rows, aliases: Vec<String>| Embedding {
            weight: Parameter { aliases, rate, ..Parameter::new(name, [rows, size], initial) },
        };
        let mut output = Linear::without_bias("lm_head", size, words[1]);
        output = output.drawn(Initial::Normal((size as f32).sqrt().recip()));
        let alias = tied.then(|| output.weight.name.clone());
        let (source, target) = if shared {
            let aliases = [source, target].into_iter().chain(alias).collect();
            let both = table(&format!("{prefix}shared.weight"), words[0], aliases);
            (both.clone(), both)
        } else {
            let target = table(&target, words[1], alias.into_iter().collect());
            (table(&source, words[0], vec![]), target)
        };
        if tied {
            output.weight = target.weight.clone();
        }
        Self { source, target, output }
    }
}
