//! The teacher-forced decoder loop of Bahdanau et al. (2015), section 3.1 and appendix A.2.2, after the embedding and
//! before the readout, with the GRU in the form of [`super::gru`].

use super::additive_attention::{AdditiveAttention, AdditiveGradients, AdditiveInputs};
use super::gru::{GruWeights, masked};
use super::matmul::{Activation, Matmul};
use super::{Real, add_scaled, expect_shape};

/// ```text
/// context[t]  = additive attention of (query_weight · state[t - 1]) over the keys and annotations
/// state[t]    = GRU step of state[t - 1] on [words[t]; context[t]]
/// features[t] = [state[t]; context[t]; words[t]]
/// ```
///
/// With a mask, the query and the cell see `mask * state[t - 1]` in place of `state[t - 1]`, as in [`super::gru::Gru`].
///
/// A row without valid annotations has a context of zeros; its state still runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionalDecoder {
    /// Rows of the batch, B.
    pub batch: usize,
    /// Target steps, T.
    pub steps: usize,
    /// Source steps, S, masked ones included.
    pub keys: usize,
    /// Size of an embedded word, E.
    pub word: usize,
    /// Size of the hidden state, H.
    pub hidden: usize,
    /// Size of the projected queries and keys, A.
    pub size: usize,
    /// Size of an annotation, V.
    pub annotation: usize,
}

/// What [`AttentionalDecoder`] reads.
#[derive(Clone, Copy, Debug)]
pub struct DecoderInputs<'a, R = f64> {
    /// `[B, T, E]`, the embedded target words, shifted right.
    pub words: &'a [R],
    /// `[B, H]`, the state before the first step.
    pub state0: &'a [R],
    /// `[B, S, A]`, the projected annotations, their bias included.
    pub key: &'a [R],
    /// `[B, S, V]`, the encoder's outputs.
    pub annotation: &'a [R],
    /// `[B]`, how many annotations of each row are valid.
    pub lengths: &'a [u32],
    /// `[A, H]`, the projection of the state to a query.
    pub query_weight: &'a [R],
    /// `[A]`, the attention's vector v.
    pub energy: &'a [R],
    /// The cell on `[word; context]`: `weight_ih` is `[3H, E+V]`.
    pub cell: &'a GruWeights<R>,
    /// `[B, H]`, at every step the same.
    pub mask: Option<&'a [R]>,
}

/// What [`AttentionalDecoder::forward`] computes.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderOutputs<R = f64> {
    /// `[B, T, H+V+E]`: the new state, its context, its word.
    pub features: Vec<R>,
    /// `[B, T, S]`, the attention's weights.
    pub weights: Vec<R>,
}

/// Gradients of [`AttentionalDecoder`], each in the shape of its input.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderGradients<R = f64> {
    /// `[B, T, E]`.
    pub words: Vec<R>,
    /// `[B, H]`.
    pub state0: Vec<R>,
    /// `[B, S, A]`.
    pub key: Vec<R>,
    /// `[B, S, V]`.
    pub annotation: Vec<R>,
    /// `[A, H]`.
    pub query_weight: Vec<R>,
    /// `[A]`.
    pub energy: Vec<R>,
    /// Of the cell's parameters.
    pub cell: GruWeights<R>,
}

impl AttentionalDecoder {
    fn check<R: Real>(&self, inputs: &DecoderInputs<R>) {
        expect_shape("words", inputs.words, &[self.batch, self.steps, self.word]);
        expect_shape("state0", inputs.state0, &[self.batch, self.hidden]);
        expect_shape("query_weight", inputs.query_weight, &[self.size, self.hidden]);
        inputs.cell.check(self.word + self.annotation, self.hidden);
        if let Some(mask) = inputs.mask {
            expect_shape("mask", mask, &[self.batch, self.hidden]);
        }
    }

    /// One query per row: the next one needs the state that this one leads to.
    fn attention(&self) -> AdditiveAttention {
        AdditiveAttention {
            batch: self.batch,
            queries: 1,
            keys: self.keys,
            size: self.size,
            value_size: self.annotation,
        }
    }

    fn projection(&self) -> Matmul {
        Matmul {
            m: self.batch,
            n: self.size,
            k: self.hidden,
            batch: 1,
            transpose_a: false,
            transpose_b: true,
            activation: Activation::None,
        }
    }

    fn attention_inputs<'a, R>(&self, inputs: &DecoderInputs<'a, R>, query: &'a [R]) -> AdditiveInputs<'a, R> {
        AdditiveInputs {
            query,
            key: inputs.key,
            energy: inputs.energy,
            value: inputs.annotation,
            lengths: inputs.lengths,
        }
    }

    fn feature_size(&self) -> usize {
        self.hidden + self.annotation + self.word
    }

    fn word_range(&self, b: usize, t: usize) -> std::ops::Range<usize> {
        let start = (b * self.steps + t) * self.word;
        start..start + self.word
    }

    fn state_range(&self, b: usize) -> std::ops::Range<usize> {
        b * self.hidden..(b + 1) * self.hidden
    }

    /// The whole loop.
    pub fn forward<R: Real>(&self, inputs: &DecoderInputs<R>) -> DecoderOutputs<R> {
        self.check(inputs);
        let mut outputs = DecoderOutputs {
            features: vec![R::from(0.0); self.batch * self.steps * self.feature_size()],
            weights: vec![R::from(0.0); self.batch * self.steps * self.keys],
        };
        let mut state = inputs.state0.to_vec();
        for t in 0..self.steps {
            let query = self.projection().forward(&masked(&state, inputs.mask), inputs.query_weight, None);
            let (contexts, weights) = self.attention().forward(&self.attention_inputs(inputs, &query));
            for b in 0..self.batch {
                let word = &inputs.words[self.word_range(b, t)];
                let context = &contexts[b * self.annotation..][..self.annotation];
                let mask = inputs.mask.map(|mask| &mask[self.state_range(b)]);
                let next = inputs.cell.step(&[word, context].concat(), &state[self.state_range(b)], mask);
                let row = b * self.steps + t;
                let features = [next.as_slice(), context, word].concat();
                outputs.features[row * self.feature_size()..][..self.feature_size()].copy_from_slice(&features);
                outputs.weights[row * self.keys..][..self.keys].copy_from_slice(&weights[b * self.keys..][..self.keys]);
                state[self.state_range(b)].copy_from_slice(&next);
            }
        }
        outputs
    }

    /// Gradients from `d_features` `[B, T, H+V+E]` and, where the weights themselves are used, `d_weights` `[B, T, S]`.
    pub fn backward<R: Real>(
        &self,
        inputs: &DecoderInputs<R>,
        d_features: &[R],
        d_weights: Option<&[R]>,
    ) -> DecoderGradients<R> {
        expect_shape("d_features", d_features, &[self.batch, self.steps, self.feature_size()]);
        if let Some(d_weights) = d_weights {
            expect_shape("d_weights", d_weights, &[self.batch, self.steps, self.keys]);
        }
        let one = R::from(1.0);
        let DecoderOutputs { features, .. } = self.forward(inputs);
        let feature = |b: usize, t: usize| (b * self.steps + t) * self.feature_size();
        let mut gradients = DecoderGradients {
            words: vec![R::from(0.0); inputs.words.len()],
            state0: vec![R::from(0.0); inputs.state0.len()],
            key: vec![R::from(0.0); inputs.key.len()],
            annotation: vec![R::from(0.0); inputs.annotation.len()],
            query_weight: vec![R::from(0.0); inputs.query_weight.len()],
            energy: vec![R::from(0.0); inputs.energy.len()],
            cell: GruWeights::zeros(self.word + self.annotation, self.hidden),
        };
        let mut d_state = vec![R::from(0.0); inputs.state0.len()];
        for t in (0..self.steps).rev() {
            let mut previous = inputs.state0.to_vec();
            if t > 0 {
                for b in 0..self.batch {
                    previous[self.state_range(b)].copy_from_slice(&features[feature(b, t - 1)..][..self.hidden]);
                }
            }

            let mut d_contexts = vec![R::from(0.0); self.batch * self.annotation];
            for b in 0..self.batch {
                let (_, after_state) = features[feature(b, t)..][..self.feature_size()].split_at(self.hidden);
                let (context, word) = after_state.split_at(self.annotation);
                let (d_new_state, after_state) =
                    d_features[feature(b, t)..][..self.feature_size()].split_at(self.hidden);
                let (d_context_feature, d_word_feature) = after_state.split_at(self.annotation);

                let d_state = &mut d_state[self.state_range(b)];
                add_scaled(d_state, one, d_new_state);
                let (d_x, d_previous) = inputs.cell.step_backward(
                    &[word, context].concat(),
                    &previous[self.state_range(b)],
                    inputs.mask.map(|mask| &mask[self.state_range(b)]),
                    d_state,
                    &mut gradients.cell,
                );
                d_state.copy_from_slice(&d_previous);

                let d_word = &mut gradients.words[self.word_range(b, t)];
                add_scaled(d_word, one, &d_x[..self.word]);
                add_scaled(d_word, one, d_word_feature);
                let d_context = &mut d_contexts[b * self.annotation..][..self.annotation];
                add_scaled(d_context, one, &d_x[self.word..]);
                add_scaled(d_context, one, d_context_feature);
            }

            let d_step_weights: Option<Vec<R>> = d_weights.map(|d_weights| {
                (0..self.batch)
                    .flat_map(|b| &d_weights[(b * self.steps + t) * self.keys..][..self.keys])
                    .copied()
                    .collect()
            });
            let entering = masked(&previous, inputs.mask);
            let query = self.projection().forward(&entering, inputs.query_weight, None);
            let AdditiveGradients { query: d_query, key, energy, value } = self.attention().backward(
                &self.attention_inputs(inputs, &query),
                &d_contexts,
                d_step_weights.as_deref(),
            );
            add_scaled(&mut gradients.key, one, &key);
            add_scaled(&mut gradients.energy, one, &energy);
            add_scaled(&mut gradients.annotation, one, &value);

            let projection = self.projection().backward(&entering, inputs.query_weight, None, &d_query);
            add_scaled(&mut d_state, one, &masked(&projection.a, inputs.mask));
            add_scaled(&mut gradients.query_weight, one, &projection.b);
        }
        gradients.state0 = d_state;
        gradients
    }
}
