//! The embedding against its reference.

use crate::common;
use rand::{RngExt as _, SeedableRng as _};
use softalign::{Error, Gpu, gpu::Recorder, kernels::embedding::Embedding, reference};

#[test]
fn agrees_with_the_reference() {
    common::validate("embedding");
}

fn gradient(gpu: &Gpu, embedding: &Embedding, tokens: &[u32], d_y: &[f32]) -> Vec<f32> {
    let (tokens, d_y) =
        (common::upload_u32(gpu, [tokens.len()], tokens), common::upload(gpu, [embedding.tokens, embedding.size], d_y));
    let scratch = common::poisoned(gpu, embedding.scratch());
    let d_table = common::poisoned(gpu, embedding.vocabulary * embedding.size);
    common::run(gpu, |recorder| embedding.record_backward(recorder, &tokens, &d_y, &scratch, &d_table));
    gpu.read(&d_table).unwrap()
}

/// The invocations that list the places of a token race; the sums must not show it.
#[test]
fn gradients_of_large_batches_have_the_same_bits_every_time() {
    let gpu = common::gpu();
    for (vocabulary, size, tokens) in [(32, 64, 1536), (8000, 32, 1600), (50_000, 5, 10_007), (1, 16, 2000)] {
        let embedding = Embedding { vocabulary, size, tokens, padding: None };
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let list: Vec<u32> = (0..tokens)
            .map(|_| if random.random_bool(0.2) { 0 } else { random.random_range(0..vocabulary as u32) })
            .collect();
        let d_y: Vec<f32> = (0..tokens * size).map(|_| random.random_range(-1.0..1.0)).collect();
        let first = gradient(gpu, &embedding, &list, &d_y);
        for _ in 0..3 {
            assert!(first == gradient(gpu, &embedding, &list, &d_y), "{embedding:?}");
        }
        // Adding in the order of places in f32 gives the same bits as the kernel must.
        let mut expected = vec![0.0_f32; vocabulary * size];
        for (n, token) in list.iter().enumerate() {
            for column in 0..size {
                expected[*token as usize * size + column] += d_y[n * size + column];
            }
        }
        assert!(first == expected, "{embedding:?}");
    }
}

#[test]
fn tokens_past_the_table_count_as_its_last_row() {
    for gpu in [common::gpu(), common::portable()] {
        let embedding = Embedding { vocabulary: 3, size: 2, tokens: 4, padding: None };
        let table = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let table_gpu = common::upload(gpu, [3, 2], &table);
        let tokens = common::upload_u32(gpu, [4], &[1, 3, u32::MAX, 2]);
        let y = common::poisoned(gpu, 8);
        common::run(gpu, |recorder| embedding.record(recorder, &table_gpu, &tokens, &y));
        assert_eq!(gpu.read::<f32>(&y).unwrap(), [2.0, 3.0, 4.0, 5.0, 4.0, 5.0, 4.0, 5.0]);
        let found = gradient(gpu, &embedding, &[1, 3, u32::MAX, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let expected = reference::embedding::Embedding { vocabulary: 3, size: 2, padding: None }
            .backward(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert!(found.iter().zip(&expected).all(|(found, expected)| f64::from(*found) == *expected), "{found:?}");
    }
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let four = common::poisoned(gpu, 4);
    let mut recorder = Recorder::new(gpu, "test");
    let embedding = Embedding { vocabulary: 2, size: 2, tokens: 3, padding: None };
    let result = embedding.record(&mut recorder, &four, &four, &four);
    assert!(matches!(result, Err(Error::Shape { argument: "tokens", .. })), "{result:?}");
    let embedding = Embedding { vocabulary: 1, size: 1, tokens: 200_000, padding: None };
    let (many, one) = (common::poisoned(gpu, 500_000), common::poisoned(gpu, 1));
    let long = common::poisoned(gpu, 200_000);
    let result = embedding.record_backward(&mut recorder, &long, &long, &many, &one);
    assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
}
