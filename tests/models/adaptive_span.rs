//! The model with adaptive spans beside its golden case: segments that are one text, steps through the caches, spans that training moves
//! between their bounds, and what is refused.

use std::iter::repeat_n;

use softalign::{
    Error,
    batch::{Batch, BatchShape},
    generate::{Generator, SearchOptions},
    model::{
        Kind, ModelOptions, Regularisation,
        adaptive_span::{AdaptiveSpan, Config},
    },
    train::{Optimizer, Part, Trainer},
};

use crate::common::{
    self,
    models::{Case, assert_steps_are_the_whole_pass, whole_pass},
};

fn config() -> Config {
    Config {
        hidden: 12,
        heads: 3,
        feed_forward: 10,
        layers: 2,
        segment: 24,
        span_limit: 7,
        ramp: 2,
        max_length: 24,
        ..Config::new(9)
    }
}

/// Drawn parameters, and in each layer a short span, one that ends on the way and one that is long.
fn case(config: &Config) -> Case {
    let mut case = Case::new(AdaptiveSpan::new(config.clone()).unwrap(), 0.7, 1);
    for (_, values) in case.values.iter_mut().filter(|(name, _)| name.ends_with("span")) {
        values.copy_from_slice(&[0.3, 3.6, 6.9]);
    }
    case
}

/// A memory is as long as the longest span, so that a text is the same in any segments; and a span hides what is behind it.
#[test]
fn segments_with_their_memory_are_one_text() {
    let tokens: Vec<u32> = (0..11).map(|step| 3 + step * 5 % 6).collect();
    let whole = whole_pass(&case(&config()).model(common::gpu()), &[], &tokens);
    for segment in [1, 4, 11] {
        let found = whole_pass(&case(&Config { segment, ..config() }).model(common::gpu()), &[], &tokens);
        let error = found.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-5, "{segment}: {error}");
    }
    // With one layer, what the last position sees are the spans' steps before it, and its own word.
    let shallow = Config { layers: 1, ..config() };
    let seen = |tokens: &[u32]| whole_pass(&case(&shallow).model(common::gpu()), &[], tokens)[10 * 9..].to_vec();
    let before = seen(&tokens);
    for (at, changes) in [(2, false), (3, true), (9, true), (10, true)] {
        let mut other = tokens.clone();
        other[at] = if other[at] == 3 { 4 } else { 3 };
        let error = seen(&other).iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert_eq!(error > 1e-6, changes, "{at}: {error}");
    }
}

#[test]
fn steps_through_the_caches_are_those_of_the_whole_pass() {
    for (span_limit, ramp) in [(7, 2), (30, 5), (1, 3)] {
        let config = Config { span_limit, ramp, ..config() };
        let model = case(&config).model(common::gpu());
        let logits = |_: &[u32], target: &[u32]| whole_pass(&model, &[], target);
        assert_steps_are_the_whole_pass(&config, &model, &[vec![]], logits);
        let attended = SearchOptions { attended: true, ..SearchOptions::default() };
        assert!(matches!(Generator::new(&model).generate(&[vec![]], &attended), Err(Error::Data { .. })));
    }
}

fn batch() -> Batch {
    let shape = BatchShape { rows: 2, source: 1, target: 8 };
    let text: Vec<u32> = (0..17).map(|step| 4 + step % 5).collect();
    let rows = |from: usize| [&text[from..from + 8], &text[from + 2..from + 10]].concat();
    let filler = Batch::filler(shape, Config::new(9).specials);
    Batch { target_in: rows(0), target_out: rows(1), target_tokens: 16, ..filler }
}

/// The spans of a model after some steps of one update each, or the gradient of the first.
fn trained(span_penalty: f32, [steps, parts]: [u32; 2], gradients: bool) -> Vec<f32> {
    let case = case(&Config { span_penalty, ..config() });
    let model = case.model(common::gpu());
    let optimizer = Optimizer { accumulate: parts > 1, ..Optimizer::default() };
    let (network, regularisation) = (case.network.clone(), Regularisation::default());
    let mut trainer = Trainer::new(&model.gpu, network, &model.parameters, optimizer, regularisation).unwrap();
    let batches: Vec<Batch> = repeat_n(batch(), parts as usize).collect();
    for step in 1..=steps {
        for (index, batch) in (0..).zip(&batches) {
            trainer.part(batch, Part { index, ..Part::of(&batches) }, step, 1, 0.05).unwrap();
        }
    }
    let state = &trainer.state;
    let from = if gradients { state.total.as_ref().unwrap_or(&state.gradients) } else { &state.parameters };
    ["layers.0.span", "layers.1.span"]
        .iter()
        .flat_map(|name| model.gpu.read::<f32>(&from.tensor(name).unwrap()).unwrap())
        .collect()
}

#[test]
fn training_moves_spans_between_their_bounds() {
    let first = [0.3, 3.6, 6.9, 0.3, 3.6, 6.9];
    // A step is one of the share that a span has of the longest.
    let moved = trained(0.0, [1, 1], false);
    for (span, first) in moved.iter().zip(first) {
        let step = (span - first).abs();
        assert!(
            (0.0..=7.0).contains(span) && (step < 1e-6 || (step - 0.35).abs() < 1e-3 || [0.0, 7.0].contains(span)),
            "{moved:?}"
        );
    }
    assert!(moved.iter().zip(first).any(|(span, first)| (span - first).abs() > 0.3), "{moved:?}");
    assert_eq!(trained(100.0, [40, 1], false), [0.0; 6]);
}

/// The penalty counts once in an update, and batches share it.
#[test]
fn batches_of_an_update_share_the_penalty() {
    let [none, one, two] = [(0.0, 1), (0.6, 1), (0.6, 2)].map(|(penalty, parts)| trained(penalty, [1, parts], true));
    for at in 0..6 {
        assert!(
            (one[at] - none[at] - 0.2).abs() < 1e-5 && (one[at] - two[at]).abs() < 1e-5,
            "{none:?}\n{one:?}\n{two:?}"
        );
    }
}

#[test]
fn refuses_what_is_no_model() {
    for (fields, wrong) in [
        (["heads", "hidden"], Config { hidden: 13, ..config() }),
        (["segment", "from 1"], Config { segment: 0, ..config() }),
        (["span_limit", "from 1"], Config { span_limit: 0, ..config() }),
        (["ramp", "from 2"], Config { ramp: 1, ..config() }),
        (["span_penalty", "from 0"], Config { span_penalty: -1.0, ..config() }),
        (["epsilon", "above 0"], Config { epsilon: 0.0, ..config() }),
        (["dropout", "less than 1"], Config { dropout: 1.0, ..config() }),
    ] {
        match AdaptiveSpan::new(wrong) {
            Err(Error::Data { message, .. }) => {
                assert!(fields.iter().all(|field| message.contains(field)), "{message}")
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    }
    let network = Kind::named("adaptive-span").unwrap().make(&ModelOptions::default(), [0, 9]).unwrap();
    assert_eq!(network.limits().target_vocabulary, 9);
}
