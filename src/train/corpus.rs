//! The data of a run: as they were read, known by their checksums wherever they came from, and as tokens.

use std::{collections::HashSet, path::Path, sync::Arc};

use super::{
    TrainOptions,
    dropped::Dropped,
    examples::examples,
    masked::{Masked, drawn},
    pairs::add_pairs,
    plain::Plain,
};
use crate::{
    Result,
    model::{Answers, Kind, Learns, Limits, Metadata, Model, Network, SOURCE, TARGET, WEIGHTS, checksum},
    text::{
        Buckets, Example, Masking, Pair, TokenUnit, Tokenizer, VocabularyLimits, encode_plain, escaped, fitting,
        parse_alignment, pieces, read_lines, windows,
    },
};

/// Names of checksums: of the training pairs,
pub(super) const TRAIN: &str = "train";
/// of the validation pairs,
pub(super) const VALID: &str = "valid";
/// of the alignments that guide the attention,
pub(super) const ALIGNMENT: &str = "guided_alignment";
/// of the parameters that the run begins with,
pub(super) const FROM: &str = "from";
/// of those of its teachers,
pub(super) const TEACHER: &str = "teacher";
/// and of the files of tokenizers that were made elsewhere.
pub(super) const SOURCE_TOKENS: &str = "source_tokens";
pub(super) const TARGET_TOKENS: &str = "target_tokens";

/// Everything that a run reads before it begins. A pipe can be read but once.
pub(super) struct Corpus {
    texts: Texts,
    /// CRC-32C of each by its name.
    pub sums: Metadata,
}

/// The texts of a run.
enum Texts {
    Pairs {
        train: Vec<Pair>,
        valid: Vec<Pair>,
        /// The lines of the file of alignments.
        alignment: Option<Vec<String>>,
    },
    /// What is learnt and what validations look at.
    Plain([String; 2]),
}

impl Corpus {
    /// Takes over the checksums of files that a run has read before and that are gone now: they stay those to go by.
    pub fn remember(&mut self, known: &Metadata) {
        for name in [SOURCE_TOKENS, TARGET_TOKENS, FROM] {
            if let (None, Some(sum)) = (self.sums.get(name), known.get(name)) {
                self.sums.insert(name.to_owned(), sum.clone());
            }
        }
    }

    /// Reads or makes the data.
    ///
    /// # Errors
    /// As [`TrainOptions::pairs`] and [`TrainOptions::plain`]; [`crate::Error::Io`] for alignments that cannot be read.
    pub fn read(options: &TrainOptions) -> Result<Self> {
        let mut sums = Metadata::new();
        let mut add = |name: &str, sum: u32| sums.insert(name.to_owned(), format!("{sum:08x}"));
        let texts = match options.learns() {
            Some(Learns::Text | Learns::Masked) => {
                let texts = options.plain()?;
                for (name, text) in [TRAIN, VALID].into_iter().zip(&texts) {
                    add(name, crc32c::crc32c(text.as_bytes()));
                }
                Texts::Plain(texts)
            }
            _ => {
                let (train, valid) = options.pairs()?;
                for (name, pairs) in [(TRAIN, &train), (VALID, &valid)] {
                    let mut sum = 0;
                    add_pairs(&mut sum, pairs);
                    add(name, sum);
                }
                let alignment = options.guided_alignment.as_ref().map(|guide| read_lines(&guide.file)).transpose()?;
                if let Some(lines) = &alignment {
                    let line =
                        |sum, line: &String| crc32c::crc32c_append(crc32c::crc32c_append(sum, line.as_bytes()), b"\n");
                    add(ALIGNMENT, lines.iter().fold(0, line));
                }
                Texts::Pairs { train, valid, alignment }
            }
        };
        for (name, unit) in [(SOURCE_TOKENS, &options.source_unit), (TARGET_TOKENS, &options.target_unit)] {
            // A run that goes on has its own copy.
            if let TokenUnit::File(path) = unit
                && path.is_file()
            {
                sums.insert(name.to_owned(), checksum(path)?);
            }
        }
        if let Some(from) = options.from.as_ref().map(|from| from.join(WEIGHTS)).filter(|from| from.is_file()) {
            sums.insert(FROM.to_owned(), checksum(&from)?);
        }
        if let Some(teacher) = &options.teacher {
            sums.insert(TEACHER.to_owned(), teacher.checksum()?);
        }
        Ok(Self { texts, sums })
    }
}

/// The data of a run as tokens, and the model that fits them.
pub(super) struct Encoded {
    pub network: Network,
    pub source: Tokenizer,
    pub target: Tokenizer,
    pub examples: Examples,
    pub valid: Valid,
}

/// What validations look at.
pub(super) enum Valid {
    Pairs(Vec<Pair>),
    /// Plain text in windows, and its bytes.
    Plain(Vec<Example>, usize),
    /// Windows of plain text with masked tokens.
    Masked(Vec<Example>),
}

/// The training examples of a run in their batches.
#[derive(Debug)]
pub(super) enum Examples {
    /// The same in every epoch.
    Same(Arc<Buckets>),
    /// Cut anew in every epoch.
    Dropped(Box<Dropped>),
    /// Windows of plain text.
    Plain(Plain),
    /// Windows of plain text with masked tokens.
    Masked(Box<Masked>),
}

impl Examples {
    /// Those of an epoch.
    ///
    /// # Errors
    /// Those of [`Dropped::epoch`].
    pub fn epoch(&self, epoch: u64) -> Result<Arc<Buckets>> {
        match self {
            Self::Same(buckets) => Ok(buckets.clone()),
            Self::Dropped(dropped) => dropped.epoch(epoch).map(Arc::new),
            Self::Plain(plain) => plain.epoch(epoch),
            Self::Masked(masked) => masked.epoch(epoch),
        }
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Same(buckets) => buckets.examples().len(),
            Self::Dropped(dropped) => dropped.len(),
            Self::Plain(plain) => plain.len(),
            Self::Masked(masked) => masked.len(),
        }
    }
}

/// A text of a pair.
type Side = fn(&Pair) -> &str;

impl Encoded {
    /// Trains the vocabularies, or takes those in the folder of a run that goes on, and leaves out pairs that are longer than the
    /// model takes.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for data, vocabularies or a model that cannot be used.
    pub fn new(corpus: Corpus, options: &TrainOptions, earlier: Option<&Path>) -> Result<Self> {
        match corpus.texts {
            Texts::Plain(texts) if options.learns() == Some(Learns::Masked) => {
                Self::of_masked(&texts, options, earlier)
            }
            Texts::Plain(texts) => Self::of_plain(&texts, options, earlier),
            Texts::Pairs { train, valid, alignment } => Self::of_pairs([train, valid], alignment, options, earlier),
        }
    }

    fn of_plain([train, valid]: &[String; 2], options: &TrainOptions, earlier: Option<&Path>) -> Result<Self> {
        let (network, source, target) = match begun(options, earlier)? {
            Some(parts) => parts,
            None => {
                let target = tokenizer((TARGET, &options.target_unit), pieces(train), options, earlier)?;
                let kind = Kind::named(&options.architecture)?;
                let network = kind.make_for(Learns::Text, &options.model(), [0, target.size()])?;
                (network, target.clone(), target)
            }
        };
        let length = network.limits().max_length;
        let tokens = encode_plain(train, &target)?;
        warn_of_unknown(options, [(&target, &tokens)].into_iter());
        let examples = Plain::new(tokens, network.limits(), options.batch_size(), options.seed)?;
        let examples = Examples::Plain(examples);
        let valid = Valid::Plain(windows(&encode_plain(valid, &target)?, length, 0), valid.len());
        Ok(Self { network, source, target, examples, valid })
    }

    fn of_masked([train, valid]: &[String; 2], options: &TrainOptions, earlier: Option<&Path>) -> Result<Self> {
        let (network, source, target) = match begun(options, earlier)? {
            Some((network, source, target)) => (fills_in(network, options)?, source, target),
            None => {
                let source = tokenizer((TARGET, &options.target_unit), pieces(train), options, earlier)?;
                let source = source.begun()?.with_mask()?;
                let kind = Kind::named(&options.architecture)?;
                let mut model = options.model();
                // A vocabulary that has had it before has it in a place of its own.
                model.settings.extend(source.mask().map(|mask| ("mask".to_owned(), mask.to_string())));
                let network = kind.make_for(Learns::Masked, &model, [source.size(); 2])?;
                (network, source.clone(), source)
            }
        };
        let (limits, masking, seed) = (network.limits(), Masking::new(&source)?, options.seed);
        let tokens = encode_plain(train, &source)?;
        warn_of_unknown(options, [(&source, &tokens)].into_iter());
        let examples = Masked::new(tokens, masking.clone(), limits, options.batch_size(), seed)?;
        // The masks of validations are those of an epoch that no run comes to.
        let valid = drawn(&masking, &encode_plain(valid, &source)?, (limits.max_length, 0), (seed, u64::MAX / 2));
        Ok(Self {
            network,
            source,
            target,
            examples: Examples::Masked(Box::new(examples)),
            valid: Valid::Masked(valid),
        })
    }

    fn of_pairs(
        [mut train, mut valid]: [Vec<Pair>; 2],
        alignment: Option<Vec<String>>,
        options: &TrainOptions,
        earlier: Option<&Path>,
    ) -> Result<Self> {
        let (network, source, target) = match begun(options, earlier)? {
            Some(parts) => taught(parts, &train, options, earlier)?,
            None => made(&train, options, earlier)?,
        };
        let Limits { specials, padding, .. } = network.limits();
        let longest = options.longest(network.limits());
        let encode = |name: &str, pairs: &[Pair]| examples(network.as_ref(), [&source, &target], name, pairs);

        let mut encoded = encode(&options.data_name(), &train)?;
        // A place is no token.
        let writes = matches!(network.answers(), Answers::Texts | Answers::Classes);
        let sides = encoded.iter().map(|example| (&example.source, Some(&example.target).filter(|_| writes)));
        warn_of_unknown(options, sides.flat_map(|(a, b)| [Some((&source, a)), b.map(|b| (&target, b))]).flatten());
        let alignment = match (&alignment, &options.guided_alignment) {
            (Some(lines), Some(guide)) => Some(parse_alignment(&guide.file.display().to_string(), lines, &encoded)?),
            _ => None,
        };
        let fits = fitting(&options.data_name(), &encoded, longest)?;
        keep(&mut encoded, &fits);
        let examples = if options.bpe_dropout > 0.0 {
            keep(&mut train, &fits);
            let merges = [(&options.source_unit, &source), (&options.target_unit, &target)]
                .map(|(unit, tokenizer)| matches!(unit, TokenUnit::Bpe(_)).then(|| tokenizer.merges()).flatten());
            let chance = (options.bpe_dropout, options.seed);
            let merges = (merges, source.clone());
            let dropped = Dropped::new((train, encoded), merges, chance, options.batch_size(), longest)?;
            Examples::Dropped(Box::new(dropped))
        } else {
            // Multiples of two cost little padding and keep the kernels' 16-byte paths in most shapes.
            let mut buckets = Buckets::new(encoded, options.batch_size(), 2)?.with_specials(specials, padding);
            if let Some(alignment) = alignment {
                buckets = buckets.aligned(alignment.keep(&fits));
            }
            Examples::Same(Arc::new(buckets))
        };
        // Found out now rather than at the first validation.
        let fits = fitting(&options.valid_name(), &encode(&options.valid_name(), &valid)?, longest)?;
        keep(&mut valid, &fits);
        Ok(Self { network, source, target, examples, valid: Valid::Pairs(valid) })
    }
}

/// A model for pairs, texts and their classes or questions, with vocabularies of its own.
fn made(train: &[Pair], options: &TrainOptions, earlier: Option<&Path>) -> Result<(Network, Tokenizer, Tokenizer)> {
    let train_tokenizer = |name, unit, sides: &[Side]| {
        let texts = train.iter().flat_map(|pair| sides.iter().map(|side| side(pair)));
        tokenizer((name, unit), texts, options, earlier)
    };
    let (of_source, of_target): (Side, Side) = (|pair| &pair.source, |pair| &pair.target);
    let learns = options.learns().unwrap_or(Learns::Pairs);
    let (source, target) = match learns {
        // A part of a source has its tokens.
        Learns::Spans => {
            let source = train_tokenizer(SOURCE, &options.source_unit, &[of_source])?.begun()?;
            (source.clone(), source)
        }
        Learns::Classes => (
            // The state that stands for a text is that of a token before it (Devlin et al. 2019, section 3).
            train_tokenizer(SOURCE, &options.source_unit, &[of_source])?.begun()?,
            train_tokenizer(TARGET, &options.target_unit, &[of_target])?,
        ),
        _ if options.shared_vocabulary => {
            let source = train_tokenizer(SOURCE, &options.source_unit, &[of_source, of_target])?;
            (source.clone(), source)
        }
        _ => (
            train_tokenizer(SOURCE, &options.source_unit, &[of_source])?,
            train_tokenizer(TARGET, &options.target_unit, &[of_target])?,
        ),
    };
    let kind = Kind::named(&options.architecture)?;
    let network = kind.make_for(learns, &options.model(), [source.size(), target.size()])?;
    Ok((network, source, target))
}

/// Whether a vocabulary has the names of all classes.
fn knows(classes: &Tokenizer, pairs: &[Pair]) -> Result<bool> {
    let names: HashSet<&str> = pairs.iter().map(|pair| pair.target.as_str()).collect();
    let unknown = classes.specials().unk;
    names.into_iter().try_fold(true, |all, name| Ok(all && !classes.encode(name)?.contains(&unknown)))
}

/// What the model that a run begins with has beside its parameters; a run that goes on has its own copy.
fn begun(options: &TrainOptions, earlier: Option<&Path>) -> Result<Option<(Network, Tokenizer, Tokenizer)>> {
    options.from.as_deref().map(|from| Model::parts(earlier.unwrap_or(from))).transpose()
}

/// The same model, if it has learnt to find masked tokens.
fn fills_in(network: Network, options: &TrainOptions) -> Result<Network> {
    match (network.answers(), &options.from) {
        (Answers::Filled { .. }, _) | (_, None) => Ok(network),
        (answers, Some(from)) => {
            let name = network.name();
            let why = format!("this `{name}` answers with {answers}, and plain text teaches one to find masked tokens");
            Err(options.other_beginning(from, &why))
        }
    }
}

/// The same model, where it learns what it has learnt before; or its encoder with new layers for classes, also others than it knows, or
/// for questions.
fn taught(
    (network, source, target): (Network, Tokenizer, Tokenizer),
    train: &[Pair],
    options: &TrainOptions,
    earlier: Option<&Path>,
) -> Result<(Network, Tokenizer, Tokenizer)> {
    match (options.learns(), network.answers()) {
        (Some(Learns::Classes), answers) if answers != Answers::Classes || !knows(&target, train)? => {
            let names = train.iter().map(|pair| pair.target.as_str());
            let target = tokenizer((TARGET, &options.target_unit), names, options, earlier)?;
            Ok((network.taught(Learns::Classes, target.size())?, source, target))
        }
        (Some(Learns::Spans), answers) if answers != Answers::Spans => {
            Ok((network.taught(Learns::Spans, source.size())?, source.clone(), source))
        }
        _ => Ok((network, source, target)),
    }
}

/// Says how many tokens the vocabulary of another model's data does not have.
fn warn_of_unknown<'a>(options: &TrainOptions, texts: impl Iterator<Item = (&'a Tokenizer, &'a Vec<u32>)>) {
    let Some(from) = &options.from else { return };
    let (mut unknown, mut all) = (0, 0);
    for (tokenizer, tokens) in texts {
        unknown += tokens.iter().filter(|token| **token == tokenizer.specials().unk).count();
        all += tokens.len();
    }
    if unknown > 0 {
        let from = escaped(&from.display().to_string());
        tracing::warn!("{unknown} of {all} tokens are not in the vocabulary of {from}: they are learnt as <unk>");
    }
}

/// The tokenizer of a file of the run's folder. A run that goes on keeps its vocabularies, whatever has become of the file or the
/// trainer they came from.
fn tokenizer<'a>(
    (name, unit): (&str, &TokenUnit),
    texts: impl Iterator<Item = &'a str>,
    options: &TrainOptions,
    earlier: Option<&Path>,
) -> Result<Tokenizer> {
    let limits = VocabularyLimits { max_size: options.max_vocabulary, min_count: options.min_count };
    match earlier.map(|folder| folder.join(name)).filter(|kept| kept.is_file()) {
        Some(kept) => Tokenizer::load(kept),
        None => Tokenizer::train_within(unit, texts, limits),
    }
}

/// Leaves out of `all` what does not fit.
fn keep<T>(all: &mut Vec<T>, fits: &[bool]) {
    let mut fits = fits.iter();
    all.retain(|_| fits.next().is_some_and(|fits| *fits));
}
