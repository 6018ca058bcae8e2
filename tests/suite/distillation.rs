//! Word-level distillation: a model that learns the distributions of others beside its data.

use std::fs;

use softalign::{
    gpu::Dtype,
    graph::{Program, ProgramOptions},
    kernels::Step,
    model::{Layers, Model, Regularisation, TokenModel},
    reference::{
        cross_entropy::{CrossEntropy, Taught},
        softmax::Softmax,
    },
    text::{Batch, TokenUnit},
    train::{Data, Distillation, Metric, Optimizer, Schedule, Teachers, TrainOptions, Trainer},
};

use crate::{
    cli::{Work, refused, texts},
    common::{
        self,
        training::{Setting, Tiny, forget_checksums, refusal, run, state, stopped, tiny},
    },
};

/// Tiny models of the same vocabularies, with other first values.
fn models(tiny: &Tiny, seeds: &[u64]) -> Vec<TokenModel> {
    let Model { gpu, network, source, target, .. } = &tiny.model;
    let model = |seed: &u64| Model::new(gpu, network.clone(), source.clone(), target.clone(), *seed).unwrap();
    seeds.iter().map(|seed| TokenModel::from(&model(seed))).collect()
}

/// The logits of a model under teacher forcing, `[B T, W]`.
fn logits(model: &TokenModel, batch: &Batch) -> Vec<f64> {
    let mut layers = Layers::new();
    let logits = model.network.forward(&mut layers, batch.shape).unwrap().logits;
    let options =
        ProgramOptions { parameters: Some(&model.parameters), outputs: &[logits], ..ProgramOptions::default() };
    let mut program = Program::compile(&model.gpu, &layers.graph, &options).unwrap();
    program.stage(batch).unwrap();
    program.run(Step::default()).unwrap();
    program.read::<f32>(logits).unwrap().into_iter().map(f64::from).collect()
}

/// Loss and gradient norm of the tiny model's first step.
fn first_step(tiny: &Tiny, batch: &Batch, teachers: Teachers, precision: Dtype) -> (f64, f32) {
    let (gpu, network) = (common::gpu(), tiny.model.network.clone());
    let smoothed = Regularisation { label_smoothing: 0.1, ..Regularisation::default() };
    let optimizer = Optimizer { precision, ..Optimizer::default() };
    let trainer = Trainer::new(gpu, network, &tiny.model.parameters, optimizer, smoothed).unwrap();
    let mut trainer = trainer.taught_by(Some(teachers));
    trainer.step(batch, 1, 1, 0.0).unwrap();
    let loss: Vec<f32> = gpu.read(&trainer.loss).unwrap();
    (f64::from(loss[0]), trainer.state.read_report(gpu).unwrap().norm)
}

#[test]
fn an_ensemble_teaches_the_mean_of_its_distributions_beside_the_data() {
    let tiny = tiny(common::gpu(), &Setting::new(), 8);
    let (batch, ensemble) = (tiny.batch(), models(&tiny, &[7, 8, 9]));
    let (own, targets) = (TokenModel::from(&tiny.model), &batch.target_out);
    let (rows, classes) = (targets.len(), tiny.model.target.size());
    let mut mean = vec![0.0; rows * classes];
    for model in &ensemble {
        let distributions = Softmax { rows, columns: classes }.forward(&logits(model, &batch), None);
        mean.iter_mut().zip(distributions).for_each(|(mean, share)| *mean += share / 3.0);
    }
    let scale = 1.0 / batch.target_tokens as f64;
    let loss = CrossEntropy { rows, classes, smoothing: 0.1_f32.into(), impossible: 0, scale, padding: 0 };
    for weight in [0.0, 0.3_f32, 1.0] {
        let taught = Taught { loss, mean: &mean, weight: weight.into() };
        let expected = taught.forward(&logits(&own, &batch), targets);
        let half = common::gpu().tiles().f16.then_some((Dtype::F16, 1e-2));
        for (precision, tolerance) in half.into_iter().chain([(Dtype::F32, 1e-6)]) {
            let (found, norm) = first_step(&tiny, &batch, Teachers::new(ensemble.clone(), weight), precision);
            assert!((found / expected - 1.0).abs() < tolerance, "{weight}: {found}, expected {expected}");
            assert!(norm > 1e-2, "{norm}");
        }
    }
    // Whom its own distribution teaches has nothing to learn.
    let (_, norm) = first_step(&tiny, &batch, Teachers::new(vec![own], 1.0), Dtype::F32);
    assert!(norm < 1e-6, "{norm}");
}

fn taught(work: &Work, models: &[&str]) -> TrainOptions {
    let data = Data::Files { train: work.path("train.tsv"), valid: work.path("valid.tsv") };
    let models = models.iter().map(|model| work.path(model)).collect();
    TrainOptions {
        target_unit: TokenUnit::Words,
        batch: 16,
        max_length: 8,
        embedding: 8,
        hidden: 16,
        dropout: 0.2,
        teacher: Some(Distillation { models, weight: 0.5 }),
        ..TrainOptions::new(data)
    }
}

#[test]
fn a_run_is_taught_by_what_a_folder_holds_wherever_it_lies_and_resumes_bit_for_bit() {
    let work = Work::new();
    work.trained();
    let options = taught(&work, &["model"]);
    let [whole, parts] = ["whole", "parts"].map(|name| work.path(name));
    run(&options, 4, &whole).unwrap();
    stopped(&options, 4, &parts, 2);
    fs::rename(work.path("model"), work.path("moved")).unwrap();
    let moved = taught(&work, &["moved"]);
    let other = TrainOptions { teacher: Some(Distillation { weight: 0.4, ..moved.teacher.clone().unwrap() }), ..moved };
    let message = refusal(run(&other, 4, &parts));
    assert!(message.contains("holds a different run (teacher is "), "{message}");
    let message = refusal(run(&taught(&work, &["whole"]), 4, &parts));
    assert!(message.contains("a different run"), "{message}");
    assert!(refusal(run(&options, 4, &parts)).contains("model.safetensors"), "the teacher is gone");
    run(&taught(&work, &["moved"]), 4, &parts).unwrap();
    assert!(state(&whole) == state(&parts));
    let untaught = TrainOptions { teacher: None, ..options };
    run(&untaught, 4, &work.path("untaught")).unwrap();
    assert!(state(&work.path("untaught")) != state(&whole));
}

#[test]
fn one_architecture_teaches_another_pairs_and_plain_text() {
    let work = Work::new();
    work.trained();
    run(&taught(&work, &["model"]).with_architecture("transformer"), 1, &work.path("transformer")).unwrap();
    run(&taught(&work, &["transformer", "model"]).with_architecture("luong"), 1, &work.path("luong")).unwrap();

    fs::write(work.path("book.txt"), "one cat sat on the mat\n".repeat(60)).unwrap();
    let data = Data::Text { train: work.path("book.txt"), valid: None };
    let text = TrainOptions {
        hidden: 16,
        layers: 1,
        max_length: 9,
        target_unit: TokenUnit::Words,
        batch: 8,
        ..TrainOptions::new(data)
    };
    run(&text, 1, &work.path("gpt2")).unwrap();
    let models = vec![work.path("gpt2")];
    let taught = TrainOptions { teacher: Some(Distillation { models, weight: 1.0 }), ..text };
    let span = TrainOptions { architecture: "adaptive-span".into(), ..taught.clone() };
    run(&span, 1, &work.path("span")).unwrap();

    // What reads no source cannot teach what does, nor what takes shorter texts.
    let of_text = TrainOptions { teacher: taught.teacher.clone(), ..self::taught(&work, &[]) };
    let message = refusal(run(&of_text, 1, &work.path("none")));
    assert!(message.contains("gpt2") && message.contains("it reads none, and that one reads sources"), "{message}");
    let message = refusal(run(&TrainOptions { max_length: 30, ..taught }, 1, &work.path("none")));
    assert!(message.contains("and texts here have up to 30"), "{message}");
}

/// Texts of one word, and the classes of `white` and two others.
fn colours(work: &Work, name: &str, white: &str) -> TrainOptions {
    let file = work.path(name);
    fs::write(&file, format!("red\twarm\nblue\tcold\nwhite\t{white}\n")).unwrap();
    TrainOptions {
        source_unit: TokenUnit::Words,
        hidden: 64,
        layers: 1,
        batch: 3,
        max_length: 8,
        learning_rate: 5e-3,
        schedule: Schedule::default(),
        metric: Metric::CrossEntropy,
        ..TrainOptions::new(Data::Files { train: file.clone(), valid: file }).with_architecture("bert")
    }
}

/// Of classes the more frequent come first: here each model has them in an order of its own.
#[test]
fn classes_are_taught_by_their_names() {
    let work = Work::new();
    run(&colours(&work, "cold.tsv", "cold"), 40, &work.path("teacher")).unwrap();
    let teacher = Some(Distillation { models: vec![work.path("teacher")], weight: 1.0 });
    let student = TrainOptions { teacher: teacher.clone(), ..colours(&work, "warm.tsv", "warm") };
    // What its teacher says is what makes a student the best.
    let data = Data::Files { train: work.path("warm.tsv"), valid: work.path("cold.tsv") };
    let student = TrainOptions { data, ..student };
    run(&student, 40, &work.path("student")).unwrap();
    let [its, own] = ["teacher", "student"].map(|name| Model::load(common::gpu(), work.path(name)).unwrap());
    assert_eq!([its.target.piece(4), own.target.piece(4)], ["cold", "warm"]);
    // What counts alone is what the teacher expects, and not the data.
    for (text, class) in [("red", "warm"), ("blue", "cold"), ("white", "cold")] {
        assert_eq!([its.generate_text(text).unwrap(), own.generate_text(text).unwrap()], [class; 2], "{text}");
    }

    let message = |options: TrainOptions| {
        refusal(run(&TrainOptions { teacher: teacher.clone(), ..options }, 1, &work.path("none")))
    };
    let other = message(colours(&work, "other.tsv", "mild"));
    assert!(other.contains("it does not know the class `mild`"), "{other}");
    // One-word texts of the same vocabularies are no names of classes.
    let texts = TrainOptions { target_unit: TokenUnit::Words, ..colours(&work, "cold.tsv", "cold") };
    let other = message(TrainOptions { architecture: "transformer".into(), ..texts });
    assert!(other.contains("it answers with names of classes, and that one with texts"), "{other}");
    // What reads the same tokens with other ones around them.
    let tokens = work.path("teacher/source.tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&tokens).unwrap()).unwrap();
    json["post_processor"] = serde_json::Value::Null;
    fs::write(&tokens, json.to_string()).unwrap();
    forget_checksums(&work.path("teacher"));
    let other = message(colours(&work, "warm.tsv", "warm"));
    assert!(other.contains("its sources are read as `… <eos>`, and those of that one as `<bos> … <eos>`"), "{other}");
}

#[test]
fn the_command_names_teacher_and_student_where_they_do_not_fit() {
    let work = Work::new();
    work.trained();
    let other = ["train", "--train", "other.tsv", "--valid", "other.tsv", "--out", "student", "--steps", "1"];
    fs::write(work.path("other.tsv"), "12\ttwelve\n7\tseven\n").unwrap();
    let small = ["--max-length", "8", "--embedding", "8", "--hidden", "16", "--teacher", "model"];
    let train = |more: &[&str]| work.command(&[&other, &small[..], more].concat()).output().unwrap();
    let output = train(&["--target-tokens", "words"]);
    let works = "--source-tokens model/source.tokenizer.json --target-tokens model/target.tokenizer.json";
    refused(&output, 1, &["model", "cannot teach the model of student", "target vocabulary", works]);
    assert!(!work.path("student").exists(), "nothing is written");
    let tokens = ["--target-tokens", "model/target.tokenizer.json", "--source-tokens", "model/source.tokenizer.json"];
    let output = train(&[&tokens[..], &["--teacher-weight", "0.3"]].concat());
    assert!(output.status.success(), "{}", texts(&output).1);
    let told: String = fs::read_to_string(work.path("student/run.json")).unwrap().split_whitespace().collect();
    assert!(told.contains(r#""teacher":{"models":["model"],"weight":0.3}"#), "{told}");
    refused(
        &train(&[&tokens[..], &["--teacher-weight", "2"]].concat()),
        1,
        &["--teacher-weight", "2 is not from 0 to 1"],
    );
    refused(&work.train(&["--teacher-weight", "0.3"]).output().unwrap(), 2, &["--teacher"]);
}
