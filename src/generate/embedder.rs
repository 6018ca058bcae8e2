//! Sentence embeddings: the mean of an encoder's states over a text, of length 1 (Reimers and Gurevych, "Sentence-BERT", 2019,
//! section 3).

use crate::{
    Error, Gpu, Result,
    batch::{Batch, BatchShape},
    gpu::Dtype,
    graph::{Pool, Program, ProgramOptions, Programs, Value},
    kernels::Step,
    model::{Layers, Limits, TokenModel},
};

/// Texts embedded at once: few numbers, so that few Programs are made.
const ROWS: [usize; 2] = [64, 8];
/// Batches' lengths are multiples of this.
const WIDTH: usize = 8;

/// Embeds texts with the parameters of its model as they are at the time of the call.
pub struct Embedder {
    gpu: Gpu,
    model: TokenModel,
    limits: Limits,
    pool: Pool,
    programs: Programs<BatchShape, (Program, Value)>,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("model", &self.model).finish_non_exhaustive()
    }
}

impl Embedder {
    /// An embedder for `model`, a [`TokenModel`] or (feature `text`) a [`Model`](crate::model::Model), that is an encoder alone; it
    /// shares the model's parameters.
    ///
    /// # Errors
    /// [`Error::Data`] for another model.
    pub fn new(model: impl Into<TokenModel>) -> Result<Self> {
        let model = model.into();
        model.network.states(&mut Layers::new(), BatchShape { rows: 1, source: 1, target: 1 })?;
        let (gpu, limits) = (model.gpu.clone(), model.network.limits());
        Ok(Self { gpu, model, limits, pool: Pool::default(), programs: Programs::default() })
    }

    /// The embeddings `[N, D]` of texts, each with the special tokens around it, in their order: the mean of the last layer's states
    /// over a text's tokens, divided by its Euclidean length.
    ///
    /// # Errors
    /// [`Error::Data`] for a text that is empty, longer than the model's `max_length` or not of its vocabulary; the errors of the
    /// device.
    pub fn embed(&mut self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        self.check(texts)?;
        let mut order: Vec<(usize, &Vec<u32>)> = texts.iter().enumerate().collect();
        order.sort_by_key(|(_, text)| text.len());
        let mut found = vec![Vec::new(); texts.len()];
        for group in order.chunks(ROWS[0]) {
            let embedded = self.embed_batch(group)?;
            for ((index, _), embedding) in group.iter().zip(embedded) {
                if let Some(place) = found.get_mut(*index) {
                    *place = embedding;
                }
            }
        }
        Ok(found)
    }

    fn check(&self, texts: &[Vec<u32>]) -> Result<()> {
        let Limits { source_vocabulary, max_length, .. } = self.limits;
        for (number, text) in (1..).zip(texts) {
            let refuse = |message: String| Err(Error::data("embed", format!("text {number} {message}")));
            if text.is_empty() || text.len() > max_length {
                return refuse(format!("has {} tokens; this model takes 1 to {max_length}", text.len()));
            }
            if let Some(token) = text.iter().find(|token| **token as usize >= source_vocabulary) {
                return refuse(format!("holds token {token}; this model has {source_vocabulary}"));
            }
        }
        Ok(())
    }

    fn embed_batch(&mut self, texts: &[(usize, &Vec<u32>)]) -> Result<Vec<Vec<f32>>> {
        let longest = texts.iter().map(|(_, text)| text.len()).max().unwrap_or(1);
        let rows = ROWS.into_iter().rev().find(|rows| texts.len() <= *rows).unwrap_or(ROWS[0]);
        let steps = longest.next_multiple_of(WIDTH).min(self.limits.max_length.max(longest));
        let shape = BatchShape { rows, source: steps, target: 1 };
        let Self { gpu, model: TokenModel { network, parameters, .. }, limits, pool, programs } = self;
        let (program, means) = programs.get_or_compile(shape, |_| {
            let mut layers = Layers::new();
            let states = network.states(&mut layers, shape)?;
            let weights = layers.graph.input("alignment", [rows, 1, steps], Dtype::F32);
            let means = layers.graph.batched_matmul([weights, states], [false; 2], Dtype::F32)?;
            let options = ProgramOptions {
                label: format!("embed {rows} texts of {steps}"),
                parameters: Some(parameters),
                outputs: &[means],
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            Ok((Program::compile(gpu, &layers.graph, &options)?, means))
        })?;
        let mut batch = Batch::filler(shape, limits.specials);
        // A mean is a sum by weights: of each token its share of the text.
        batch.alignment = vec![0.0; rows * steps];
        for ((_, text), weights) in texts.iter().zip(batch.alignment.chunks_mut(steps)) {
            weights.iter_mut().take(text.len()).for_each(|weight| *weight = 1.0 / text.len() as f32);
        }
        texts.iter().enumerate().for_each(|(row, (_, text))| batch.put_source(row, text));
        program.stage(&batch)?;
        program.run(Step::default())?;
        let means: Vec<f32> = program.read(*means)?;
        Ok(means.chunks(means.len() / rows).take(texts.len()).map(of_length_1).collect())
    }
}

fn of_length_1(mean: &[f32]) -> Vec<f32> {
    let length = mean.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    // A text without a direction stays at 0.
    mean.iter().map(|x| (f64::from(*x) / length.max(f64::MIN_POSITIVE)) as f32).collect()
}
