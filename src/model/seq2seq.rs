//! The default model: bidirectional GRU encoder, soft alignment, GRU decoder (Bahdanau et al. 2015, with a tanh readout in
//! place of maxout, and the GRU's gates in the form of cuDNN and PyTorch).

use super::{Config, Readout, Regularisation};
use crate::{
    Error, Result,
    gpu::{Dtype, Shape, Tensor},
    graph::{DecoderInputs, DecoderOutputs, Epilogue, Graph, GruInput, GruWeights, Parameters, Value},
    kernels::{gru::Tokens, matmul::Activation},
};

/// Builds the model's graphs. Inputs of every graph are `source` `[B, S]` and `lengths` `[B]`; where a target is involved
/// `target_in` `[B, T]` (`<bos> y1 .. yn`) and `target_out` `[B, T]` (`y1 .. yn <eos>`), padded with 0; under guided alignment
/// `alignment` `[B, T, S]`, the attention's weights that are wanted: rows add up to 1, or are 0 where nothing is.
#[derive(Clone, Debug)]
pub struct Seq2Seq {
    config: Config,
}

/// The graph of a training step.
#[derive(Debug)]
pub struct TrainingGraph {
    /// Forward, loss and backward.
    pub graph: Graph,
    /// The loss, `[1]`, with what guided alignment and coverage add to it.
    pub loss: Value,
    /// The logits, `[B, T, W]`.
    pub logits: Value,
    /// The alignment weights, `[B, T, S]`.
    pub weights: Value,
    /// The gradient of each parameter, by name.
    pub gradients: Vec<(String, Value)>,
    /// In f16 what the gradients are multiplied with, an input `[1]`.
    pub loss_scale: Option<Value>,
}

/// The graph that reads a source, for generation.
#[derive(Debug)]
pub struct EncodingGraph {
    /// Inputs `source` and `lengths`.
    pub graph: Graph,
    /// `[B, S, 2H]`
    pub annotation: Value,
    /// `[B, S, A]`
    pub key: Value,
    /// `[B, H]`
    pub state: Value,
    /// `[B]`
    pub lengths: Value,
}

/// A layer `x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Tensor,
    /// `[outputs]`
    pub bias: Tensor,
}

/// The parameters of a step of generation.
#[derive(Clone, Debug)]
pub struct DecoderParameters {
    /// The embedded target words, `[W, E]`.
    pub words: Tensor,
    /// Projects a state to a query, `[A, H]`.
    pub query_weight: Tensor,
    /// The vector v, `[1, A]`.
    pub energy: Tensor,
    /// The cell's `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`.
    pub cell: [Tensor; 4],
    /// From `[state; context; word]`.
    pub readout: Option<Linear>,
    /// To logits.
    pub output: Linear,
}

/// What the decoder needs of the source.
#[derive(Clone, Copy, Debug)]
struct Encoded {
    /// `[B, S, 2H]`
    pub annotation: Value,
    /// The annotations projected for the alignment, `[B, S, A]`.
    pub key: Value,
    /// The decoder's first state, `[B, H]`.
    pub state: Value,
    /// `[B]`
    pub lengths: Value,
}

/// The dropout of a training graph; elsewhere there is none.
#[derive(Clone, Copy, Debug, Default)]
struct Noise {
    /// Of embedded words, and of what upper layers and the output layer read.
    rate: f32,
    variational: bool,
    states: f32,
    words: f32,
}

/// Parameters of a graph by name.
struct Layers<'a> {
    config: &'a Config,
    noise: Noise,
    shapes: Vec<(String, Shape)>,
    used: Vec<(String, Value)>,
}

impl Layers<'_> {
    fn get(&mut self, graph: &mut Graph, name: &str) -> Value {
        if let Some((_, value)) = self.used.iter().find(|(used, _)| used == name) {
            return *value;
        }
        let shape = self.shapes.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.clone());
        let value = graph.parameter(name, shape.unwrap_or_default());
        self.used.push((name.to_owned(), value));
        value
    }

    fn linear(&mut self, graph: &mut Graph, x: Value, layer: &str, activation: Activation) -> Result<Value> {
        let weight = self.get(graph, &format!("{layer}.weight"));
        let bias = Some(self.get(graph, &format!("{layer}.bias")));
        graph.linear(x, weight, Epilogue { bias, activation })
    }

    fn gru(&mut self, graph: &mut Graph, prefix: &str, suffix: &str) -> GruWeights {
        let mut get = |part: &str| self.get(graph, &format!("{prefix}.{part}{suffix}"));
        GruWeights {
            weight_ih: get("weight_ih"),
            weight_hh: get("weight_hh"),
            bias_ih: get("bias_ih"),
            bias_hh: get("bias_hh"),
        }
    }

    fn drop(&self, graph: &mut Graph, x: Value) -> Result<Value> {
        let Noise { rate, variational, .. } = self.noise;
        if variational { graph.variational_dropout(x, rate) } else { graph.dropout(x, rate) }
    }

    fn drop_words(&self, graph: &mut Graph, words: Value) -> Result<Value> {
        let words = graph.row_dropout(words, self.noise.words)?;
        self.drop(graph, words)
    }

    /// The mask on the states of a recurrent layer.
    fn mask<const N: usize>(&self, graph: &mut Graph, shape: [usize; N]) -> Result<Option<Value>> {
        if self.noise.states == 0.0 {
            return Ok(None);
        }
        let ones = graph.filled(shape, 1.0);
        graph.dropout(ones, self.noise.states).map(Some)
    }

    /// `by_token`: words reach the first layer through the table's products; dropout on words forbids it.
    fn encode(&mut self, graph: &mut Graph, [batch, steps]: [usize; 2], by_token: bool) -> Result<Encoded> {
        let source = graph.input("source", [batch, steps], Dtype::U32);
        let lengths = graph.input("lengths", [batch], Dtype::U32);
        let table = self.get(graph, "encoder.embedding.weight");
        let words = if by_token {
            GruInput::Tokens { table, tokens: source }
        } else {
            let words = graph.embedding(table, source)?;
            GruInput::Rows(self.drop_words(graph, words)?)
        };
        let (mut annotation, mut last) = self.encoder_layer(graph, 0, words, lengths)?;
        for layer in 1..self.config.encoder_layers {
            let below = self.drop(graph, annotation)?;
            (annotation, last) = self.encoder_layer(graph, layer, below.into(), lengths)?;
        }
        // The backward direction's last state has read the whole source, its first word last.
        let last = graph.select(last, 1)?;
        let state = self.linear(graph, last, "bridge", Activation::Tanh)?;
        let key = self.linear(graph, annotation, "attention.key", Activation::None)?;
        Ok(Encoded { annotation, key, state, lengths })
    }

    fn encoder_layer(
        &mut self,
        graph: &mut Graph,
        layer: usize,
        x: GruInput,
        lengths: Value,
    ) -> Result<(Value, Value)> {
        let weights = ["", "_reverse"].map(|way| self.gru(graph, "encoder.gru", &format!("_l{layer}{way}")));
        let states = [2, graph.shape(lengths).elements(), self.config.hidden];
        let (h0, mask) = (graph.filled(states, 0.0), self.mask(graph, states)?);
        graph.gru(x, h0, lengths, &weights, mask)
    }

    /// With `tokens`, words reach the gates through the products of their table.
    fn decode(
        &mut self,
        graph: &mut Graph,
        encoded: &Encoded,
        words: Value,
        tokens: Option<[Value; 2]>,
    ) -> Result<DecoderOutputs> {
        let inputs = DecoderInputs {
            words,
            state0: encoded.state,
            key: encoded.key,
            annotation: encoded.annotation,
            lengths: encoded.lengths,
            query_weight: self.get(graph, "attention.query.weight"),
            energy: self.get(graph, "attention.energy.weight"),
            cell: self.gru(graph, "decoder.cell", ""),
            mask: self.mask(graph, [graph.shape(encoded.lengths).elements(), self.config.hidden])?,
        };
        match tokens {
            Some([table, tokens]) => graph.attentional_decoder_of_tokens(&inputs, table, tokens),
            None => graph.attentional_decoder(&inputs),
        }
    }

    fn logits(&mut self, graph: &mut Graph, features: Value) -> Result<Value> {
        let mut features = features;
        if self.config.readout == Readout::Tanh {
            features = self.linear(graph, features, "readout", Activation::Tanh)?;
        }
        let features = self.drop(graph, features)?;
        let weight = self.get(graph, self.config.output_weight());
        let bias = Some(self.get(graph, "output.bias"));
        graph.linear(features, weight, Epilogue { bias, activation: Activation::None })
    }
}

impl Seq2Seq {
    /// A model of the given sizes.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn new(config: Config) -> Result<Self> {
        config.check("config")?;
        Ok(Self { config })
    }

    /// The sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn layers(&self, noise: Noise) -> Layers<'_> {
        Layers { config: &self.config, noise, shapes: self.config.parameters(), used: Vec::new() }
    }

    /// Forward, loss and every gradient for batches of `batch` rows, `source_steps` and `target_steps` tokens, with the
    /// configuration's dropout and what else is asked for, with activations of `precision`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn training_graph(
        &self,
        [batch, source_steps, target_steps]: [usize; 3],
        regularisation: &Regularisation,
        precision: Dtype,
    ) -> Result<TrainingGraph> {
        let Regularisation { label_smoothing, variational, guided_alignment, coverage, .. } = *regularisation;
        let Regularisation { dropout_state: states, dropout_words: words, .. } = *regularisation;
        let noise = Noise { rate: self.config.dropout, variational, states, words };
        let (mut graph, mut layers) = (Graph::with_precision(precision), self.layers(noise));
        let whole = noise.rate == 0.0 && noise.words == 0.0;
        let pays = |vocabulary, steps| whole && Tokens::pays(vocabulary, steps);
        let by_token = pays(self.config.source_vocabulary, source_steps);
        let encoded = layers.encode(&mut graph, [batch, source_steps], by_token)?;
        let target_in = graph.input("target_in", [batch, target_steps], Dtype::U32);
        let target_out = graph.input("target_out", [batch, target_steps], Dtype::U32);
        let table = layers.get(&mut graph, "decoder.embedding.weight");
        let words = graph.embedding(table, target_in)?;
        let words = layers.drop_words(&mut graph, words)?;
        let by_token = pays(self.config.target_vocabulary, target_steps).then_some([table, target_in]);
        let DecoderOutputs { features, weights } = layers.decode(&mut graph, &encoded, words, by_token)?;
        let logits = layers.logits(&mut graph, features)?;
        let mut loss = graph.cross_entropy(logits, target_out, label_smoothing)?;
        if guided_alignment > 0.0 {
            let expected = graph.input("alignment", [batch, target_steps, source_steps], Dtype::F32);
            let more = graph.alignment_loss(weights, expected, guided_alignment)?;
            loss = graph.add(loss, more)?;
        }
        if coverage > 0.0 {
            let more = graph.coverage_loss(weights, target_out, coverage)?;
            loss = graph.add(loss, more)?;
        }
        let (names, values): (Vec<_>, Vec<_>) = layers.used.into_iter().unzip();
        let loss_scale = (precision == Dtype::F16).then(|| graph.input("loss_scale", [1], Dtype::F32));
        let gradients = match loss_scale {
            Some(scale) => graph.gradients_from(&[(loss, scale)], &values)?,
            None => graph.gradients(loss, &values)?,
        };
        let gradients = names.into_iter().zip(gradients).collect();
        Ok(TrainingGraph { graph, loss, logits, weights, gradients, loss_scale })
    }

    /// The encoder for `sentences` sources.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn encoding_graph(&self, sentences: usize, steps: usize) -> Result<EncodingGraph> {
        let mut graph = Graph::new();
        let by_token = 2 * self.config.source_vocabulary <= sentences * steps;
        let encoded = self.layers(Noise::default()).encode(&mut graph, [sentences, steps], by_token)?;
        let Encoded { annotation, key, state, lengths } = encoded;
        Ok(EncodingGraph { graph, annotation, key, state, lengths })
    }

    /// What a step of generation reads of a model's parameters.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for parameters that are not this model's.
    pub fn decoder_parameters(&self, parameters: &Parameters) -> Result<DecoderParameters> {
        let get = |name: &str| {
            parameters.tensor(name).ok_or_else(|| Error::Shape {
                operation: "decoder_parameters",
                argument: "parameters",
                wanted: format!("`{name}` among them"),
                got: "none of that name".into(),
            })
        };
        let linear = |layer: &str| -> Result<Linear> {
            Ok(Linear { weight: get(&format!("{layer}.weight"))?, bias: get(&format!("{layer}.bias"))? })
        };
        let cell = |part: &str| get(&format!("decoder.cell.{part}"));
        Ok(DecoderParameters {
            words: get("decoder.embedding.weight")?,
            query_weight: get("attention.query.weight")?,
            energy: get("attention.energy.weight")?,
            cell: [cell("weight_ih")?, cell("weight_hh")?, cell("bias_ih")?, cell("bias_hh")?],
            readout: if self.config.readout == Readout::Tanh { Some(linear("readout")?) } else { None },
            output: Linear { weight: get(self.config.output_weight())?, bias: get("output.bias")? },
        })
    }

    /// Teacher forcing without dropout, for -log p of each target token, `[B * T]`; 0 for padding.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn scoring_graph(&self, [batch, source_steps, target_steps]: [usize; 3]) -> Result<(Graph, Value)> {
        let (mut graph, mut layers) = (Graph::new(), self.layers(Noise::default()));
        let by_token = Tokens::pays(self.config.source_vocabulary, source_steps);
        let encoded = layers.encode(&mut graph, [batch, source_steps], by_token)?;
        let target_in = graph.input("target_in", [batch, target_steps], Dtype::U32);
        let target_out = graph.input("target_out", [batch, target_steps], Dtype::U32);
        let table = layers.get(&mut graph, "decoder.embedding.weight");
        let words = graph.embedding(table, target_in)?;
        let by_token = Tokens::pays(self.config.target_vocabulary, target_steps).then_some([table, target_in]);
        let outputs = layers.decode(&mut graph, &encoded, words, by_token)?;
        let logits = layers.logits(&mut graph, outputs.features)?;
        let losses = graph.token_losses(logits, target_out)?;
        Ok((graph, losses))
    }

    /// Teacher forcing of one target of `target_steps` tokens, for its alignment weights `[1, T, S]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`].
    pub fn alignment_graph(&self, source_steps: usize, target_steps: usize) -> Result<(Graph, Value)> {
        let (mut graph, mut layers) = (Graph::new(), self.layers(Noise::default()));
        let encoded = layers.encode(&mut graph, [1, source_steps], false)?;
        let target_in = graph.input("target_in", [1, target_steps], Dtype::U32);
        let table = layers.get(&mut graph, "decoder.embedding.weight");
        let words = graph.embedding(table, target_in)?;
        let outputs = layers.decode(&mut graph, &encoded, words, None)?;
        Ok((graph, outputs.weights))
    }
}
