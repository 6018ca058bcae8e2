//! The weights of global and local attention against their reference.

use crate::common;
use softalign::{
    Error, Gpu,
    gpu::Recorder,
    kernels::local_attention::{Gradients, Inputs, LocalAttention, Outputs, Window},
};

#[test]
fn agrees_with_the_reference() {
    common::validate("local_attention");
}

/// Weights of one row of sources.
fn weights(gpu: &Gpu, operation: LocalAttention, scores: &[f32], shares: Option<&[f32]>, length: u32) -> Vec<f32> {
    let LocalAttention { queries, keys, columns, window, .. } = operation;
    let (weights, centres) = (common::poisoned(gpu, queries * keys), common::poisoned(gpu, queries));
    let scores = common::upload(gpu, [queries, columns], scores);
    let shares = shares.map(|shares| common::upload(gpu, [queries], shares));
    let lengths = common::upload_u32(gpu, [1], &[length]);
    common::run(gpu, |recorder| {
        let centres = (window != Window::Global).then_some(&centres);
        let inputs = Inputs { scores: &scores, shares: shares.as_ref(), counter: None, lengths: &lengths };
        operation.record(recorder, &inputs, &Outputs { weights: &weights, centres })
    });
    gpu.read(&weights).unwrap()
}

const PREDICTED: Window = Window::Predicted { half_width: 2.0 };

fn of_window(window: Window) -> LocalAttention {
    LocalAttention { batch: 1, queries: 1, keys: 9, columns: 9, window }
}

#[test]
fn rows_that_see_nothing_have_no_weights() {
    let monotonic = Window::Monotonic { half_width: 1.0, first: 7 };
    for gpu in [common::gpu(), common::portable()] {
        for (window, shares) in [(Window::Global, None), (monotonic, None), (PREDICTED, Some([0.5].as_slice()))] {
            assert_eq!(weights(gpu, of_window(window), &[f32::NAN; 9], shares, 0), [0.0; 9], "{window:?}");
            let infinite = weights(gpu, of_window(window), &[f32::NEG_INFINITY; 9], shares, 9);
            assert_eq!(infinite, [0.0; 9], "{window:?}");
        }
        // Scores by location that end before the window begins.
        let short = LocalAttention { columns: 4, ..of_window(monotonic) };
        assert_eq!(weights(gpu, short, &[1.0; 4], None, 9), [0.0; 9]);
    }
}

#[test]
fn a_window_hides_what_lies_outside() {
    let mut scores = [f32::NAN; 9];
    scores[2..=6].fill(1e4);
    for gpu in [common::gpu(), common::portable()] {
        let monotonic = Window::Monotonic { half_width: 2.0, first: 4 };
        let found = weights(gpu, of_window(monotonic), &scores, None, 9);
        assert_eq!(found, [0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0, 0.0]);
        // A centre of 4.5 sees 3 to 6; a deviation of 1.
        let found = weights(gpu, of_window(PREDICTED), &scores, Some(&[0.5]), 9);
        let expected = [1.5_f32, 0.5, 0.5, 1.5].map(|distance| 0.25 * (-0.5 * distance * distance).exp());
        assert!(found[3..7].iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
        assert_eq!([&found[..3], &found[7..]].concat(), [0.0; 5]);
    }
}

#[test]
fn a_centre_that_is_no_number_is_seen() {
    for gpu in [common::gpu(), common::portable()] {
        for share in [f32::NAN, f32::INFINITY] {
            let found = weights(gpu, of_window(PREDICTED), &[1.0; 9], Some(&[share]), 7);
            assert!(found[..7].iter().all(|weight| !weight.is_finite()), "{found:?}");
            assert_eq!(found[7..], [0.0; 2]);
        }
    }
}

#[test]
fn refuses_wrong_shapes_and_windows() {
    let gpu = common::gpu();
    let (four, one) = (common::poisoned(gpu, 4), common::poisoned(gpu, 1));
    let lengths = common::upload_u32(gpu, [1], &[4]);
    let mut recorder = Recorder::new(gpu, "test");
    let mut refuses = |argument, keys, columns, window, shares, centres| {
        let operation = LocalAttention { batch: 1, queries: 1, keys, columns, window };
        let outputs = Outputs { weights: &four, centres };
        for result in [
            operation.record(
                &mut recorder,
                &Inputs { scores: &four, shares, counter: None, lengths: &lengths },
                &outputs,
            ),
            operation.record_backward(&mut recorder, &lengths, &outputs, &four, &Gradients { scores: &four, shares }),
        ] {
            assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
        }
    };
    refuses("weights", 5, 4, Window::Global, None, None);
    refuses("scores", 4, 5, Window::Global, None, None);
    refuses("shares", 4, 4, Window::Global, Some(&one), None);
    refuses("shares", 4, 4, PREDICTED, None, Some(&one));
    refuses("shares", 4, 4, PREDICTED, Some(&four), Some(&one));
    refuses("centres", 4, 4, Window::Monotonic { half_width: 1.0, first: 0 }, None, None);
    refuses("centres", 4, 4, Window::Global, None, Some(&one));
    for half_width in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        refuses("half_width", 4, 4, Window::Predicted { half_width }, Some(&one), Some(&one));
    }
    // Queries of one step need the count of those before it.
    let result =
        LocalAttention { queries: 4, keys: 1, columns: 1, ..of_window(Window::Counted { half_width: 1.0, step: 0 }) }
            .record(
                &mut recorder,
                &Inputs { scores: &four, shares: None, counter: None, lengths: &lengths },
                &Outputs { weights: &four, centres: Some(&four) },
            );
    assert!(matches!(result, Err(Error::Shape { argument: "counter", .. })), "{result:?}");
    let result = of_window(Window::Global).record(
        &mut recorder,
        &Inputs { scores: &four, shares: None, counter: None, lengths: &four },
        &Outputs { weights: &four, centres: None },
    );
    assert!(matches!(result, Err(Error::Shape { .. })), "{result:?}");
}
