//! The embedding against its reference.

use crate::common;
use rand::{RngExt as _, SeedableRng as _};
use softalign::{
    Error, Gpu,
    gpu::{Dtype, Recorder},
    graph::{Context, Graph, Operation, Program, ProgramOptions},
    kernels::{Step, embedding::Embedding, matmul::Matrix},
    reference,
};

#[test]
fn agrees_with_the_reference() {
    common::validate("embedding");
}

fn gradient(gpu: &Gpu, embedding: &Embedding, tokens: &[u32], d_y: &[f32]) -> Vec<f32> {
    let order = embedding.order(tokens).unwrap();
    let (order, d_y) =
        (common::upload_u32(gpu, [order.len()], &order), common::upload(gpu, [embedding.tokens, embedding.size], d_y));
    let d_table = common::poisoned(gpu, embedding.vocabulary * embedding.size);
    common::run(gpu, |recorder| embedding.record_backward(recorder, &order, Matrix::rows(&d_y), &d_table));
    gpu.read(&d_table).unwrap()
}

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
        common::run(gpu, |recorder| embedding.record(recorder, &table_gpu, &tokens, Matrix::rows(&y).stride(2)));
        assert_eq!(gpu.read::<f32>(&y).unwrap(), [2.0, 3.0, 4.0, 5.0, 4.0, 5.0, 4.0, 5.0]);
        let found = gradient(gpu, &embedding, &[1, 3, u32::MAX, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let expected = reference::embedding::Embedding { vocabulary: 3, size: 2, padding: None }
            .backward(&[1, 2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert!(found.iter().zip(&expected).all(|(found, expected)| f64::from(*found) == *expected), "{found:?}");
    }
}

/// What a table's gradient is added up by is made of tokens as they are written, or known from the first.
#[test]
fn tokens_may_be_written_or_constant() {
    let gpu = common::gpu();
    let mut graph = Graph::new();
    let table = graph.input("table", [3, 1], Dtype::F32);
    let written = graph.input("tokens", [4], Dtype::U32);
    let constant = graph.numbers([2], vec![1, 1]).unwrap();
    let upstream = graph.constant([4, 1], vec![1.0, 2.0, 4.0, 8.0]).unwrap();
    let rows = [written, constant].map(|tokens| graph.embedding(table, tokens).unwrap());
    let of_constant = graph.filled([2, 1], 16.0);
    let d_table = graph.gradients_from(&[(rows[0], upstream), (rows[1], of_constant)], &[table]).unwrap();
    let options = ProgramOptions { outputs: &d_table, ..ProgramOptions::default() };
    let mut program = Program::compile(gpu, &graph, &options).unwrap();
    // Unwritten tokens are 0.
    for (tokens, expected) in [(None, [15.0, 32.0, 0.0]), (Some([2, 0, 2, 7]), [2.0, 32.0, 13.0])] {
        if let Some(tokens) = tokens {
            program.write::<u32>("tokens", &tokens).unwrap();
        }
        program.run(Step::default()).unwrap();
        assert_eq!(program.read::<f32>(d_table[0]).unwrap(), expected);
    }
}

/// Tokens that a node makes.
#[derive(Debug)]
struct Made;

impl Operation for Made {
    fn name(&self) -> &'static str {
        "made"
    }

    fn record(&self, _: &mut Recorder, _: &Context<'_>) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn tokens_that_the_host_does_not_know_give_no_gradient() {
    let mut graph = Graph::new();
    let table = graph.input("table", [3, 1], Dtype::F32);
    let tokens = graph.input("tokens", [2, 2], Dtype::U32);
    let made = graph.push_as(Made, &[tokens], [([2].into(), Dtype::U32)])[0];
    let rows = graph.embedding(table, made).unwrap();
    let loss = graph.sum(rows).unwrap();
    let error = graph.gradients(loss, &[table]).unwrap_err().to_string();
    assert!(error.contains("an input or a constant"), "{error}");

    let gpu = common::gpu();
    let rows = graph.embedding(table, tokens).unwrap();
    let loss = graph.sum(rows).unwrap();
    let d_table = graph.gradients(loss, &[table]).unwrap();
    let given = [(tokens, common::upload_u32(gpu, [2, 2], &[0, 1, 2, 0]))];
    let options = ProgramOptions { outputs: &d_table, given: &given, ..ProgramOptions::default() };
    let error = Program::compile(gpu, &graph, &options).unwrap_err().to_string();
    assert!(error.contains("one whose tensor is given"), "{error}");
}

#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let four = common::poisoned(gpu, 4);
    let mut recorder = Recorder::new(gpu, "test");
    let embedding = Embedding { vocabulary: 2, size: 2, tokens: 3, padding: None };
    let result = embedding.record(&mut recorder, &four, &four, Matrix::rows(&four).stride(2));
    assert!(matches!(result, Err(Error::Shape { argument: "tokens", .. })), "{result:?}");
    for tokens in [&[0, 1][..], &[0; 4]] {
        let result = embedding.order(tokens);
        assert!(matches!(result, Err(Error::Shape { argument: "tokens", .. })), "{result:?}");
    }
    let embedding = Embedding { vocabulary: 1, size: 1, tokens: 200_000, padding: None };
    let (order, one) = (common::poisoned(gpu, embedding.order_length()), common::poisoned(gpu, 1));
    let long = common::poisoned(gpu, 200_000);
    let result = embedding.record_backward(&mut recorder, &order, Matrix::rows(&long).stride(1), &one);
    assert!(matches!(result, Err(Error::Limit { .. })), "{result:?}");
}
