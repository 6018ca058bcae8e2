//! The attentional decoder against its reference, and what random cases do not show.

mod common;

use softalign::{
    Error, Gpu, Result, Tensor,
    gpu::Recorder,
    kernels::{
        attentional_decoder::{AttentionalDecoder, Gradients, Inputs, Saved, Tiles},
        gru::Weights,
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("attentional_decoder", 16);
}

/// Everything that one training step of the decoder touches: inputs of any values, the rest poisoned.
struct Tensors {
    words: Tensor,
    state0: Tensor,
    key: Tensor,
    annotation: Tensor,
    lengths: Tensor,
    query_weight: Tensor,
    energy: Tensor,
    cell: [Tensor; 4],
    features: Tensor,
    weights: Tensor,
    saved: [Tensor; 3],
    scratch: Tensor,
    backward_scratch: [Tensor; 8],
    gradients: [Tensor; 10],
}

impl Tensors {
    fn new(gpu: &Gpu, decoder: &AttentionalDecoder, lengths: &[u32]) -> Self {
        let AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation } = *decoder;
        let values = |elements: usize, scale: f32| {
            let values: Vec<f32> = (0..elements).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * scale).collect();
            common::upload(gpu, [elements], &values)
        };
        let input = word + annotation;
        let cell = [3 * hidden * input, 3 * hidden * hidden, 3 * hidden, 3 * hidden];
        let [words, state0, key] = [batch * steps * word, batch * hidden, batch * keys * size];
        let [values_of_keys, query_weight] = [batch * keys * annotation, size * hidden];
        let gradients = [words, state0, key, values_of_keys, query_weight, size, cell[0], cell[1], cell[2], cell[3]];
        Self {
            words: values(words, 1.0),
            state0: values(state0, 0.5),
            key: values(key, 1.0),
            annotation: values(values_of_keys, 1.0),
            lengths: common::upload_u32(gpu, [batch], lengths),
            query_weight: values(query_weight, 0.3),
            energy: values(size, 0.3),
            cell: cell.map(|elements| values(elements, 0.2)),
            features: common::poisoned(gpu, batch * steps * decoder.features()),
            weights: common::poisoned(gpu, batch * steps * keys),
            saved: [decoder.states_shape(), decoder.gates_shape(), decoder.queries_shape()]
                .map(|shape| common::poisoned(gpu, shape.iter().product())),
            scratch: common::poisoned(gpu, decoder.scratch()),
            backward_scratch: decoder.backward_scratch().map(|elements| common::poisoned(gpu, elements)),
            gradients: gradients.map(|elements| common::poisoned(gpu, elements)),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let Self { words, state0, key, annotation, lengths, query_weight, energy, .. } = self;
        Inputs { words, state0, key, annotation, lengths, query_weight, energy, cell: weights(&self.cell) }
    }

    fn saved(&self) -> Saved<'_> {
        let [states, gates, queries] = &self.saved;
        Saved { states, gates, queries }
    }

    fn forward(&self, recorder: &mut Recorder, decoder: &AttentionalDecoder) -> Result<()> {
        let tiles = Tiles::choose(recorder.gpu(), decoder);
        let (inputs, saved) = (self.inputs(), self.saved());
        decoder.record(recorder, &tiles, &inputs, &self.features, &self.weights, &saved, &self.scratch)
    }

    /// Features and weights serve as their own gradients.
    fn backward(&self, recorder: &mut Recorder, decoder: &AttentionalDecoder) -> Result<()> {
        let [words, state0, key, annotation, query_weight, energy, weight_ih, weight_hh, bias_ih, bias_hh] =
            &self.gradients;
        let cell = Weights { weight_ih, weight_hh, bias_ih, bias_hh };
        let gradients = Gradients { words, state0, key, annotation, query_weight, energy, cell };
        decoder.record_backward(
            recorder,
            &Tiles::choose(recorder.gpu(), decoder),
            &self.inputs(),
            &self.saved(),
            &self.features,
            &self.weights,
            &self.features,
            Some(&self.weights),
            &self.backward_scratch,
            &gradients,
        )
    }

    fn outputs(&self, gpu: &Gpu) -> Vec<Vec<u32>> {
        [&self.features, &self.weights]
            .into_iter()
            .chain(&self.saved)
            .chain(&self.gradients)
            .map(|tensor| common::bits(gpu, tensor))
            .collect()
    }
}

fn weights([weight_ih, weight_hh, bias_ih, bias_hh]: &[Tensor; 4]) -> Weights<'_> {
    Weights { weight_ih, weight_hh, bias_ih, bias_hh }
}

fn run(gpu: &Gpu, decoder: &AttentionalDecoder, lengths: &[u32]) -> Vec<Vec<u32>> {
    let tensors = Tensors::new(gpu, decoder, lengths);
    common::run(gpu, |recorder| {
        tensors.forward(recorder, decoder)?;
        tensors.backward(recorder, decoder)
    });
    tensors.outputs(gpu)
}

const DECODER: AttentionalDecoder =
    AttentionalDecoder { batch: 3, steps: 4, keys: 19, word: 8, hidden: 20, size: 12, annotation: 24 };

#[test]
fn repeats_its_bits() {
    let odd = AttentionalDecoder { batch: 2, steps: 3, keys: 5, word: 3, hidden: 7, size: 5, annotation: 9 };
    for gpu in [common::gpu(), common::portable()] {
        for (decoder, lengths) in [(DECODER, &[19, 1, 0][..]), (odd, &[4, 5])] {
            let first = run(gpu, &decoder, lengths);
            assert!(first.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite()));
            assert_eq!(first, run(gpu, &decoder, lengths));
        }
    }
}

/// Shaders run unchecked: whatever does not fit must be refused before anything is recorded.
#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let tensors = Tensors::new(gpu, &DECODER, &[19, 19, 19]);
    let larger = [
        AttentionalDecoder { batch: 4, ..DECODER },
        AttentionalDecoder { steps: 5, ..DECODER },
        AttentionalDecoder { keys: 20, ..DECODER },
        AttentionalDecoder { word: 9, ..DECODER },
        AttentionalDecoder { hidden: 21, ..DECODER },
        AttentionalDecoder { size: 13, ..DECODER },
        AttentionalDecoder { annotation: 25, ..DECODER },
        AttentionalDecoder { steps: 0, ..DECODER },
    ];
    for decoder in larger {
        let mut recorder = Recorder::new(gpu, "test");
        let forward = tensors.forward(&mut recorder, &decoder);
        assert!(matches!(forward, Err(Error::Shape { .. })), "{decoder:?}: {forward:?}");
        let backward = tensors.backward(&mut recorder, &decoder);
        assert!(matches!(backward, Err(Error::Shape { .. })), "{decoder:?}: {backward:?}");
    }
}

#[test]
fn refuses_wrong_gradients() {
    let gpu = common::gpu();
    for index in 0..10 {
        let mut tensors = Tensors::new(gpu, &DECODER, &[19, 19, 19]);
        let smaller = tensors.gradients[index].elements() - 1;
        tensors.gradients[index] = common::poisoned(gpu, smaller);
        let backward = tensors.backward(&mut Recorder::new(gpu, "test"), &DECODER);
        assert!(matches!(backward, Err(Error::Shape { .. })), "gradient {index}: {backward:?}");
    }
    for index in 0..8 {
        let mut tensors = Tensors::new(gpu, &DECODER, &[19, 19, 19]);
        let smaller = tensors.backward_scratch[index].elements() - 1;
        tensors.backward_scratch[index] = common::poisoned(gpu, smaller);
        let backward = tensors.backward(&mut Recorder::new(gpu, "test"), &DECODER);
        assert!(matches!(backward, Err(Error::Shape { .. })), "scratch {index}: {backward:?}");
    }
}
