//! What training does besides fitting the targets: gradients of whole models, exact resumption, what it costs when it is off,
//! and that a guided attention goes where it is led.

use std::{fs, path::Path, sync::Arc};

use crate::common::{
    self,
    training::{Setting, run, state, stopped},
};
use softalign::{
    graph::{Parameters, Program, ProgramOptions},
    kernels::Step,
    model::{
        Architecture, BatchShape, Regularisation,
        bahdanau::{Bahdanau, Config},
        first_values,
    },
    text::{Batch, BatchSize, Buckets, EOS, Example, Pair, read_alignment, read_tsv},
    train::{Data, GuidedAlignment, Objective, Optimizer, Part, TrainOptions, Trainer, TrainingGraph},
};

const ALL: Regularisation = Regularisation {
    label_smoothing: 0.1,
    dropout_state: 0.3,
    dropout_words: 0.2,
    variational: true,
    guided_alignment: 0.5,
    coverage: 0.7,
};

fn network(dropout: f32) -> Arc<dyn Architecture> {
    let config = Config {
        embedding: 8,
        hidden: 12,
        attention: 12,
        readout_size: 12,
        encoder_layers: 2,
        dropout,
        ..Config::new(9, 11)
    };
    Bahdanau::new(config).unwrap()
}

fn parameters(network: &Arc<dyn Architecture>) -> Parameters {
    first_values(common::gpu(), &network.parameters(), 1).unwrap()
}

/// Sources and targets of the same length, the target token t linked with the source token that is as far from the end.
fn batch(folder: &Path, rows: usize) -> Batch {
    let example = |row: usize| {
        let length = 2 + row % 3;
        let token = |i: usize| 4 + ((row * 7 + i * 3) % 5) as u32;
        let target: Vec<u32> = (0..length).map(token).collect();
        Example::new(target.iter().copied().chain([EOS]).collect(), target)
    };
    let examples: Vec<_> = (0..rows).map(example).collect();
    let line = |example: &Example| {
        let count = example.target.len();
        (0..count).map(|t| format!("{}-{t} ", count - 1 - t)).collect::<String>() + "\n"
    };
    let file = folder.join("alignment.txt");
    fs::write(&file, examples.iter().map(line).collect::<String>()).unwrap();
    let alignment = read_alignment(&file, &examples).unwrap();
    let buckets = Buckets::new(examples, BatchSize::Sentences(rows), 1).unwrap().aligned(alignment);
    let plans = buckets.in_order();
    let longest = plans.iter().max_by_key(|plan| buckets.shape(plan).target).unwrap();
    buckets.batch(longest)
}

/// For each parameter alone: a step against its gradient, and one with it, change the loss by the gradient's length.
#[test]
fn gradients_are_slopes_of_the_loss() {
    let (gpu, folder) = (common::gpu(), tempfile::tempdir().unwrap());
    let states_alone = Regularisation { dropout_state: 0.4, ..Regularisation::default() };
    for (dropout, regularisation) in [(0.2, ALL), (0.0, states_alone)] {
        let network = network(dropout);
        let (parameters, batch) = (parameters(&network), batch(folder.path(), 5));
        let objective = Objective { regularisation, ..Objective::default() };
        let training = TrainingGraph::new(network.as_ref(), batch.shape, &objective).unwrap();
        let mut outputs = vec![training.loss];
        outputs.extend(training.gradients.iter().map(|(_, value)| *value));
        let options = ProgramOptions { parameters: Some(&parameters), outputs: &outputs, ..ProgramOptions::default() };
        let mut program = Program::compile(gpu, &training.graph, &options).unwrap();
        program.stage(&batch).unwrap();
        let loss_scale = 1.0 / batch.target_tokens as f32;
        let alignment_scale = 1.0 / batch.aligned_tokens as f32;
        let step = Step { step: 3, seed: 5, loss_scale, alignment_scale, ..Step::default() };
        program.run(step).unwrap();
        let gradients: Vec<Vec<f32>> = outputs[1..].iter().map(|value| program.read(*value).unwrap()).collect();
        for ((name, _), gradient) in training.gradients.iter().zip(&gradients) {
            let norm = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 0.0, "{name} has no gradient");
            let tensor = parameters.tensor(name).unwrap();
            let values: Vec<f32> = gpu.read(&tensor).unwrap();
            let mut loss = |distance: f64| {
                let moved = values.iter().zip(gradient).map(|(x, d)| x + (distance / norm * f64::from(*d)) as f32);
                gpu.write(&tensor, &moved.collect::<Vec<_>>()).unwrap();
                program.run(step).unwrap();
                f64::from(program.read::<f32>(training.loss).unwrap()[0])
            };
            let slope = (loss(4e-3) - loss(-4e-3)) / 8e-3;
            gpu.write(&tensor, &values).unwrap();
            assert!((slope - norm).abs() < 0.01 * norm + 3e-4, "{name}: slope {slope}, gradient {norm}");
        }
    }
}

#[test]
fn what_is_off_costs_nothing_and_what_is_on_a_few_dispatches_whatever_the_length() {
    let network = network(0.0);
    // From textures, a driver's products through a step back are dispatches of their own, but those that meet a mask.
    let gpu = common::without_subgroups();
    let labels = |regularisation: Regularisation, steps: usize| -> Vec<String> {
        let optimizer = Optimizer::default();
        let parameters = first_values(gpu, &network.parameters(), 1).unwrap();
        let mut trainer = Trainer::new(gpu, network.clone(), &parameters, optimizer, regularisation).unwrap();
        let program = trainer.prepare(BatchShape::new(4, steps, steps)).unwrap();
        program.recording().labels().map(str::to_owned).collect()
    };
    let off = Regularisation::default();
    let plain = labels(off, 4);
    for mark in ["dropout", "DROPOUT", "alignment_loss", "coverage_loss"] {
        assert!(!plain.iter().any(|label| label.contains(mark)), "{mark}");
    }
    let more = |regularisation: Regularisation| {
        let more = |steps| labels(regularisation, steps).len() - labels(off, steps).len();
        assert_eq!(more(4), more(6), "{regularisation:?}");
        more(4)
    };
    // Each of three recurrent layers: the mask is drawn and copied. Of the encoder's two, which begin with zeros, its rows are put in the
    // order of directions; the decoder's is multiplied with the first state, and that copied, and one step back to that state takes the
    // place of a product.
    assert_eq!(more(Regularisation { dropout_state: 0.1, ..off }), 2 * 3 + 4);
    // Loss in two dispatches, gradient, and the sum of the losses; and the weights' own gradients begin with it, by a copy.
    assert_eq!(more(Regularisation { guided_alignment: 0.1, ..off }), 5);
    assert_eq!(more(Regularisation { coverage: 0.1, ..off }), 5);
}

/// Each target token looks at the source token that is as far from the end: nothing but the links says so.
#[test]
fn a_guided_attention_goes_where_it_is_led() {
    let (gpu, folder) = (common::gpu(), tempfile::tempdir().unwrap());
    let network = network(0.0);
    let (parameters, batch) = (parameters(&network), batch(folder.path(), 16));
    let regularisation = Regularisation { guided_alignment: 1.0, ..Regularisation::default() };
    let optimizer = Optimizer { clip_norm: Some(1.0), ..Optimizer::default() };
    let mut trainer = Trainer::new(gpu, network.clone(), &parameters, optimizer, regularisation).unwrap();
    let training = TrainingGraph::new(network.as_ref(), batch.shape, &Objective::default()).unwrap();
    let attention = training.attention.unwrap();
    let options = ProgramOptions { parameters: Some(&parameters), outputs: &[attention], ..ProgramOptions::default() };
    let mut forward = Program::compile(gpu, &training.graph, &options).unwrap();
    let mut followed = || {
        forward.stage(&batch).unwrap();
        forward.run(Step::default()).unwrap();
        let weights: Vec<f32> = forward.read(attention).unwrap();
        let attended: f32 = weights.iter().zip(&batch.alignment).map(|(weight, share)| weight * share).sum();
        attended / batch.aligned_tokens as f32
    };
    let before = followed();
    for step in 1..=120 {
        trainer.step(&batch, step, 1, 1e-2).unwrap();
    }
    let after = followed();
    assert!(before < 0.5 && after > 0.85, "{before} before, {after} after");
}

/// Links are averaged over all batches of an update, as target tokens are.
#[test]
fn guided_batches_added_up_are_one_large_batch() {
    let (gpu, folder) = (common::gpu(), tempfile::tempdir().unwrap());
    let first = batch(folder.path(), 6);
    let mut second = first.clone();
    let half = second.alignment.len() / 2;
    second.alignment[half..].fill(0.0);
    second.aligned_tokens = second.alignment.iter().filter(|share| **share == 1.0).count();
    assert!(second.aligned_tokens > 0 && second.aligned_tokens < first.aligned_tokens);
    let large = Batch {
        shape: BatchShape { rows: 2 * first.shape.rows, ..first.shape },
        source: first.source.repeat(2),
        lengths: first.lengths.repeat(2),
        target_in: first.target_in.repeat(2),
        target_out: first.target_out.repeat(2),
        indices: first.indices.repeat(2),
        target_tokens: 2 * first.target_tokens,
        alignment: [&*first.alignment, &*second.alignment].concat(),
        aligned_tokens: first.aligned_tokens + second.aligned_tokens,
        ..first.clone()
    };
    let network = network(0.0);
    let regularisation = Regularisation { guided_alignment: 1.0, coverage: 0.5, ..Regularisation::default() };
    let trainer = |accumulate| {
        let optimizer = Optimizer { clip_norm: Some(1.0), accumulate, ..Optimizer::default() };
        Trainer::new(gpu, network.clone(), &parameters(&network), optimizer, regularisation).unwrap()
    };
    let [mut whole, mut parts] = [trainer(false), trainer(true)];
    whole.step(&large, 1, 1, 1e-3).unwrap();
    let all = Part::of(&[&first, &second]);
    for (index, batch) in [(0, &first), (1, &second)] {
        parts.part(batch, Part { index, ..all }, 1, 1, 1e-3).unwrap();
    }
    let reports: [Vec<f32>; 2] = [&whole, &parts].map(|trainer| gpu.read(&trainer.state.report).unwrap());
    for (name, index) in [("norm", 0), ("loss", 4)] {
        let [expected, found] = [reports[0][index], reports[1][index]];
        assert!((found / expected - 1.0).abs() < 1e-5, "{name} {found}, expected {expected}");
    }
}

#[test]
fn a_run_with_all_of_it_resumes_bit_for_bit() {
    let setting = Setting::new();
    let Data::Files { train, .. } = &setting.options.data else { unreachable!() };
    // Every word from the first digit; a line in three has no links.
    let links = |(line, pair): (usize, &Pair)| match line % 3 {
        0 => "\n".to_owned(),
        _ => pair.target.split(' ').enumerate().map(|(t, _)| format!("0-{t} ")).collect::<String>() + "\n",
    };
    let file = setting.folder.path().join("links.txt");
    fs::write(&file, read_tsv(train).unwrap().iter().enumerate().map(links).collect::<String>()).unwrap();
    let options = TrainOptions {
        variational: true,
        dropout_state: 0.2,
        dropout_words: 0.1,
        guided_alignment: Some(GuidedAlignment { file, weight: 0.3 }),
        coverage_weight: 0.2,
        ..setting.options.clone()
    };
    run(&options, 9, &setting.out("whole")).unwrap();
    assert!(stopped(&options, 9, &setting.out("stopped"), 4).interrupted);
    run(&options, 9, &setting.out("stopped")).unwrap();
    assert_eq!(state(&setting.out("whole")), state(&setting.out("stopped")));
}

#[test]
fn alignments_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("links.txt");
    let examples = [Example::new(vec![4, 5, EOS], vec![6]), Example::new(vec![4, EOS], vec![7, 8, 9])];
    for (text, parts) in [
        ("0-0\n", ["has 1 in place of a line for each of the 2 training pairs", "it is empty"]),
        ("0-0\n0-1\n\n\n", ["has 4 in place of", "2 training pairs"]),
        ("0-0 2-0\n0-1\n", ["line 1: `2-0`", "the source has 2 tokens, numbered from 0"]),
        ("0-0\n0-1 0-3\n", ["line 2: `0-3`", "the target has 3 tokens, numbered from 0"]),
        ("0-0\n0_1\n", ["line 2: `0_1` is no link", "0-0 1-2"]),
        ("-1-0\n\n", ["line 1: `-1-0` is no link", "0-0 1-2"]),
        ("0-0-0\n\n", ["line 1: `0-0-0` is no link", "0-0 1-2"]),
    ] {
        fs::write(&file, text).unwrap();
        let error = read_alignment(&file, &examples).unwrap_err().to_string();
        assert!(error.contains("links.txt") && parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
    }
    // Windows' line ends, a link that is there twice, a pair without links, two sources for one target.
    fs::write(&file, "1-0 0-0 1-0\r\n\r\n").unwrap();
    let buckets = Buckets::new(examples.clone(), BatchSize::Sentences(3), 1)
        .unwrap()
        .aligned(read_alignment(&file, &examples).unwrap());
    for plan in buckets.in_order() {
        let batch = buckets.batch(&plan);
        let (steps, keys) = (batch.shape.target, batch.shape.source);
        assert_eq!(batch.alignment.len(), 3 * steps * keys);
        for (row, index) in batch.indices.iter().enumerate() {
            let expected = &batch.alignment[row * steps * keys..][..steps * keys];
            match index {
                Some(0) => assert_eq!(expected[..2], [0.5, 0.5]),
                _ => assert!(expected.iter().all(|share| *share == 0.0)),
            }
        }
        assert_eq!(batch.aligned_tokens, usize::from(batch.indices.contains(&Some(0))));
    }
}

/// A run that an earlier version began says nothing of these options, and goes on.
#[test]
fn options_that_are_not_there_are_off() {
    let options = Setting::new().options;
    let serde_json::Value::Object(mut fields) = serde_json::to_value(&options).unwrap() else { unreachable!() };
    for name in ["variational", "dropout_state", "dropout_words", "guided_alignment", "coverage_weight"] {
        assert!(fields.remove(name).is_some(), "{name}");
    }
    assert_eq!(serde_json::from_value::<TrainOptions>(fields.into()).unwrap(), options);
}
