//! Classifiers: texts and their classes learnt, told, ranked and scored.

use std::path::Path;

use softalign::{
    Error,
    generate::{Generator, Scorer, Scoring, SearchOptions, evaluate_in_full},
    model::{Model, Regularisation},
    text::{BatchSize, Buckets, Example, Pair, TokenUnit},
    train::{Budget, Data, Destination, Optimizer, Outcome, Pairs, Schedule, TrainOptions, Trainer, train},
};

use crate::{cli::Work, common};

const CLASSES: [&str; 3] = ["goes up", "goes down", "<eos>"];

/// Texts whose class is told by one word, which stands anywhere.
fn pairs() -> Vec<Pair> {
    let words = [["rise", "climb"], ["fall", "sink"], ["stop", "end"]];
    let others = ["the", "price", "of", "tea", "will", "soon", "again"];
    let of_class = |class: usize| {
        (0..60).map(move |number: usize| {
            let mut text: Vec<_> =
                (0..2 + number % 5).map(|place| others[(number * 3 + place * 5 + class) % 7]).collect();
            text.insert((number * 7 + class) % (text.len() + 1), words[class][number % 2]);
            Pair::new(text.join(" "), CLASSES[class])
        })
    };
    (0..3).flat_map(of_class).collect()
}

fn options(architecture: &str) -> TrainOptions {
    let data = Data::Pairs(Pairs::new(pairs(), pairs()));
    TrainOptions {
        hidden: 64,
        layers: 1,
        max_length: 12,
        batch: 30,
        learning_rate: 1e-3,
        schedule: Schedule { warmup: 20, ..Schedule::default() },
        ..TrainOptions::new(data).with_architecture(architecture)
    }
}

fn run(folder: &Path, options: &TrainOptions, steps: u64) -> Result<Outcome, Error> {
    let budget = Budget { steps: Some(steps), ..Budget::default() };
    train(common::gpu(), options, budget, Destination { folder, overwrite: false }, &|| false, &mut |_| ())
}

#[test]
fn learns_the_classes_of_texts() {
    let work = Work::new();
    for architecture in ["bert", "roberta", "longformer"] {
        let folder = work.path(architecture);
        run(&folder, &options(architecture), 120).unwrap();
        let model = Model::load(common::gpu(), &folder).unwrap();
        assert_eq!(model.network.name(), architecture);
        assert_eq!(model.network.limits().target_vocabulary, 4 + CLASSES.len());
        let source = model.encode("the price of tea will sink again").unwrap();
        let specials = model.source.specials();
        assert_eq!((source[0], source[source.len() - 1]), (specials.bos, specials.eos));

        // Ranked: every class once, and their probabilities are all there is.
        let mut generator = Generator::new(&model);
        let search = SearchOptions { beam: 3, n_best: 3, ..SearchOptions::default() };
        let found = generator.generate(std::slice::from_ref(&source), &search).unwrap().remove(0);
        let mut names: Vec<_> = found.iter().map(|one| model.target.decode(&one.tokens)).collect();
        assert_eq!(names[0], "goes down");
        assert!(found.iter().all(|one| one.finished && one.tokens.len() == 1), "{found:?}");
        let all: f64 = found.iter().map(|one| f64::from(one.score).exp()).sum();
        assert!((all - 1.0).abs() < 1e-5, "{all}");
        names.sort();
        assert_eq!(names, ["<eos>", "goes down", "goes up"]);

        // Scored alike, without an end to be expected.
        let example = Example::of(&model.target, source.clone(), found[1].tokens.clone());
        let scored = Scorer::new(&model).score(&[example]).unwrap()[0];
        assert_eq!(scored.tokens, 1);
        assert!((scored.log_probability - f64::from(found[1].score)).abs() < 1e-4, "{scored:?} {:?}", found[1]);

        // Where it looked: shares of the text. Within windows nobody keeps that.
        if architecture != "longformer" {
            let weights = generator.alignment(&source, &found[0].tokens).unwrap();
            assert_eq!(weights.len(), source.len());
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{weights:?}");
        }

        let scoring = Scoring { resamples: 10, ..Scoring::default() };
        let found = evaluate_in_full(&mut generator, &model, &pairs(), &SearchOptions::default(), &scoring).unwrap();
        let confusion = found.confusion.unwrap();
        assert_eq!(confusion.names, ["<eos>", "goes down", "goes up"]);
        assert!(confusion.counts.iter().all(|row| row.iter().sum::<usize>() == 60), "{confusion:?}");
        assert!(found.scores.exact_match > 95.0 && confusion.macro_f1 > 95.0, "{confusion:?}");
        assert!(found.perplexity.unwrap() < 1.3);
    }
}

/// The special tokens before the names of classes, which no text has for its class, get no share.
#[test]
fn label_smoothing_spreads_over_the_classes_alone() {
    let work = Work::new();
    run(&work.path("bert"), &options("bert"), 1).unwrap();
    let (gpu, model) = (common::gpu(), Model::load(common::gpu(), work.path("bert")).unwrap());
    let source = model.encode("the price will sink").unwrap();
    let search = SearchOptions { n_best: 3, ..SearchOptions::beam(3) };
    let found = Generator::new(&model).generate(std::slice::from_ref(&source), &search).unwrap().remove(0);
    let evenly: f64 = found.iter().map(|one| f64::from(one.score) / 3.0).sum();
    let expected = -(0.9 * f64::from(found[1].score) + 0.1 * evenly);

    let (limits, example) = (model.network.limits(), Example::of(&model.target, source, found[1].tokens.clone()));
    let buckets = Buckets::new(vec![example], BatchSize::Sentences(1), 2).unwrap();
    let buckets = buckets.with_specials(limits.specials, limits.padding);
    let smoothed = Regularisation { label_smoothing: 0.1, ..Regularisation::default() };
    let mut trainer =
        Trainer::new(gpu, model.network.clone(), &model.parameters, Optimizer::default(), smoothed).unwrap();
    trainer.step(&buckets.batch(&buckets.in_order()[0]), 1, 1, 0.0).unwrap();
    let loss = f64::from(gpu.read::<f32>(&trainer.loss).unwrap()[0]);
    assert!((loss - expected).abs() < 1e-4, "{loss}, expected {expected}");
}

#[test]
fn units_of_targets_are_those_of_the_architecture() {
    let work = Work::new();
    let refused = |options: TrainOptions| run(&work.path("refused"), &options, 1).unwrap_err().to_string();
    let message = refused(TrainOptions { target_unit: TokenUnit::Words, ..options("bert") });
    assert!(message.contains("target_tokens") && message.contains("whole"), "{message}");
    let message = refused(TrainOptions { target_unit: TokenUnit::Whole, ..options("luong") });
    assert!(message.contains("bert, roberta and longformer"), "{message}");
    let message = refused(TrainOptions { source_unit: TokenUnit::Whole, ..options("bert") });
    assert!(message.contains("source_tokens"), "{message}");
    assert!(!work.path("refused").exists());
    // Another kind of data has defaults of its own, whichever came before.
    assert_eq!(options("bert").with_architecture("luong").target_unit, TokenUnit::Chars);
}
