//! The weights of attention against their reference.

use crate::common;
use softalign::{
    Error,
    gpu::Recorder,
    kernels::{
        attention_weights::{AttentionWeights, Inputs},
        dot_product_attention::Heads,
        matmul::Matrix,
    },
};

#[test]
fn agree_with_the_reference() {
    common::validate("attention_weights");
}

#[test]
fn refuse_wrong_shapes() {
    let gpu = common::gpu();
    let tensor = |count: usize| common::upload(gpu, [1, 2, count / 2], &vec![0.0; count]);
    let (four, eight) = (tensor(4), tensor(8));
    let (lengths, denominators) = (common::upload_u32(gpu, [1], &[2]), common::poisoned(gpu, 4));
    let right = AttentionWeights { batch: 1, heads: 2, queries: 2, keys: 2, size: 2, scale: 1.0 };
    let heads = |tensor| Heads::side_by_side(tensor, 0, 2);
    let inputs = Inputs { query: heads(&eight), key: heads(&eight), lengths: &lengths, log_sum_exp: &denominators };
    let mut recorder = Recorder::new(gpu, "test");
    for (argument, attention, inputs) in [
        ("query", right, Inputs { query: heads(&four), ..inputs }),
        ("key", right, Inputs { key: heads(&four), ..inputs }),
        ("lengths", right, Inputs { lengths: &denominators, ..inputs }),
        ("log_sum_exp", right, Inputs { log_sum_exp: &eight, ..inputs }),
        ("scale", AttentionWeights { scale: f32::NAN, ..right }, inputs),
        ("heads", AttentionWeights { heads: 0, ..right }, inputs),
    ] {
        let result = attention.record(&mut recorder, &inputs, Matrix::rows(&four));
        assert!(matches!(result, Err(Error::Shape { argument: found, .. }) if found == argument), "{result:?}");
    }
    let result = right.record(&mut recorder, &inputs, Matrix::rows(&common::poisoned(gpu, 2)));
    assert!(matches!(result, Err(Error::Shape { argument: "weights", .. })), "{result:?}");
}
