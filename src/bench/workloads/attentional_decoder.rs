//! The decoder's loop at the shape of W5 S.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    Passes,
    gru::{cell, graph_weights, reference_weights},
};
use crate::{
    Gpu, Result,
    gpu::Dtype,
    graph::{DecoderInputs, GruWeights},
    kernels::Step,
    reference::attentional_decoder as reference,
};

const BATCH: usize = 128;
const STEPS: usize = 12;
const KEYS: usize = 12;
const WORD: usize = 256;
const HIDDEN: usize = 256;
const SIZE: usize = 256;
const ANNOTATION: usize = 512;
const FEATURES: usize = HIDDEN + ANNOTATION + WORD;

pub(super) fn workloads() -> Vec<Workload> {
    let of_type = |dtype| {
        Passes::ALL.map(|passes| {
            let key = format!("attentional_decoder/B{BATCH}_T{STEPS}_S{KEYS}_E{WORD}_H{HIDDEN}/{}", passes.key());
            Workload::of(dtype, key, move |gpu| decoder(gpu, dtype, passes))
        })
    };
    [Dtype::F32, Dtype::F16].into_iter().flat_map(of_type).collect()
}

fn decoder(gpu: &Gpu, dtype: Dtype, passes: Passes) -> Result<Subject> {
    let mut problem = Problem::of(gpu, dtype);
    let words = problem.random(&[BATCH, STEPS, WORD], 1.0);
    let state0 = problem.random(&[BATCH, HIDDEN], 0.5);
    let key = problem.random(&[BATCH, KEYS, SIZE], 1.0);
    let annotation = problem.random(&[BATCH, KEYS, ANNOTATION], 1.0);
    let lengths = problem.words(&[BATCH], &[KEYS as u32; BATCH]);
    let query_weight = problem.parameter(&[SIZE, HIDDEN], 1.0 / (HIDDEN as f32).sqrt());
    let energy = problem.parameter(&[SIZE], 1.0 / (SIZE as f32).sqrt());
    let weights = cell(&mut problem, WORD + ANNOTATION, HIDDEN);
    let of_graph = graph_weights(&weights);
    let outputs = problem.graph.attentional_decoder(&DecoderInputs {
        words: words.value.into(),
        state0: state0.value,
        key: key.value,
        annotation: annotation.value,
        lengths,
        query_weight: query_weight.value,
        energy: energy.value,
        cell: of_graph,
        mask: None,
    })?;
    // A few rows stand for all, as in W4: they do not depend on each other.
    let multiplications = STEPS * (3 * HIDDEN * (WORD + ANNOTATION + HIDDEN) + SIZE * HIDDEN);
    let rows = sample::spread(BATCH, sample::affordable(BATCH, multiplications));
    let row_features = STEPS * FEATURES;
    let mut upstream = problem.values(BATCH * row_features, 0.1);
    sample::only_rows(&mut upstream, row_features, &rows);
    let mut kept = vec![outputs.features];
    if passes == Passes::Both {
        let d_features = problem.floats(&[BATCH, STEPS, FEATURES], &upstream);
        let GruWeights { weight_ih, weight_hh, bias_ih, bias_hh } = of_graph;
        let wanted = [
            [words.value, state0.value, key.value, annotation.value, query_weight.value],
            [energy.value, weight_ih, weight_hh, bias_ih, bias_hh],
        ];
        kept.extend(problem.graph.gradients_from(&[(outputs.features, d_features.value)], &wanted.concat())?);
    }
    problem.finish(&kept, Step::default(), move |outputs| {
        let take = |values: &[f64], width: usize| sample::rows(values, width, &rows);
        let (words, state0) = (take(&words.host, STEPS * WORD), take(&state0.host, HIDDEN));
        let (key, annotation) = (take(&key.host, KEYS * SIZE), take(&annotation.host, KEYS * ANNOTATION));
        let cell = reference_weights(weights);
        let inputs = reference::DecoderInputs {
            words: &words,
            state0: &state0,
            key: &key,
            annotation: &annotation,
            lengths: &vec![KEYS as u32; rows.len()],
            query_weight: &query_weight.host,
            energy: &energy.host,
            cell: &cell,
            mask: None,
        };
        let decoder = reference::AttentionalDecoder {
            batch: rows.len(),
            steps: STEPS,
            keys: KEYS,
            word: WORD,
            hidden: HIDDEN,
            size: SIZE,
            annotation: ANNOTATION,
        };
        let features = sample::some(&outputs[0], row_features, &rows, &decoder.forward(&inputs).features);
        let [_, d_words, d_state0, d_key, d_annotation, shared @ ..] = outputs else { return features };
        let upstream: Vec<f64> = sample::rows(&upstream, row_features, &rows).into_iter().map(f64::from).collect();
        let expected = decoder.backward(&inputs, &upstream, None);
        let cell = &expected.cell;
        let of_parameters =
            [&expected.query_weight, &expected.energy, &cell.weight_ih, &cell.weight_hh, &cell.bias_ih, &cell.bias_hh];
        sample::worst(shared.iter().zip(of_parameters).map(|(found, expected)| sample::whole(found, expected)).chain([
            features,
            sample::sparse(d_words, STEPS * WORD, &rows, &expected.words),
            sample::sparse(d_state0, HIDDEN, &rows, &expected.state0),
            sample::sparse(d_key, KEYS * SIZE, &rows, &expected.key),
            sample::sparse(d_annotation, KEYS * ANNOTATION, &rows, &expected.annotation),
        ]))
    })
}
