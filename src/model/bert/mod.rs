//! An encoder alone: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (2019), and
//! Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach" (2019). It predicts masked tokens, the class of a text or
//! where an answer stands in it, or its states stand for a text. And Beltagy, Peters and Cohan, "Longformer: The Long-Document
//! Transformer" (2020): a RoBERTa whose attention has a window. Parameters have the names of Hugging Face's.

mod config;
mod graph;
mod hugging_face;

use std::sync::Arc;

use super::{
    Answers, Architecture, BatchShape, Counterpart, Embedding, EncoderLayer, FeedForward, Forward, Habits, HeadSizes,
    Initial, Kind, LayerNorm, Layers, Learns, Limits, Linear, ModelOptions, MultiHeadAttention, Network, NormOrder,
    Parameter, PositionKind, Positions, Residual, SearchRoom, Specials, Stepper, WindowAttention, settings,
};
use crate::{
    Error, Result,
    graph::{Parameters, Value},
};

pub use config::{Config, Head};

/// The row of BERT in the table of architectures.
pub(super) const KIND: Kind = Kind {
    name: config::BERT,
    in_files: &[config::BERT],
    read,
    makes: &[
        (Learns::Classes, |options, vocabularies| classifier(config::BERT, options, vocabularies)),
        (Learns::Spans, |options, vocabularies| reader(config::BERT, options, vocabularies)),
        (Learns::Masked, |options, vocabularies| masked(config::BERT, options, vocabularies)),
    ],
    imports: hugging_face::OF_BERT,
    from_shapes: None,
    habits: Habits::PARALLEL,
};
/// The row of RoBERTa.
pub(super) const ROBERTA: Kind = Kind {
    name: config::ROBERTA,
    in_files: &[config::ROBERTA],
    read,
    makes: &[
        (Learns::Classes, |options, vocabularies| classifier(config::ROBERTA, options, vocabularies)),
        (Learns::Spans, |options, vocabularies| reader(config::ROBERTA, options, vocabularies)),
        (Learns::Masked, |options, vocabularies| masked(config::ROBERTA, options, vocabularies)),
    ],
    imports: hugging_face::OF_ROBERTA,
    from_shapes: None,
    habits: Habits::PARALLEL,
};

/// The row of Longformer.
pub(super) const LONGFORMER: Kind = Kind {
    name: config::LONGFORMER,
    in_files: &[config::LONGFORMER],
    read,
    makes: &[(Learns::Classes, |options, vocabularies| classifier(config::LONGFORMER, options, vocabularies))],
    imports: hugging_face::OF_LONGFORMER,
    from_shapes: None,
    habits: Habits::PARALLEL,
};

/// The positions to either side that a new Longformer's attention sees, besides global ones.
const REACH: usize = 32;
/// The standard deviation of the first values of tables.
const DEVIATION: f32 = 0.02;

/// The model at its sizes: its layers by what they are for.
#[derive(Clone, Debug)]
pub struct Bert {
    config: Config,
    words: Embedding,
    segments: Embedding,
    positions: Positions,
    norm: LayerNorm,
    layers: Vec<Layer>,
    prediction: Prediction,
}

/// A layer, whose attention may have a window.
#[derive(Clone, Debug)]
struct Layer {
    block: EncoderLayer,
    window: Option<WindowAttention>,
}

/// The layers of a [`Head`].
#[derive(Clone, Debug)]
enum Prediction {
    Nothing,
    Masked {
        dense: Linear,
        norm: LayerNorm,
        /// Its weight is the table of words.
        output: Linear,
    },
    Classify {
        /// From the first position's state.
        dense: Linear,
        output: Linear,
    },
    Span(Linear),
}

/// A layer whose first results are as large as what it reads. The paper's 0.02 is for 768 inputs: smaller models take thousands of
/// steps to find out of it.
fn linear(name: &str, inputs: usize, outputs: usize) -> Linear {
    Linear::new(name, inputs, outputs).drawn(Initial::Normal((inputs as f32).sqrt().recip()))
}

impl Config {
    fn embedding(&self, name: &str, rows: usize) -> Embedding {
        let name = format!("{}.embeddings.{name}.weight", self.architecture);
        Embedding { weight: Parameter::new(name, [rows, self.hidden], Initial::Normal(DEVIATION)) }
    }

    fn norm(&self, name: &str) -> LayerNorm {
        LayerNorm::new(name, self.hidden, self.epsilon)
    }

    fn layer(&self, number: usize) -> Layer {
        let name = format!("{}.encoder.layer.{number}", self.architecture);
        let (hidden, between) = (self.hidden, self.feed_forward);
        let projection = |part: &str| linear(&format!("{name}.attention.{part}"), hidden, hidden);
        let residual = |part: &str| Residual { norm: self.norm(&format!("{name}.{part}")), order: NormOrder::Post };
        let block = EncoderLayer {
            attention: MultiHeadAttention {
                query: projection("self.query"),
                key: projection("self.key"),
                value: projection("self.value"),
                output: projection("output.dense"),
                heads: HeadSizes::sharing(hidden, self.heads),
            },
            attention_residual: residual("attention.output.LayerNorm"),
            feed_forward: FeedForward {
                up: linear(&format!("{name}.intermediate.dense"), hidden, between),
                gate: None,
                down: linear(&format!("{name}.output.dense"), between, hidden),
                activation: self.activation,
            },
            feed_forward_residual: residual("output.LayerNorm"),
        };
        let window = self.windows.get(number).map(|reach| WindowAttention {
            reach: *reach,
            query: projection("self.query_global"),
            key: projection("self.key_global"),
            value: projection("self.value_global"),
        });
        Layer { block, window }
    }

    fn prediction(&self, words: &Embedding) -> Prediction {
        let (hidden, roberta) = (self.hidden, self.follows_roberta());
        match self.head {
            Head::States => Prediction::Nothing,
            Head::Masked => {
                let part = |bert: &str, roberta_name: &str| match roberta {
                    false => format!("cls.predictions.{bert}"),
                    true => format!("lm_head.{roberta_name}"),
                };
                let decoder = part("decoder", "decoder");
                let bias = Parameter::new(part("bias", "bias"), [self.vocabulary], Initial::Constant(0.0));
                let mut output = Linear::new(&decoder, hidden, self.vocabulary);
                output.weight = words.weight.clone();
                output.bias = Some(Parameter { aliases: vec![format!("{decoder}.bias")], ..bias });
                Prediction::Masked {
                    dense: linear(&part("transform.dense", "dense"), hidden, hidden),
                    norm: self.norm(&part("transform.LayerNorm", "layer_norm")),
                    output,
                }
            }
            Head::Classify => {
                let [dense, output] = match roberta {
                    false => ["bert.pooler.dense", "classifier"],
                    true => ["classifier.dense", "classifier.out_proj"],
                };
                Prediction::Classify {
                    dense: linear(dense, hidden, hidden),
                    output: linear(output, hidden, self.classes),
                }
            }
            Head::Span => Prediction::Span(linear("qa_outputs", hidden, 2)),
        }
    }
}

impl Layer {
    /// In the order of Hugging Face's.
    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let Self { block, window } = self;
        let MultiHeadAttention { query, key, value, output, .. } = &block.attention;
        let projections = [query, key, value].into_iter().flat_map(Linear::parameters);
        let projections = projections.chain(window.iter().flat_map(WindowAttention::parameters));
        let attention = projections.chain(output.parameters()).chain(block.attention_residual.norm.parameters());
        let feed_forward = block.feed_forward.parameters().chain(block.feed_forward_residual.norm.parameters());
        attention.chain(feed_forward)
    }
}

impl Prediction {
    fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Masked { dense, norm, output } => {
                output.bias.iter().chain(dense.parameters()).chain(norm.parameters()).collect()
            }
            Self::Classify { dense, output } => dense.parameters().chain(output.parameters()).collect(),
            Self::Span(output) => output.parameters().collect(),
        }
    }
}

impl Bert {
    /// A model of the given sizes, in an [`Arc`] to be shared.
    ///
    /// # Errors
    /// [`crate::Error::Data`] naming a field of the configuration that makes no model.
    pub fn new(config: Config) -> Result<Arc<Self>> {
        Self::from_settings(config, "config")
    }

    /// The same; `path` names the file or option in errors.
    fn from_settings(config: Config, path: &str) -> Result<Arc<Self>> {
        config.check(path)?;
        let mut words = config.embedding("word_embeddings", config.vocabulary);
        if config.head == Head::Masked {
            let decoder = if config.follows_roberta() { "lm_head.decoder" } else { "cls.predictions.decoder" };
            words.weight.aliases.push(format!("{decoder}.weight"));
        }
        let (first, name) = (config.first_position(), format!("{}.embeddings", config.architecture));
        let rows = [first + config.max_length, config.hidden];
        Ok(Arc::new(Self {
            segments: config.embedding("token_type_embeddings", config.segments),
            positions: Positions::new(PositionKind::Learned, &format!("{name}.position_embeddings"), rows, first),
            norm: config.norm(&format!("{name}.LayerNorm")),
            layers: (0..config.layers).map(|number| config.layer(number)).collect(),
            prediction: config.prediction(&words),
            words,
            config,
        }))
    }
}

impl Architecture for Bert {
    fn name(&self) -> &'static str {
        match self.config.architecture.as_str() {
            config::LONGFORMER => LONGFORMER.name,
            config::ROBERTA => ROBERTA.name,
            _ => KIND.name,
        }
    }

    fn config(&self) -> Result<String> {
        settings::write(&self.config)
    }

    fn limits(&self) -> Limits {
        let Config { vocabulary, max_length, specials, head, named, .. } = self.config;
        // A class without a name, or a position, is never padding.
        let (target_vocabulary, padding) = match head {
            Head::States | Head::Masked => (vocabulary, specials.pad),
            Head::Classify if named => (self.config.target_vocabulary(), Specials::FIRST.pad),
            Head::Classify => (self.config.target_vocabulary(), u32::MAX),
            Head::Span => (max_length, u32::MAX),
        };
        Limits { source_vocabulary: vocabulary, target_vocabulary, max_length, specials, padding }
    }

    fn parameters(&self) -> Vec<Parameter> {
        let Self { words, positions, segments, norm, layers, prediction, .. } = self;
        let tables = [&words.weight].into_iter().chain(positions.parameters()).chain([&segments.weight]);
        let layers = layers.iter().flat_map(Layer::parameters);
        tables.chain(norm.parameters()).chain(layers).chain(prediction.parameters()).cloned().collect()
    }

    fn forward(&self, layers: &mut Layers, shape: BatchShape) -> Result<Forward> {
        self.predict(layers, shape)
    }

    fn stepper(&self, _: &Parameters, _: &SearchRoom<'_>) -> Result<Box<dyn Stepper>> {
        Err(Error::data(
            self.name(),
            "writes no text: it is an encoder alone; generate with an architecture that has a decoder, or with a model that has \
             learnt classes, questions or masked text",
        ))
    }

    fn states(&self, layers: &mut Layers, shape: BatchShape) -> Result<Value> {
        Ok(self.encode(layers, shape)?.states)
    }

    fn answers(&self) -> Answers {
        match self.config.head {
            Head::Classify if self.config.named => Answers::Classes,
            Head::Span => Answers::Spans,
            Head::Masked => self.config.mask.map_or(Answers::None, |mask| Answers::Filled { mask }),
            Head::Classify | Head::States => Answers::None,
        }
    }

    fn taught(&self, learns: Learns, targets: usize) -> Result<Network> {
        let plain = Config { named: false, mask: None, ..self.config.clone() };
        let config = match learns {
            Learns::Classes => plain.telling(targets),
            Learns::Spans => Config { head: Head::Span, ..plain },
            Learns::Pairs | Learns::Text | Learns::Masked => {
                let message = format!("does not learn from {learns}; what it is taught anew is classes, or questions");
                return Err(Error::data(self.name(), message));
            }
        };
        Ok(Self::new(config)?)
    }

    fn counterpart(&self) -> Result<Counterpart> {
        hugging_face::counterpart(self)
    }
}

fn read(text: &str, path: &str) -> Result<Network> {
    Ok(Bert::from_settings(settings::read(text, path)?, path)?)
}

/// A model that tells the classes of texts apart; its targets are the names of the classes behind the special tokens.
fn classifier(name: &str, options: &ModelOptions, [vocabulary, targets]: [usize; 2]) -> Result<Network> {
    let config = Config { segments: 1, ..sizes(name, options, vocabulary) }.telling(targets);
    Ok(Bert::new(options.apply(&config)?)?)
}

/// A model that answers questions by parts of paragraphs: these are segments of their own (Devlin et al. 2019, section 4.2), but for
/// a RoBERTa, which knows of none.
fn reader(name: &str, options: &ModelOptions, [vocabulary, _]: [usize; 2]) -> Result<Network> {
    let config = Config { head: Head::Span, ..sizes(name, options, vocabulary) };
    Ok(Bert::new(options.apply(&config)?)?)
}

/// A model that finds masked tokens; the mask is the last token of the vocabulary.
fn masked(name: &str, options: &ModelOptions, [vocabulary, _]: [usize; 2]) -> Result<Network> {
    let mask = u32::try_from(vocabulary).ok().and_then(|size| size.checked_sub(1));
    let config = Config { head: Head::Masked, mask, ..sizes(name, options, vocabulary) };
    Ok(Bert::new(options.apply(&config)?)?)
}

/// The settings of an encoder of the sizes that a run asks for.
fn sizes(name: &str, options: &ModelOptions, vocabulary: usize) -> Config {
    let ModelOptions { hidden, layers, dropout, max_length, .. } = *options;
    Config {
        architecture: name.to_owned(),
        hidden,
        feed_forward: hidden.saturating_mul(4),
        layers,
        windows: if name == config::LONGFORMER { vec![REACH; layers] } else { Vec::new() },
        dropout,
        segments: if name == config::BERT { 2 } else { 1 },
        max_length: settings::padded(max_length),
        ..Config::new(vocabulary)
    }
}
