//! From characters to token batches and back. Feature `text`.
//!
//! - [`tokenizer`] and [`vocabulary`]: text to token ids (characters, words or subwords) and back, kept as a Hugging
//!   Face `tokenizer.json`;
//! - [`lines`]: the reader of every text: files, and standard input;
//! - [`corpus`]: sentence pairs from tab-separated files, and their encoding;
//! - [`question`]: questions over paragraphs, and the places of their answers;
//! - [`plain`]: plain text, in the windows that language models learn;
//! - [`masking`]: plain text with tokens that are to be found;
//! - [`alignment`]: which target tokens stand for which source tokens, from files;
//! - [`batch`]: length buckets, so that a few static shapes hold a whole corpus;
//! - [`tokenization`]: the tokens of BLEU;
//! - [`metrics`]: error rates, exact match, BLEU and chrF against several references, and [`bootstrap`]: how sure they are;
//! - [`tasks`]: data sets that this crate generates from a seed ([`numbers`], [`dates`], [`opinions`], [`stories`]).
#![cfg_attr(not(test), deny(clippy::indexing_slicing, reason = "what users write flows here"))]

pub mod alignment;
mod answers;
pub mod batch;
mod blank;
mod bleu;
mod bootstrap;
mod bpe_dropout;
mod byte_level;
mod chrf;
mod confusion;
pub mod corpus;
pub mod dates;
mod edits;
mod filling;
mod foreign;
mod frame;
pub mod lines;
mod listed;
mod mask;
pub mod masking;
pub mod metrics;
pub mod numbers;
pub mod opinions;
pub mod plain;
pub mod question;
mod segment;
mod shapes;
mod sizes;
pub mod stories;
mod subwords;
pub mod tasks;
pub mod tokenization;
pub mod tokenizer;
pub mod vocabulary;

pub use crate::{
    batch::{Batch, BatchShape, Column, Specials},
    visible::escaped,
};
pub use alignment::{Alignment, parse_alignment, read_alignment};
pub use answers::{AnswerScores, AnswerStatistics};
pub use batch::{BatchPlan, Buckets};
pub use blank::is_blank;
pub use bootstrap::{Interval, bootstrap};
pub use bpe_dropout::Merges;
pub use confusion::{ClassScores, Confusion};
pub use corpus::{Example, Pair, encode_pairs, fitting, read_tsv, spread};
pub use edits::{Edit, edits, nearest};
pub use lines::{Lines, as_line, read_lines, read_text};
pub(crate) use lines::{text_of, without_last};
pub use masking::Masking;
pub use metrics::{Scores, score};
pub use plain::{encode_plain, hold_out, pieces, read_plain, windows};
pub use question::{encode_questions, read_questions};
pub use shapes::{BatchSize, MAX_SHAPES};
pub use tasks::{Task, TaskData};
pub use tokenization::Tokenization;
pub use tokenizer::Tokenizer;
pub use vocabulary::{TokenUnit, VocabularyLimits};

/// The id of `<pad>`, which fills rows after their end and never counts.
pub const PAD: u32 = Specials::FIRST.pad;
/// The id of `<bos>`, the decoder's first input.
pub const BOS: u32 = Specials::FIRST.bos;
/// The id of `<eos>`, which ends every source and every target.
pub const EOS: u32 = Specials::FIRST.eos;
/// The id of `<unk>`, which stands for every token outside the vocabulary.
pub const UNK: u32 = Specials::FIRST.unk;
/// The written forms of the four special tokens; a token's place here is its id.
pub const SPECIALS: [&str; 4] = ["<pad>", "<bos>", "<eos>", "<unk>"];
/// The written form of [`UNK`].
pub(crate) const UNKNOWN: &str = {
    let [.., unknown] = SPECIALS;
    unknown
};
