//! The attentional decoder's loop against its reference, and what random cases do not show.

use crate::common;
use softalign::{
    Error, Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    graph::Parameters,
    kernels::{
        attentional_decoder::{
            AttentionalDecoder, BACKWARD_SCRATCH, Backward, ContributedStep, DecoderStep, Gradients, Inputs, Outputs,
            StepInputs, StepLayers, StepMemory, StepTensors, Tiles,
        },
        gru::{Input, Weights},
        matmul::{Activation, Matrix},
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("attentional_decoder");
}

/// Some numbers in (-0.5, 0.5).
fn numbers(gpu: &Gpu, elements: usize, seed: usize) -> Tensor {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5;
    common::upload(gpu, [elements], &(0..elements).map(value).collect::<Vec<_>>())
}

fn plain(tensor: &Tensor, stride: usize) -> Matrix<'_> {
    Matrix { tensor, offset: 0, stride, batch_stride: 0 }
}

fn features_of_loop(gpu: &Gpu, decoder: &AttentionalDecoder, inputs: &Inputs<'_>) -> Vec<f32> {
    let poisoned = |shape: &[usize]| common::poisoned(gpu, shape.iter().product());
    let AttentionalDecoder { batch, steps, keys, .. } = *decoder;
    let outputs = Outputs {
        features: &poisoned(&[batch, steps, decoder.features()]),
        weights: &poisoned(&[batch, steps, keys]),
        states: &poisoned(&decoder.states_shape()),
        gates: &poisoned(&decoder.gates_shape()),
        contributions: &poisoned(&decoder.contributions_shape()),
        stacked: &poisoned(&decoder.stacked_shape()),
    };
    let scratch = decoder.scratch(Dtype::F32).map(|(elements, _)| poisoned(&[elements]));
    common::run(gpu, |recorder| decoder.record(recorder, &Tiles::choose(gpu, decoder), inputs, &outputs, &scratch));
    gpu.read::<f32>(outputs.features).unwrap()
}

/// Two steps of three rows per sentence, all alike, lead where the loop leads; and twice to the same bits.
#[test]
fn steps_with_a_beam_lead_where_the_loop_leads() {
    let (batch, beam, steps, keys, word, hidden, size, annotation) = (3, 3, 2, 6, 8, 12, 16, 20);
    for gpu in [common::gpu(), common::portable()] {
        let decoder =
            AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation, masked: false, zeroed: false };
        let width = decoder.features();
        let words = numbers(gpu, batch * steps * word, 1);
        let state0 = numbers(gpu, batch * hidden, 2);
        let (key, values) = (numbers(gpu, batch * keys * size, 3), numbers(gpu, batch * keys * annotation, 4));
        let lengths = common::upload_u32(gpu, [batch], &[6, 0, 3]);
        let (query_weight, energy) = (numbers(gpu, size * hidden, 5), numbers(gpu, size, 6));
        let weight_ih = numbers(gpu, 3 * hidden * (word + annotation), 7);
        let weight_hh = numbers(gpu, 3 * hidden * hidden, 8);
        let (bias_ih, bias_hh) = (numbers(gpu, 3 * hidden, 9), numbers(gpu, 3 * hidden, 10));
        let cell = Weights { weight_ih: &weight_ih, weight_hh: &weight_hh, bias_ih: &bias_ih, bias_hh: &bias_hh };
        let inputs = Inputs {
            words: Input::Rows(&words),
            state0: &state0,
            key: &key,
            annotation: &values,
            lengths: &lengths,
            query_weight: &query_weight,
            energy: &energy,
            cell,
            mask: None,
        };
        let expected = features_of_loop(gpu, &decoder, &inputs);
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&expected), bits(&features_of_loop(gpu, &decoder, &inputs)));

        let step = DecoderStep { batch, beam, keys, word, hidden, size, annotation };
        let rows = batch * beam;
        let repeat = |tensor: &Tensor, each: usize, skip: usize, stride: usize| {
            let values: Vec<f32> = gpu.read(tensor).unwrap();
            let row = |row: usize| values[row / beam * stride + skip..][..each].to_vec();
            (0..rows).flat_map(row).collect::<Vec<f32>>()
        };
        let mut states = repeat(&state0, hidden, 0, hidden);
        states.resize(2 * rows * hidden, f32::NAN);
        let states = common::upload(gpu, [2, rows, hidden], &states);
        let features = common::poisoned(gpu, rows * (hidden + annotation));
        let (gi, queries) = (common::poisoned(gpu, rows * 3 * hidden), common::poisoned(gpu, rows * size));
        let gates = common::poisoned(gpu, rows * 4 * hidden);
        for t in 0..steps {
            let words = common::upload(gpu, [rows, word], &repeat(&words, word, t * word, steps * word));
            common::run(gpu, |recorder| {
                step.record_words(recorder, rows, &cell, plain(&words, word), plain(&gi, 3 * hidden))?;
                let inputs = StepInputs {
                    key: &key,
                    annotation: &values,
                    lengths: &lengths,
                    query_weight: &query_weight,
                    energy: &energy,
                    cell,
                };
                let half = rows * hidden;
                let tensors = StepTensors {
                    gi: plain(&gi, 3 * hidden),
                    states: &states,
                    from: t % 2 * half,
                    to: (t + 1) % 2 * half,
                    queries: plain(&queries, size),
                    features: plain(&features, hidden + annotation),
                    weights: None,
                    gates: &gates,
                    gates_offset: 0,
                };
                step.record(recorder, &Tiles::of_step(gpu, &step), &inputs, &tensors)
            });
            let got: Vec<f32> = gpu.read(&features).unwrap();
            for (row, got) in got.chunks(hidden + annotation).enumerate() {
                let expected = &expected[(row / beam * steps + t) * width..][..hidden + annotation];
                let worst = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
                assert!(worst < 2e-6 && !got.iter().any(|x| x.is_nan()), "step {t}, row {row}: {worst}");
            }
        }
    }
}

/// Of steps whose contexts are never made, whatever does not fit is an error before anything is recorded.
#[test]
fn contributed_steps_refuse_what_does_not_fit() {
    let (batch, beam, keys, word, hidden, size, annotation, top) = (2, 2, 3, 4, 8, 8, 16, 5);
    let (gpu, rows) = (common::gpu(), batch * beam);
    let step = ContributedStep { step: DecoderStep { batch, beam, keys, word, hidden, size, annotation }, top };
    for wrong in [0, usize::MAX] {
        assert!(StepMemory::new(gpu, &ContributedStep { top: wrong, ..step }, 9).is_err(), "{wrong}");
    }
    let memory = StepMemory::new(gpu, &step, 9).unwrap();
    let refused = |argument: &str, record: &dyn Fn(&mut Recorder) -> Result<()>| {
        let mut recorder = Recorder::new(gpu, "refused");
        let error = record(&mut recorder).expect_err(argument);
        assert!(matches!(error, Error::Shape { argument: found, .. } if found == argument), "{argument}: {error}");
        assert_eq!(recorder.finish().unwrap().dispatches(), 0, "{error}");
    };
    let zeros = |elements: usize| numbers(gpu, elements, 1);
    let (key, lengths) = (zeros(batch * keys * size), common::upload_u32(gpu, [batch], &[3, 1]));
    let half = rows * hidden;
    let attended = |places: [usize; 2], weights: Option<&Tensor>, recorder: &mut Recorder| {
        let weights = weights.map(|weights| plain(weights, keys));
        step.record_attended(recorder, &memory, [&key, &lengths], places, weights)
    };
    refused("places", &|recorder| attended([0, half - hidden], None, recorder));
    refused("places", &|recorder| attended([1, half], None, recorder));
    refused("states", &|recorder| attended([0, 2 * half], None, recorder));
    let narrow = gpu.zeros("narrow", [rows, keys], Dtype::F16).unwrap();
    refused("weights", &|recorder| attended([0, half], Some(&narrow), recorder));
    refused("activation", &|recorder| step.record_top(recorder, &memory, 0, true, Activation::Tanh));
    refused("states", &|recorder| step.record_state(recorder, &memory, 2 * half));
    let (table, query_weight, energy) = (zeros(9 * word), zeros(size * hidden), zeros(size));
    let (weight_ih, weight_hh) = (zeros(3 * hidden * (word + annotation)), zeros(3 * hidden * hidden));
    let (bias, top_weight, annotations) =
        (zeros(3 * hidden), zeros(top * (hidden + annotation + word)), zeros(batch * keys * annotation));
    let cell = Weights { weight_ih: &weight_ih, weight_hh: &weight_hh, bias_ih: &bias, bias_hh: &bias };
    let layers = StepLayers {
        words: &table,
        query_weight: &query_weight,
        energy: &energy,
        cell,
        top_weight: &top_weight,
        top_bias: None,
    };
    let start =
        |layers: &StepLayers<'_>, recorder: &mut Recorder| step.record_start(recorder, layers, &annotations, &memory);
    common::run(gpu, |recorder| start(&layers, recorder));
    refused("top_bias", &|recorder| start(&StepLayers { top_bias: Some(&energy), ..layers }, recorder));
    refused("words", &|recorder| start(&StepLayers { words: &energy, ..layers }, recorder));
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
    mask: Option<Tensor>,
    features: Tensor,
    weights: Tensor,
    saved: [Tensor; 4],
    scratch: [Tensor; 3],
    backward_scratch: [Tensor; BACKWARD_SCRATCH],
    gradients: [Tensor; 10],
}

impl Tensors {
    fn new(gpu: &Gpu, dtype: Dtype, decoder: &AttentionalDecoder, lengths: &[u32]) -> Self {
        let AttentionalDecoder { batch, steps, keys, word, hidden, size, annotation, .. } = *decoder;
        let of = |dtype: Dtype, elements: usize, scale: f32| {
            let values: Vec<f32> = (0..elements).map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0) * scale).collect();
            common::upload_as(gpu, dtype, [elements], &values)
        };
        let (values, parameter) =
            (|elements, scale| of(dtype, elements, scale), |elements| of(Dtype::F32, elements, 0.3));
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
            query_weight: parameter(query_weight),
            energy: parameter(size),
            cell: cell.map(parameter),
            mask: decoder.masked.then(|| values(batch * hidden, 1.0)),
            features: common::poisoned_as(gpu, dtype, batch * steps * decoder.features()),
            weights: common::poisoned(gpu, batch * steps * keys),
            saved: [
                common::poisoned_as(gpu, dtype, decoder.states_shape().iter().product()),
                common::poisoned_as(gpu, dtype, decoder.gates_shape().iter().product()),
                common::poisoned_as(gpu, dtype, decoder.contributions_shape().iter().product()),
                common::poisoned(gpu, decoder.stacked_shape().iter().product()),
            ],
            scratch: decoder.scratch(dtype).map(|(elements, dtype)| common::poisoned_as(gpu, dtype, elements)),
            backward_scratch: decoder
                .backward_scratch(dtype)
                .map(|(elements, dtype)| common::poisoned_as(gpu, dtype, elements)),
            gradients: std::array::from_fn(|i| {
                // Those of parameters follow those of activations.
                common::poisoned_as(gpu, if i < 4 { dtype } else { Dtype::F32 }, gradients[i])
            }),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let Self { words, state0, key, annotation, lengths, query_weight, energy, .. } = self;
        Inputs {
            words: Input::Rows(words),
            state0,
            key,
            annotation,
            lengths,
            query_weight,
            energy,
            cell: weights(&self.cell),
            mask: self.mask.as_ref(),
        }
    }

    fn written(&self) -> Outputs<'_> {
        let Self { features, weights, saved: [states, gates, contributions, stacked], .. } = self;
        Outputs { features, weights, states, gates, contributions, stacked }
    }

    fn forward(&self, recorder: &mut Recorder, decoder: &AttentionalDecoder) -> Result<()> {
        let tiles = Tiles::choose(recorder.gpu(), decoder);
        decoder.record(recorder, &tiles, &self.inputs(), &self.written(), &self.scratch)
    }

    /// Features and weights serve as their own gradients.
    fn backward(&self, recorder: &mut Recorder, decoder: &AttentionalDecoder) -> Result<()> {
        let [words, state0, key, annotation, query_weight, energy, weight_ih, weight_hh, bias_ih, bias_hh] =
            &self.gradients;
        let cell = Weights { weight_ih, weight_hh, bias_ih, bias_hh };
        let gradients = Gradients { words, state0, key, annotation, query_weight, energy, cell };
        let backward = Backward {
            inputs: self.inputs(),
            outputs: self.written(),
            d_features: &self.features,
            d_weights: Some(&self.weights),
        };
        let tiles = Tiles::choose(recorder.gpu(), decoder);
        decoder.record_backward(recorder, &tiles, &backward, &self.backward_scratch, &gradients)
    }

    fn outputs(&self, gpu: &Gpu) -> Vec<Vec<u32>> {
        [&self.features, &self.weights]
            .into_iter()
            .chain(&self.saved)
            .chain(&self.gradients)
            .map(|tensor| gpu.read_floats(tensor).unwrap().into_iter().map(f32::to_bits).collect())
            .collect()
    }
}

fn weights([weight_ih, weight_hh, bias_ih, bias_hh]: &[Tensor; 4]) -> Weights<'_> {
    Weights { weight_ih, weight_hh, bias_ih, bias_hh }
}

fn run(gpu: &Gpu, dtype: Dtype, decoder: &AttentionalDecoder, lengths: &[u32]) -> Vec<Vec<u32>> {
    let tensors = Tensors::new(gpu, dtype, decoder, lengths);
    common::run(gpu, |recorder| {
        tensors.forward(recorder, decoder)?;
        tensors.backward(recorder, decoder)
    });
    tensors.outputs(gpu)
}

const DECODER: AttentionalDecoder = AttentionalDecoder {
    batch: 3,
    steps: 4,
    keys: 19,
    word: 8,
    hidden: 20,
    size: 12,
    annotation: 24,
    masked: false,
    zeroed: false,
};

#[test]
fn repeats_its_bits() {
    let odd = AttentionalDecoder {
        batch: 2,
        steps: 3,
        keys: 5,
        word: 3,
        hidden: 7,
        size: 5,
        annotation: 9,
        masked: true,
        zeroed: true,
    };
    for (gpu, dtype) in common::forms() {
        for (decoder, lengths) in [(DECODER, &[19, 1, 0][..]), (odd, &[4, 5])] {
            let first = run(gpu, dtype, &decoder, lengths);
            assert!(first.iter().flatten().all(|bits| f32::from_bits(*bits).is_finite()));
            assert_eq!(first, run(gpu, dtype, &decoder, lengths));
        }
    }
}

/// Parameters that lie side by side are read, and get their gradients, where they lie: the same bits, and fewer dispatches.
#[test]
fn parameters_side_by_side_are_not_copied() {
    let decoder = AttentionalDecoder { hidden: 64, size: 32, ..DECODER };
    for (gpu, dtype) in common::forms() {
        let both = |tensors: &Tensors| -> (usize, Vec<Vec<u32>>) {
            let mut recorder = Recorder::new(gpu, "test");
            tensors.forward(&mut recorder, &decoder).unwrap();
            tensors.backward(&mut recorder, &decoder).unwrap();
            let recording = recorder.finish().unwrap();
            let dispatches = recording.labels().count();
            gpu.wait(Some(recording.submit(0).unwrap())).unwrap();
            // The copy of the weights, which is not made where they are not copied, is no result.
            let mut outputs = tensors.outputs(gpu);
            outputs.remove(5);
            (dispatches, outputs)
        };
        let apart = Tensors::new(gpu, dtype, &decoder, &[19, 7, 0]);
        let mut joined = Tensors::new(gpu, dtype, &decoder, &[19, 7, 0]);
        let beside = |[first, second]: [&Tensor; 2]| {
            let shapes = [first, second].map(|tensor| tensor.shape().clone());
            let names = ["first", "second"].map(str::to_owned);
            let parameters = Parameters::new(gpu, names.iter().cloned().zip(shapes)).unwrap();
            let [one, other] = names.map(|name| parameters.tensor(&name).unwrap());
            gpu.write(&one, &gpu.read::<f32>(first).unwrap()).unwrap();
            gpu.write(&other, &gpu.read::<f32>(second).unwrap()).unwrap();
            [one, other]
        };
        let [_, weight_hh, _, bias_hh] = &apart.cell;
        [joined.cell[1], joined.query_weight] = beside([weight_hh, &apart.query_weight]);
        [joined.cell[3], joined.energy] = beside([bias_hh, &apart.energy]);
        [joined.gradients[7], joined.gradients[4]] = beside([&apart.gradients[7], &apart.gradients[4]]);
        [joined.gradients[9], joined.gradients[5]] = beside([&apart.gradients[9], &apart.gradients[5]]);
        let ((more, expected), (fewer, found)) = (both(&apart), both(&joined));
        assert_eq!(more, fewer + 5);
        assert!(found == expected, "other bits");
    }
}

/// Shaders run unchecked: whatever does not fit must be refused before anything is recorded.
#[test]
fn refuses_wrong_shapes() {
    let gpu = common::gpu();
    let tensors = Tensors::new(gpu, Dtype::F32, &DECODER, &[19, 19, 19]);
    let larger = [
        AttentionalDecoder { batch: 4, ..DECODER },
        AttentionalDecoder { steps: 5, ..DECODER },
        AttentionalDecoder { keys: 20, ..DECODER },
        AttentionalDecoder { word: 9, ..DECODER },
        AttentionalDecoder { hidden: 21, ..DECODER },
        AttentionalDecoder { size: 13, ..DECODER },
        AttentionalDecoder { annotation: 25, ..DECODER },
        AttentionalDecoder { steps: 0, ..DECODER },
        AttentionalDecoder { masked: true, ..DECODER },
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
        let mut tensors = Tensors::new(gpu, Dtype::F32, &DECODER, &[19, 19, 19]);
        let smaller = tensors.gradients[index].elements() - 1;
        tensors.gradients[index] = common::poisoned(gpu, smaller);
        let backward = tensors.backward(&mut Recorder::new(gpu, "test"), &DECODER);
        assert!(matches!(backward, Err(Error::Shape { .. })), "gradient {index}: {backward:?}");
    }
    for index in 0..BACKWARD_SCRATCH {
        let mut tensors = Tensors::new(gpu, Dtype::F32, &DECODER, &[19, 19, 19]);
        let smaller = tensors.backward_scratch[index].elements() - 1;
        tensors.backward_scratch[index] = common::poisoned(gpu, smaller);
        let backward = tensors.backward(&mut Recorder::new(gpu, "test"), &DECODER);
        assert!(matches!(backward, Err(Error::Shape { .. })), "scratch {index}: {backward:?}");
    }
}

/// Each tensor has one type that it may be of: that of all activations, or f32.
#[test]
fn refuses_wrong_types() {
    let gpu = common::gpu();
    for (dtype, other) in [(Dtype::F32, Dtype::F16), (Dtype::F16, Dtype::F32)] {
        let refuses = |name: &str, change: &dyn Fn(&mut Tensors)| {
            let mut tensors = Tensors::new(gpu, dtype, &DECODER, &[19, 19, 19]);
            change(&mut tensors);
            let backward = tensors.backward(&mut Recorder::new(gpu, "test"), &DECODER);
            assert!(matches!(backward, Err(Error::Shape { .. })), "{dtype} {name}: {backward:?}");
        };
        let as_other = |tensor: &mut Tensor| *tensor = common::poisoned_as(gpu, other, tensor.elements());
        let as_half = |tensor: &mut Tensor| *tensor = common::poisoned_as(gpu, Dtype::F16, tensor.elements());
        refuses("state0", &|tensors| as_other(&mut tensors.state0));
        refuses("annotation", &|tensors| as_other(&mut tensors.annotation));
        refuses("features", &|tensors| as_other(&mut tensors.features));
        refuses("states", &|tensors| as_other(&mut tensors.saved[0]));
        refuses("contributions", &|tensors| as_other(&mut tensors.saved[2]));
        refuses("d_recurrent", &|tensors| as_other(&mut tensors.backward_scratch[0]));
        refuses("d_key", &|tensors| as_other(&mut tensors.gradients[2]));
        refuses("weights", &|tensors| as_half(&mut tensors.weights));
        refuses("weight_ih", &|tensors| as_half(&mut tensors.cell[0]));
        refuses("d_energy", &|tensors| as_half(&mut tensors.gradients[5]));
    }
}
