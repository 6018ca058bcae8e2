//! `softalign train`: trains a model on a built-in task or on files, and says how to use it.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use softalign::{
    Error, Result, files,
    model::{ARCHITECTURES, Kind, Learns, ModelOptions, Readout},
    text::{Task, TokenUnit, escaped},
    train::{
        Budget, Data, Decay, Destination, Distillation, Event, GuidedAlignment, Metric, Precision, Preset, Rate,
        TrainOptions, Validated, train, train_among,
    },
};

use super::{
    Global, interrupt, open, output,
    progress::{Bar, duration},
};

/// Arguments of `train`.
#[derive(clap::Args)]
pub struct Args {
    /// A built-in task, which makes its own pairs: numbers (digits to English words), dates (written dates to ISO 8601 and back),
    /// opinions (what people say to whether it is positive, negative or neutral) or stories (questions about what people did).
    #[arg(value_name = "TASK", required_unless_present_any = ["train", "questions", "text"],
        conflicts_with_all = ["train", "questions", "text", "valid"])]
    task: Option<Task>,
    /// Training pairs: a line each, source<TAB>target.
    #[arg(long, value_name = "FILE.tsv", requires = "valid", conflicts_with_all = ["questions", "text"])]
    train: Option<PathBuf>,
    /// Questions to learn to answer, each by a part of its paragraph: a line each, question<TAB>paragraph<TAB>answer. The answer stands
    /// in the paragraph as it is; where it does so more than once, the first place counts.
    #[arg(long, value_name = "FILE.tsv", requires = "valid", conflicts_with_all = ["text", "preset", "target_tokens",
        "shared_vocabulary"])]
    questions: Option<PathBuf>,
    /// Plain text to learn, each token from those before it: a language model, which reads no source. With --architecture bert or
    /// roberta masked tokens from all others.
    #[arg(long, value_name = "FILE.txt", conflicts_with_all = ["preset", "source_tokens"])]
    text: Option<PathBuf>,
    /// Validation pairs, questions or text, in the same form [default for --text: its last tenth, which is then not learnt].
    #[arg(long, value_name = "FILE")]
    valid: Option<PathBuf>,
    /// A recipe: g2p (letters to phones, for a hundred thousand words or so) or translate-small (a language to another one, for
    /// some ten thousand sentences with spaces between words). Other options have precedence over it; a task is one itself.
    #[arg(long, value_name = "NAME", conflicts_with = "task")]
    preset: Option<Preset>,
    /// Begin with the parameters, the tokenizers and the settings of a model folder: fine-tuning on other data.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "architecture", "model", "source_tokens", "target_tokens",
        "max_vocabulary", "min_count", "shared_vocabulary", "embedding", "hidden", "layers", "dropout", "readout", "tie_embeddings"])]
    from: Option<PathBuf>,
    /// Folder for the model and the run's state [default: runs/TASK, or runs/ and the training file's name].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace what the folder holds instead of going on with it.
    #[arg(long)]
    overwrite: bool,
    /// Unit of source tokens: chars, words, bytes, bpe:N, unigram:N or bytes:N (N subwords from the corpus; those of bytes keep all
    /// white space), or a tokenizer.json [default: chars; words for opinions and stories, and where classes or questions are learnt].
    #[arg(long, value_name = "UNIT")]
    source_tokens: Option<TokenUnit>,
    /// Unit of target tokens, or of the tokens of --text, in the same form; whole for names of classes [default: chars; words for
    /// numbers; whole where classes are learnt].
    #[arg(long, visible_alias = "tokens", value_name = "UNIT")]
    target_tokens: Option<TokenUnit>,
    /// Largest vocabulary of chars or words; rarer ones become <unk>.
    #[arg(long, value_name = "N")]
    max_vocabulary: Option<usize>,
    /// Least number of times that a character or word must be in the training data; rarer ones become <unk>. Subwords: that of the
    /// characters, and of pairs that bpe:N merges [default: 1].
    #[arg(long, value_name = "N")]
    min_count: Option<u64>,
    /// Make one vocabulary from sources and targets, which then have the same unit.
    #[arg(long)]
    shared_vocabulary: bool,
    /// Probability that a merge of bpe:N is left out in training, in every epoch anew, so that words are seen cut in many ways
    /// (Provilkov et al. 2020) [default: 0].
    #[arg(long, value_name = "X")]
    bpe_dropout: Option<f32>,
    /// Longest source or target in tokens, the end token included; longer pairs are left out [default: 100]. Of plain text the
    /// window, in which a token is predicted from others [default: 256, or 128 of masked text; also 256 for classes and questions].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Stop after this many passes over the data [default: 3 for a task, 10 for files, if no other limit is given].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Stop after this many steps.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Stop after this many minutes of training.
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Stop after this many validations in a row without an improvement of --metric.
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Sentence pairs per batch, or windows of plain text [default: 128; 64 by layers that are not
    /// recurrent; 32 for text, classes and questions].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Fill a batch by tokens instead: at most this many on either side, padding included.
    #[arg(long, value_name = "N", conflicts_with = "batch")]
    batch_tokens: Option<usize>,
    /// Batches whose gradients are added up for one step: the effect of a batch N times the size, in the memory of one
    /// [default: 1].
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// Adam's learning rate, the largest of the schedule [default: 0.002 for a task, 0.001 for files; 0.0005 for an
    /// encoder alone].
    #[arg(long, value_name = "X")]
    learning_rate: Option<f32>,
    /// Let the learning rate rise from 0 over this many steps first [default: 0; 200 for pairs by layers that
    /// are not recurrent; 100 for text, classes and questions].
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// Decay of the learning rate: constant, inverse-sqrt, linear or cosine (to 0 at the end of --epochs), or plateau:N (halved
    /// after every N validations in a row without an improvement) [default: constant; inverse-sqrt for pairs by layers that are
    /// not recurrent].
    #[arg(long, value_name = "KIND", value_parser = decay)]
    decay: Option<Decay>,
    /// Scale gradients down to this global norm [default: 1].
    #[arg(long, value_name = "X")]
    clip_norm: Option<f32>,
    /// Decoupled weight decay (AdamW) of all parameters but biases and norms, as a share of the learning rate [default: 0].
    #[arg(long, value_name = "X")]
    weight_decay: Option<f32>,
    /// Train the parameters whose names match a pattern at a share of the learning rate: 'encoder.*=0.1'. May be given several
    /// times; the last that matches a name holds for it.
    #[arg(long, value_name = "PATTERN=FACTOR")]
    rate: Vec<Rate>,
    /// Leave the parameters whose names match a pattern as they are, whatever --rate says: 'encoder.layers.0.*'. May be given
    /// several times.
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Keep an exponential moving average of the parameters with this decay, such as 0.999, less in the first steps (step t at
    /// most t/(t+9)). The average is validated and saved; training goes on with the parameters themselves [default: 0, none; 0.98
    /// for pairs by layers that are not recurrent].
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Type of activations: f32, or f16 with a dynamic loss scale, half the memory for them, where the adapter has it
    /// [default: f32].
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,
    /// Label smoothing, from 0 to less than 1 [default: 0].
    #[arg(long, value_name = "X")]
    label_smoothing: Option<f32>,
    /// Dropout on embedded words and before the output layer, in a Transformer on each layer's result, from 0 to less than 1 [default: 0].
    #[arg(long, value_name = "X")]
    dropout: Option<f32>,
    /// Let --dropout draw one mask for all steps of a sentence (Gal and Ghahramani 2016).
    #[arg(long)]
    variational: bool,
    /// Dropout on states where they enter the recurrent products, one mask for all steps of a sentence [default: 0].
    #[arg(long, value_name = "X")]
    dropout_state: Option<f32>,
    /// Probability that a whole embedded word, source or target, is dropped [default: 0].
    #[arg(long, value_name = "X")]
    dropout_words: Option<f32>,
    /// Word alignments that guide the attention: for each training pair a line of links between token positions, source-target:
    /// 0-0 1-2.
    #[arg(long, value_name = "FILE")]
    guided_alignment: Option<PathBuf>,
    /// Weight of the loss of guided alignment: the attention's cross-entropy against these alignments [default: 0.1].
    #[arg(long, value_name = "X", requires = "guided_alignment")]
    guided_alignment_weight: Option<f32>,
    /// Learn the distributions of trained models beside the data: their folders, of which several are an ensemble. They have the
    /// vocabularies of the new model, and any architecture (word-level distillation, Kim and Rush 2016).
    #[arg(long, value_name = "DIR", num_args = 1..)]
    teacher: Vec<PathBuf>,
    /// Weight of the teachers beside the data, from 0 to 1 [default: 0.5].
    #[arg(long, value_name = "X", requires = "teacher")]
    teacher_weight: Option<f32>,
    /// Weight of the coverage loss, which penalises attention to positions attended to before (See et al. 2017) [default: 0].
    #[arg(long, value_name = "X")]
    coverage_weight: Option<f32>,
    /// Architecture of the model [default: bahdanau; gpt2 for plain text, bert for questions, opinions and
    /// stories].
    #[arg(long, value_name = "NAME", value_parser = architectures())]
    architecture: Option<String>,
    /// A setting of the model by its name in config.json, such as attention=64; may be given several times, and has precedence
    /// over the options below.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    model: Vec<(String, String)>,
    /// Size of an embedded word, where it is not --hidden as in a Transformer [default: 64 for a task, 128 for files].
    #[arg(long, value_name = "N")]
    embedding: Option<usize>,
    /// Size of a hidden state, and of the alignment layer and the readout where there are any [default: 128 for a task, 256 for
    /// files; twice that for sutskever].
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Layers of the encoder, and in a Transformer of the decoder [default: 1; of convs2s 3; of gpt2 2 for a
    /// task, 4 for a file; of bert 2, or 4 for masked text].
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// The layer before the output: tanh or none [default: tanh].
    #[arg(long, value_name = "KIND", value_parser = readout)]
    readout: Option<Readout>,
    /// Use the table of embedded target words as the output layer's weight too; the readout then has the size of a word.
    #[arg(long)]
    tie_embeddings: bool,
    /// Seed of the first values, the order of the data and dropout [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Steps between validations [default: once per epoch].
    #[arg(long, value_name = "STEPS")]
    validate_every: Option<u64>,
    /// Metric that decides which model is the best, also for --patience and --decay plateau: exact (match), per (token error
    /// rate), ser (sentence error rate), bleu, chrf or cross-entropy (of the references, per token); of equals the one with
    /// fewer token errors [default: exact].
    #[arg(long, value_name = "METRIC")]
    metric: Option<Metric>,
    /// Keep the N best models of the run too, each a model folder in best/ of the run's folder. At the end their average is
    /// validated, and becomes the run's model if it is better than all of them.
    #[arg(long, value_name = "N")]
    keep_best: Option<usize>,
    /// Let validations take the targets of all pairs with one source for references of one text; g2p does. Otherwise each pair is
    /// scored by itself.
    #[arg(long)]
    group_references: bool,
    /// As one of several ranks (mpirun): keep a part of the optimiser's state alone, the more ranks the smaller. The results are the
    /// same, and a run may go on with this option or without.
    #[arg(long)]
    shard: bool,
}

fn architectures() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(
        ARCHITECTURES.iter().filter(|kind| kind.learns().next().is_some()).map(|kind| kind.name),
    )
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn readout(text: &str) -> Result<Readout, String> {
    match text {
        "tanh" => Ok(Readout::Tanh),
        "none" => Ok(Readout::None),
        _ => Err("known kinds: tanh, none".into()),
    }
}

/// The length of a linear or cosine decay is `--epochs`, which another argument says.
fn decay(text: &str) -> Result<Decay, String> {
    const UNKNOWN: u64 = 0;
    let kinds = "known kinds: constant, inverse-sqrt, linear, cosine, plateau:N";
    match text {
        "constant" => Ok(Decay::Constant),
        "inverse-sqrt" => Ok(Decay::InverseSqrt),
        "linear" => Ok(Decay::Linear { epochs: UNKNOWN }),
        "cosine" => Ok(Decay::Cosine { epochs: UNKNOWN }),
        _ => {
            let patience = text.strip_prefix("plateau:").and_then(|patience| patience.parse().ok());
            patience.map(|patience| Decay::Plateau { patience }).ok_or_else(|| kinds.into())
        }
    }
}

/// Puts an argument that was given in place of a default.
fn replace<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

impl Args {
    fn options(&mut self) -> Result<(TrainOptions, Budget, PathBuf)> {
        let (data, folder) = self.data()?;
        let (mut options, limits) = match self.preset {
            Some(preset) => preset.recipe(data),
            None => (TrainOptions::new(data), Budget::default()),
        };
        if let Some(from) = self.from.take() {
            options = options.beginning_with(&from, &folder)?;
        }
        if let Some(name) = self.architecture.take() {
            options = options.with_architecture(&name);
        }
        replace(&mut options.source_unit, self.source_tokens.take());
        replace(&mut options.target_unit, self.target_tokens.take());
        replace(&mut options.max_vocabulary, self.max_vocabulary.map(Some));
        replace(&mut options.min_count, self.min_count);
        options.shared_vocabulary |= self.shared_vocabulary;
        replace(&mut options.bpe_dropout, self.bpe_dropout);
        replace(&mut options.max_length, self.max_length);
        replace(&mut options.batch, self.batch);
        replace(&mut options.batch_tokens, self.batch_tokens.map(Some));
        replace(&mut options.accumulate, self.accumulate);
        replace(&mut options.learning_rate, self.learning_rate);
        replace(&mut options.schedule.warmup, self.warmup);
        replace(&mut options.schedule.decay, self.decay);
        replace(&mut options.clip_norm, self.clip_norm);
        replace(&mut options.weight_decay, self.weight_decay);
        options.rate = self.rates()?;
        replace(&mut options.ema, self.ema.map(|decay| Some(decay).filter(|decay| *decay != 0.0)));
        replace(&mut options.precision, self.precision);
        replace(&mut options.label_smoothing, self.label_smoothing);
        replace(&mut options.dropout, self.dropout);
        options.variational |= self.variational;
        replace(&mut options.dropout_state, self.dropout_state);
        replace(&mut options.dropout_words, self.dropout_words);
        let weight = self.guided_alignment_weight.unwrap_or(GuidedAlignment::WEIGHT);
        options.guided_alignment = self.guided_alignment.take().map(|file| GuidedAlignment { file, weight });
        options.teacher = self.distillation();
        replace(&mut options.coverage_weight, self.coverage_weight);
        options.model.extend(self.model.drain(..));
        replace(&mut options.embedding, self.embedding);
        replace(&mut options.hidden, self.hidden);
        replace(&mut options.layers, self.layers);
        replace(&mut options.readout, self.readout);
        options.tie_embeddings |= self.tie_embeddings;
        replace(&mut options.seed, self.seed);
        replace(&mut options.validate_every, self.validate_every.map(Some));
        replace(&mut options.metric, self.metric);
        replace(&mut options.keep_best, self.keep_best);
        options.group_references |= self.group_references;
        let budget = Budget {
            epochs: self.epochs.or(limits.epochs),
            steps: self.steps.or(limits.steps),
            minutes: self.minutes.or(limits.minutes),
            patience: self.patience.or(limits.patience),
        };
        let budget = budget.or_epochs_for(&options.data);
        if let Decay::Linear { epochs } | Decay::Cosine { epochs } = &mut options.schedule.decay {
            let end =
                budget.epochs.ok_or_else(|| Error::data("--decay", "linear and cosine end with --epochs; give it"))?;
            *epochs = end;
        }
        self.refuse_idle(&options)?;
        Ok((options, budget, folder))
    }

    /// What is learned from, and the run's folder.
    fn data(&mut self) -> Result<(Data, PathBuf)> {
        let name = |file: &Path| file.file_stem().filter(|_| !files::is_stream(file)).map(OsStr::to_owned);
        let (pairs, questions, text) = (self.train.take(), self.questions.take(), self.text.take());
        let (data, folder) = match (self.task, pairs, questions, text, self.valid.take()) {
            (Some(task), ..) => (Data::Task(task), Some(task.to_string().into())),
            (_, _, _, Some(train), valid) => (Data::Text { valid, train: train.clone() }, name(&train)),
            (_, Some(train), _, _, Some(valid)) => (Data::Files { valid, train: train.clone() }, name(&train)),
            (_, _, Some(train), _, Some(valid)) => (Data::Questions { valid, train: train.clone() }, name(&train)),
            _ => {
                let message = "name a built-in task, or give --train or --questions with --valid, or --text";
                return Err(Error::data("train", message));
            }
        };
        let folder = self.out.take().or_else(|| Some(PathBuf::from("runs").join(folder?))).ok_or_else(|| {
            let message = "a pipe has no name that tells its data from others; name the run's folder by --out";
            Error::data("--train, --questions or --text", message)
        })?;
        Ok((data, folder))
    }

    /// The learning rates by name. What is frozen comes last, so that it is frozen.
    fn rates(&mut self) -> Result<Vec<Rate>> {
        let frozen = self.freeze.iter().map(|pattern| Rate::frozen(pattern));
        self.rate.drain(..).map(Ok).chain(frozen).collect()
    }

    fn distillation(&mut self) -> Option<Distillation> {
        let (models, weight) = (self.teacher.split_off(0), self.teacher_weight.unwrap_or(Distillation::WEIGHT));
        (!models.is_empty()).then_some(Distillation { models, weight })
    }

    /// Refuses sizes and ties that make no other model: the architecture has no use for them, or a setting of its own.
    fn refuse_idle(&self, options: &TrainOptions) -> Result<()> {
        let model = options.model();
        let size = self.embedding.map(|size| ModelOptions { embedding: size.saturating_add(1), ..model.clone() });
        let untied = self.tie_embeddings.then(|| ModelOptions { tie_embeddings: false, ..model.clone() });
        let kind = Kind::named(&options.architecture)?;
        // Any vocabularies will do.
        let learns = options.learns().unwrap_or(Learns::Pairs);
        let made = |model: &ModelOptions| kind.make_for(learns, model, [1_000; 2]);
        let config = |model: &ModelOptions| made(model).and_then(|network| network.config()).ok();
        let Some(made) = config(&model) else { return Ok(()) };
        for (option, other) in [("--embedding", size), ("--tie-embeddings", untied)] {
            if other.is_some_and(|other| config(&other).as_ref() == Some(&made)) {
                let message = format!("decides nothing here: {} has no such setting, or --model sets it", kind.name);
                return Err(Error::data(option, message));
            }
        }
        Ok(())
    }
}

/// Says which options decide nothing. They are no reason to refuse a run: one of an earlier version may have them.
fn warn_of_idle(options: &TrainOptions) {
    let units = [&options.target_unit, if options.learns_text() { &options.target_unit } else { &options.source_unit }];
    let all = |is_one: fn(&TokenUnit) -> bool| units.into_iter().all(is_one);
    if options.max_vocabulary.is_some() && all(|unit| !matches!(unit, TokenUnit::Chars | TokenUnit::Words)) {
        tracing::warn!(
            "--max-vocabulary limits chars and words, and there are none: bpe:N and unigram:N say their size"
        );
    }
    if options.min_count > 1 && all(|unit| matches!(unit, TokenUnit::File(_))) {
        tracing::warn!("--min-count decides nothing: every vocabulary is made already");
    }
    let drops = options.dropout > 0.0 || options.model.keys().any(|key| key.contains("dropout"));
    if options.variational && !drops {
        tracing::warn!("--variational decides nothing without --dropout");
    }
}

#[cfg(test)]
impl Args {
    /// Whether they make a run, but for its data.
    pub fn check(mut self) -> Result<()> {
        let (options, budget, _) = self.options()?;
        options.check()?;
        budget.check()
    }
}

/// Runs `train`.
pub fn run(mut args: Args, global: &Global) -> Result<ExitCode> {
    let (options, budget, folder) = args.options()?;
    let rank_options = global.rank_options(args.shard)?;
    warn_of_idle(&options);
    let gpu = open(global)?;
    let stop = interrupt::flag();
    let mut bar = Bar::new(global, None, "steps");
    let learns = options.learns().unwrap_or(Learns::Pairs);
    let destination = Destination { folder: &folder, overwrite: args.overwrite };
    let stop = || stop.load(Ordering::Relaxed);
    let mut observe = |event: Event<'_>| show(event, learns, global, &mut bar);
    let outcome = match rank_options {
        Some(rank_options) => train_among(rank_options, &gpu, (&options, budget), destination, &stop, &mut observe)?,
        None => train(&gpu, &options, budget, destination, &stop, &mut observe)?,
    };
    drop(bar);
    let shown = escaped(&folder.display().to_string());
    let step = outcome.progress.step;
    if outcome.interrupted {
        let without = if args.overwrite { " without --overwrite" } else { "" };
        output::note(&format!("stopped after step {step}; the same command{without} goes on from {shown}"));
        return Ok(ExitCode::from(130));
    }
    let best = outcome.progress.best.map_or_else(String::new, |(value, per)| {
        let of_texts = options.learns() == Some(Learns::Pairs);
        let per = if options.metric == Metric::Per || !of_texts {
            String::new()
        } else {
            format!(", {}", Metric::Per.show(per))
        };
        format!(", best {}{per}", options.metric.show(value))
    });
    let minutes = outcome.progress.seconds / 60.0;
    if !global.quiet {
        output::note(&format!("finished after {step} steps in {minutes:.1} minutes{best}"));
    }
    // The command as it was called, so that the line can be copied whether it is installed or built by cargo.
    let command = std::env::args_os().next().unwrap_or_else(|| "softalign".into());
    let [command, folder] = [Path::new(&command), &folder].map(quoted);
    output::print(&format!("{command} generate {folder} {}", example(&options)))?;
    Ok(ExitCode::SUCCESS)
}

/// A source for the model of a run, as a shell takes it.
fn example(options: &TrainOptions) -> &'static str {
    match (&options.data, options.learns()) {
        (Data::Task(Task::Numbers), _) => "1987",
        (Data::Task(Task::Dates), _) => "\"9 May 1998\"",
        (Data::Task(Task::Opinions), _) => "\"the soup was not bad\"",
        (Data::Task(Task::Stories), Some(Learns::Spans)) => {
            "$'where is Ann ?\\tAnn went to the garden . Bob ran to the kitchen .'"
        }
        // Other models read the two as one text.
        (Data::Task(Task::Stories), _) => "\"where is Ann ? Ann went to the garden . Bob ran to the kitchen .\"",
        (Data::Text { .. }, Some(Learns::Masked)) => "\"TEXT with a [MASK]\"",
        (Data::Questions { .. }, _) => "$'QUESTION\\tPARAGRAPH'",
        _ => "TEXT",
    }
}

/// A path as a shell takes it, and no command takes for an option.
fn quoted(path: &Path) -> String {
    let path = if path.as_os_str().as_encoded_bytes().starts_with(b"-") { &Path::new(".").join(path) } else { path };
    let is_seen = |text: &&str| text.split(['\n', '\t']).all(|part| escaped(part) == part);
    match path.to_str().filter(is_seen).map(shlex::try_quote) {
        Some(Ok(quoted)) => quoted.into_owned(),
        // What is no text, or cannot be seen, is spelled in ANSI-C quotes, which all shells but the oldest read.
        _ => format!("$'{}'", path.as_os_str().as_encoded_bytes().escape_ascii()),
    }
}

/// What a run learns from, what its speed counts, and how many target tokens one of that is.
fn counted(learns: Learns) -> (&'static str, &'static str, f64) {
    match learns {
        Learns::Pairs => ("pairs", "tokens", 1.0),
        Learns::Text => ("windows of text", "tokens", 1.0),
        Learns::Masked => ("windows of text", "masked tokens", 1.0),
        Learns::Classes => ("texts", "texts", 1.0),
        Learns::Spans => ("questions", "questions", 2.0),
    }
}

/// Shows an event of a run.
fn show(event: Event<'_>, learns: Learns, global: &Global, bar: &mut Bar) {
    let (what, unit, each) = counted(learns);
    match event {
        Event::Started { train, valid, parameters, resumed, total } => {
            let going_on = if resumed > 0 { format!(", going on after step {resumed}") } else { String::new() };
            bar.println(&format!(
                "{train} {what} to learn from, {valid} to check with, {parameters} parameters{going_on}"
            ));
            *bar = Bar::new(global, total, "steps");
            bar.update_with(resumed, "compiling kernels", None);
        }
        Event::Step { reading, tokens_per_second, total, seconds_left } => {
            bar.set_total(total);
            let speed = tokens_per_second / each;
            let message = format!("training loss {:.4}  norm {:.2}  {speed:.0} {unit}/s", reading.loss, reading.norm);
            bar.update_with(reading.step, &message, seconds_left.map(duration));
        }
        Event::Averaged { models, found, best } => {
            let best = if best { "the best: it is the model now" } else { "not better than the best of them" };
            bar.println(&format!("average of the {models} best: {}, {best}", figures(&found, learns)));
        }
        Event::Bounded { name, values, bounds: [low, high] } => {
            let values: Vec<_> = values.iter().map(|value| format!("{value:.1}")).collect();
            bar.println(&format!("{name}: {} (from {low} to {high})", values.join("  ")));
        }
        Event::Validated { step, found, samples, best } => {
            let best = if best { " (best so far)" } else { "" };
            bar.println(&format!("step {step}: {}{best}", figures(&found, learns)));
            for (pair, reference) in samples {
                if found.scores.is_none() {
                    bar.println(&format!("    {} ▸ {}", escaped(&pair.source), escaped(&pair.target)));
                    continue;
                }
                let mark = if &pair.target == reference { "=" } else { "≠" };
                let reference = if &pair.target == reference { String::new() } else { format!("   ({reference})") };
                bar.println(&format!("    {} {mark} {}{reference}", pair.source, pair.target));
            }
        }
        _ => {}
    }
}

fn figures(found: &Validated, learns: Learns) -> String {
    let cross_entropy = format!("cross-entropy {:.4}", found.cross_entropy);
    match (&found.scores, found.bits_per_byte) {
        (Some(scores), _) if learns == Learns::Classes => {
            format!("accuracy {:.2} %, {cross_entropy} on {}", scores.exact_match, scores.count)
        }
        (Some(scores), _) if learns == Learns::Spans => format!(
            "exact match {:.2} %, F1 {:.2} %, {cross_entropy} on {}",
            scores.exact_match,
            found.f1.unwrap_or_default(),
            scores.count
        ),
        (Some(scores), _) => format!(
            "exact match {:.2} %, token error rate {:.2} %, BLEU {:.2}, {cross_entropy} on {}",
            scores.exact_match, scores.token_error_rate, scores.bleu, scores.count
        ),
        (None, bits) => {
            let bits = bits.map_or_else(String::new, |bits| format!(", {bits:.4} bits per byte"));
            format!("{cross_entropy}, perplexity {:.3}{bits}", found.cross_entropy.exp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_asked_about_as_the_model_reads_them() {
        let stories = || TrainOptions::new(Data::Task(Task::Stories));
        for (architecture, tabs) in [("bert", 1), ("luong", 0), ("longformer", 0)] {
            let example = example(&stories().with_architecture(architecture));
            assert_eq!(example.matches("\\t").count(), tabs, "{architecture}: {example}");
        }
    }

    #[test]
    fn a_resumed_run_counts_from_where_it_goes_on() {
        let global = Global {
            adapter: None,
            checked: false,
            trace: false,
            check_finite: false,
            untuned: false,
            no_experimental: false,
            tiles: None,
            quiet: true,
            verbose: 0,
            ranks: None,
        };
        let mut bar = Bar::new(&global, None, "steps");
        let started = Event::Started { train: 9, valid: 3, parameters: 7, resumed: 4505, total: Some(17_300) };
        show(started, Learns::Pairs, &global, &mut bar);
        assert_eq!(bar.first, Some(4505));
    }
}
