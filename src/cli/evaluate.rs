//! `softalign evaluate`: scores of a model, or of given texts, on a file.

mod plain;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use softalign::{
    Error, Result, files,
    generate::{AnswerEvaluation, Evaluation, Scoring, evaluate_in_full, evaluate_texts},
    model::WEIGHTS,
    text::{Confusion, Interval, Pair, Tokenization, escaped, read_lines, read_tsv},
};

use comfy_table::Cell;

use super::{
    Global, agree_on, open, output,
    search::{Search, fills_masks, groups_references, is_language_model, read_pairs},
    table::{number, table},
};

/// Resamples, where nobody says how many.
const RESAMPLES: u32 = 1_000;
/// The seed of the resamples: the same texts have the same intervals.
const SEED: u64 = 1;

/// Arguments of `evaluate`.
#[derive(clap::Args)]
#[command(allow_missing_positional = true)]
pub struct Args {
    /// Model folder, as `softalign train` writes it. With --hypotheses it may be left out.
    #[arg(required_unless_present = "hypotheses")]
    model: Option<PathBuf>,
    /// Pairs to score on: a line each, source<TAB>target; for a model that answers questions question<TAB>paragraph<TAB>answer. For a
    /// language model a text, of which it says perplexity and bits per byte; for one that finds masked tokens a text to mask.
    #[arg(required = true)]
    file: PathBuf,
    /// Score the lines of this file, one for each pair, or one for each source where references are grouped. No model writes any
    /// text then, so that nothing is left for options of the search and --strict to decide.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "strict", "ensemble", "beam", "length_penalty", "coverage_penalty", "no_repeat_ngram", "min_length", "max_length",
        "replace_unk", "forbid_unk",
    ])]
    hypotheses: Option<PathBuf>,
    /// Take the targets of all pairs with one source for references of one text, as models trained with `--preset g2p` do.
    /// Otherwise each pair is scored by itself.
    #[arg(long)]
    group_references: bool,
    /// Tokens of BLEU, as sacreBLEU has them: none (between spaces), char, 13a, zh or intl [default: none; char where the model's
    /// tokens are characters].
    #[arg(long, value_name = "KIND")]
    tokenize: Option<Tokenization>,
    /// Resamples for the 95 % interval beside each score (Koehn 2004); 0 for none [default: 1000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    bootstrap: Option<u32>,
    /// Stop where a source is too long for the model. Otherwise its text is empty, and a warning says so.
    #[arg(long)]
    strict: bool,
    /// Also write the scores as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    search: Search,
}

/// Runs `evaluate`.
pub fn run(args: Args, global: &Global) -> Result<ExitCode> {
    let weights = args.model.iter().map(|folder| folder.join(WEIGHTS));
    let read: Vec<_> = weights.chain([args.file.clone()]).chain(args.hypotheses.clone()).collect();
    agree_on(global, &read)?;
    let of_text = |folder: &&Path| is_language_model(folder) || fills_masks(folder);
    if let Some(folder) = args.model.as_deref().filter(of_text) {
        return plain::run(&args, folder, global);
    }
    let pairs = match &args.model {
        Some(folder) => read_pairs(folder, &args.file)?,
        None => read_tsv(&args.file)?,
    };
    let hypotheses = args.hypotheses.as_ref().map(read_lines).transpose()?;
    let scoring = Scoring {
        name: args.file.display().to_string(),
        tokenization: args.tokenize,
        group_references: args.group_references || args.model.as_deref().is_some_and(groups_references),
        resamples: args.bootstrap.unwrap_or(RESAMPLES) as usize,
        seed: SEED,
    };
    let evaluation = evaluate(&args, global, &pairs, hypotheses.as_deref(), &scoring)?;
    print(&evaluation, &scoring)?;
    if let Some(path) = args.json.as_ref().filter(|_| global.writes()) {
        let text =
            serde_json::to_string_pretty(&evaluation).map_err(|error| Error::data("scores", error.to_string()))?;
        files::write_atomically(path, (text + "\n").as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn evaluate(
    args: &Args,
    global: &Global,
    pairs: &[Pair],
    hypotheses: Option<&[String]>,
    scoring: &Scoring,
) -> Result<Evaluation> {
    let name = args.hypotheses.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let texts = (name.as_str(), hypotheses.unwrap_or_default());
    let Some(folder) = &args.model else { return evaluate_texts(None, pairs, texts, scoring) };
    let gpu = open(global)?;
    let options = args.search.options();
    let (model, generator) = args.search.load(&gpu, folder, &options)?;
    let mut generator = generator.among(global.ranks.clone());
    if args.strict {
        for (pair, line) in pairs.iter().zip(1..) {
            let place = || format!("{}, line {line}", scoring.name);
            let length = model.encode(&pair.source).map_err(|error| Error::data(place(), error.to_string()))?.len();
            if length > generator.longest() {
                return Err(Error::data(
                    place(),
                    format!("{length} tokens, and this ensemble takes {}", generator.longest()),
                ));
            }
        }
    }
    match hypotheses {
        Some(_) => evaluate_texts(Some((&mut generator, &model)), pairs, texts, scoring),
        None => evaluate_in_full(&mut generator, &model, pairs, &options, scoring),
    }
}

/// The scores of a classifier: of classes, texts of one token each, the error rates and BLEU say nothing more.
fn print_classes(evaluation: &Evaluation, confusion: &Confusion) -> Result<()> {
    let intervals = evaluation.intervals.as_ref();
    let rows = [
        ("accuracy", Some(evaluation.scores.exact_match), " %", intervals.map(|found| found.exact_match)),
        ("macro F1", Some(confusion.macro_f1), " %", None),
        ("perplexity", evaluation.perplexity, "", intervals.and_then(|found| found.perplexity)),
    ];
    print_rows(&rows)?;
    let name = |name: &String| if name.is_empty() { "(none)".to_owned() } else { escaped(name) };
    let mut table = table(
        ["", "texts", "precision", "recall", "F1"]
            .map(str::to_owned)
            .into_iter()
            .chain(confusion.names.iter().map(name)),
    );
    for ((row, class), counts) in confusion.names.iter().zip(&confusion.classes).zip(&confusion.counts) {
        let shares = [class.precision, class.recall, class.f1].map(|share| number(format!("{share:.2}")));
        let cells = [Cell::new(name(row)), number(class.count)].into_iter().chain(shares);
        table.add_row(cells.chain(counts.iter().map(number)));
    }
    output::print(&format!("Texts of each class in a row, under the names that they were given:\n{table}"))
}

fn print(evaluation: &Evaluation, scoring: &Scoring) -> Result<()> {
    let scores = evaluation.scores;
    let counted = if scoring.group_references { "sources" } else { "pairs" };
    output::print(&format!("{counted:<20} {}", scores.count))?;
    let references = match evaluation.references {
        [1, 1] => "1 each".to_owned(),
        [fewest, most] if fewest == most => format!("{most} each, grouped by source"),
        [fewest, most] => format!("{fewest} to {most} each, grouped by source"),
    };
    output::print(&format!("references           {references}"))?;
    if let Some(confusion) = &evaluation.confusion {
        return print_classes(evaluation, confusion);
    }
    let intervals = evaluation.intervals.as_ref();
    if let Some(AnswerEvaluation { scores, intervals, .. }) = evaluation.answer_scores {
        let [exact, f1] = intervals.map_or([None; 2], |found| found.map(Some));
        let rows = [("exact match", Some(scores.exact_match), " %", exact), ("F1", Some(scores.f1), " %", f1)];
        return print_rows(&rows);
    }
    let tokens = if evaluation.wer.is_some() { "word error rate" } else { "token error rate" };
    let rows: [Row; 7] = [
        ("exact match", Some(scores.exact_match), " %", intervals.map(|found| found.exact_match)),
        (tokens, Some(scores.token_error_rate), " %", intervals.map(|found| found.token_error_rate)),
        (
            "sentence error rate",
            Some(scores.sentence_error_rate),
            " %",
            intervals.map(|found| found.sentence_error_rate),
        ),
        ("BLEU", Some(scores.bleu), "", intervals.map(|found| found.bleu)),
        ("chrF2", Some(scores.chrf), "", intervals.map(|found| found.chrf)),
        ("perplexity", evaluation.perplexity, "", intervals.and_then(|found| found.perplexity)),
        ("bits per token", evaluation.bits_per_token, "", intervals.and_then(|found| found.bits_per_token)),
    ];
    print_rows(&rows)?;
    output::print(&format!("BLEU signature       {}", evaluation.bleu_signature))?;
    output::print(&format!("chrF2 signature      {}", evaluation.chrf_signature))
}

/// A score's name, the score, its unit and its interval.
type Row = (&'static str, Option<f64>, &'static str, Option<Interval>);

fn print_rows(rows: &[Row]) -> Result<()> {
    for (name, score, unit, interval) in rows {
        let Some(score) = score else { continue };
        let range = interval.map_or_else(String::new, |found| format!("95 %: {:.2} to {:.2}", found.low, found.high));
        output::print(format!("{name:<20} {:<12}{range}", format!("{score:.2}{unit}")).trim_end())?;
    }
    Ok(())
}
