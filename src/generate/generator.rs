//! Token ids for token ids, searched for or sampled on the device, by one model or an ensemble.

use std::sync::Arc;

use super::{
    Hypothesis, SearchOptions,
    decoder::{Decoder, Plan, Request, Waiting},
};
use crate::{
    Error, Gpu, Result,
    batch::{Batch, BatchShape},
    gpu::ELEMENT,
    graph::{Pool, Program, ProgramOptions, Programs, Value},
    kernels::{Step, beam_search::MOST_MEMBERS},
    model::{Answers, Layers, Limits, TokenModel},
    names::setting,
    ranks::{Ranks, complete, is_own},
};

/// Numbers of sentences decoded at once: few, so that few Programs are made.
pub(super) const SENTENCES: [usize; 3] = [64, 8, 1];

/// Decodes with the parameters of its models as they are at the time of the call.
pub struct Generator {
    pub(super) gpu: Gpu,
    pub(super) members: Vec<TokenModel>,
    /// The limits that all members share: the same vocabularies, and the smallest `max_length` of them.
    pub(super) limits: Limits,
    pub(super) pool: Pool,
    decoders: Programs<Plan, Decoder>,
    /// By member and shape.
    aligners: Programs<(usize, BatchShape), (Program, Value)>,
    /// Those of models that answer with a single forward pass, likewise.
    pub(super) readers: Programs<(usize, BatchShape), (Program, Value)>,
    pub(super) ranks: Option<Arc<dyn Ranks>>,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl Generator {
    /// A generator for `model`, a [`TokenModel`] or (feature `text`) a [`Model`](crate::model::Model); it shares the model's
    /// parameters.
    pub fn new(model: impl Into<TokenModel>) -> Self {
        let model = model.into();
        Self {
            gpu: model.gpu.clone(),
            limits: model.network.limits(),
            members: vec![model],
            pool: Pool::default(),
            decoders: Programs::default(),
            aligners: Programs::default(),
            readers: Programs::default(),
            ranks: None,
        }
    }

    /// The same as one of several ranks, which share out the batches of sources that are decoded together: all of them ask for the
    /// same, and all get what one process would get.
    pub fn among(self, ranks: Option<Arc<dyn Ranks>>) -> Self {
        Self { ranks, ..self }
    }

    /// The ranks that it is one of.
    pub fn ranks(&self) -> Option<Arc<dyn Ranks>> {
        self.ranks.clone()
    }

    /// A generator for `model` and `others` together: one search over the arithmetic mean of their probabilities, each with an
    /// encoder, states and attention of its own. They may be of different architectures and sizes. That a token id means the same
    /// to all of them is for the caller to know.
    ///
    /// # Errors
    /// [`Error::Data`] for models of vocabularies of different sizes or of different special tokens, and for more than 16.
    pub fn of_ensemble(model: &TokenModel, others: &[TokenModel]) -> Result<Self> {
        let mut generator = Self::new(model);
        if others.len() >= MOST_MEMBERS {
            let message = format!("holds {} models; {MOST_MEMBERS} is the most", others.len() + 1);
            return Err(Error::data("the ensemble", message));
        }
        for (number, other) in (2..).zip(others) {
            let (own, its) = (&mut generator.limits, other.network.limits());
            let refuse = |what: &str| {
                let message = format!("{what} those of the first model; train both with the same tokenizers");
                Err(Error::data(format!("model {number} of the ensemble"), message))
            };
            if its.source_vocabulary != own.source_vocabulary || !other.network.shares_targets(model.network.as_ref()) {
                return refuse("its vocabularies are not of the sizes of");
            }
            if its.specials != own.specials {
                return refuse("its special tokens are not");
            }
            if other.network.answers() != model.network.answers() {
                return refuse("its answers are not of the kind of");
            }
            own.max_length = own.max_length.min(its.max_length);
            // Places in sources end with the shortest of them.
            own.target_vocabulary = own.target_vocabulary.min(its.target_vocabulary);
            generator.members.push(other.clone());
        }
        Ok(generator)
    }

    /// The most tokens that a source may have, and that a text has unless [`SearchOptions::max_length`] says otherwise; their
    /// `<eos>` counted. In an ensemble the smallest of its models.
    pub fn longest(&self) -> usize {
        self.limits.max_length
    }

    /// The best texts for each source (tokens that end in `<eos>`), best first, or samples, in the order of the sources.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that is empty, longer than the model's `max_length` or not of its vocabulary;
    /// [`Error::Shape`] for options out of their range; the errors of the device.
    pub fn generate(&mut self, sources: &[Vec<u32>], options: &SearchOptions) -> Result<Vec<Vec<Hypothesis>>> {
        self.generate_behind(sources, &[], options)
    }

    /// Continues prefixes: the texts of [`Generator::generate`], each of which begins with the prefix of its source. `prefixes`
    /// has one for each source, without `<eos>`, or none at all. Texts hold their prefix, and scores count it.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that the model cannot take ([`Generator::generate`]), or a prefix that leaves a text no
    /// room or is not of the vocabulary; [`Error::Shape`] for options out of their range; the errors of the device.
    pub fn generate_behind(
        &mut self,
        sources: &[Vec<u32>],
        prefixes: &[Vec<u32>],
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        pollster::block_on(self.search(sources, prefixes, options, Waiting::Blocking))
    }

    /// Generates like [`Generator::generate`], and lets other tasks of the thread go on while the device works; for a browser,
    /// which lets nothing wait. A search of a new shape is compiled first, within one poll.
    ///
    /// # Errors
    /// Those of [`Generator::generate`].
    pub async fn generate_async(
        &mut self,
        sources: &[Vec<u32>],
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        self.generate_behind_async(sources, &[], options).await
    }

    /// Continues prefixes like [`Generator::generate_behind`], and lets other tasks of the thread go on while the device works.
    ///
    /// # Errors
    /// Those of [`Generator::generate_behind`].
    pub async fn generate_behind_async(
        &mut self,
        sources: &[Vec<u32>],
        prefixes: &[Vec<u32>],
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        self.search(sources, prefixes, options, Waiting::Yielding).await
    }

    async fn search(
        &mut self,
        sources: &[Vec<u32>],
        prefixes: &[Vec<u32>],
        options: &SearchOptions,
        waiting: Waiting,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        options.check(self.limits.max_length)?;
        self.check(sources, prefixes, options)?;
        if matches!(self.answers(), Answers::Classes | Answers::Spans | Answers::Filled { .. }) {
            return self.read(sources, prefixes, options, waiting).await;
        }
        let prefixed = prefixes.iter().any(|prefix| !prefix.is_empty());
        // Sorted by length, so that sentences decoded together need about the same number of steps.
        let mut order: Vec<_> = sources.iter().enumerate().collect();
        order.sort_by_key(|(_, source)| source.len());
        let mut results = Vec::with_capacity(sources.len());
        let groups = order.chunks(self.room(options)).enumerate();
        let ranks = self.ranks.clone();
        for (_, group) in groups.filter(|(number, _)| is_own(ranks.as_deref(), *number)) {
            let request = |&(index, source)| Request {
                source: Vec::as_slice(source),
                prefix: prefixes.get(index).map_or(&[], Vec::as_slice),
                number: options.first.wrapping_add(index as u64),
            };
            let requests: Vec<_> = group.iter().map(request).collect();
            let decoder = self.decoder(&requests, prefixed, options)?;
            let found = decoder.run(&requests, options.seed, waiting).await?;
            results.extend(group.iter().map(|(index, _)| *index).zip(found));
        }
        self.in_order(results, sources.len())
    }

    /// What all ranks have found for sources, by their numbers.
    pub(super) fn in_order(
        &self,
        found: Vec<(usize, Vec<Hypothesis>)>,
        sources: usize,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let mut results = vec![Vec::new(); sources];
        for (index, hypotheses) in complete(self.ranks.as_deref(), found)? {
            results.get_mut(index).into_iter().for_each(|result| result.clone_from(&hypotheses));
        }
        Ok(results)
    }

    /// The kind of the models' answers.
    pub(super) fn answers(&self) -> Answers {
        self.members.first().map_or(Answers::None, |member| member.network.answers())
    }

    pub(super) fn check(&self, sources: &[Vec<u32>], prefixes: &[Vec<u32>], options: &SearchOptions) -> Result<()> {
        let Limits { source_vocabulary, target_vocabulary, max_length: longest, specials, .. } = self.limits;
        let refuse = |message: String| Err(Error::data("generate", message));
        let stranger =
            |tokens: &[u32], vocabulary: usize| tokens.iter().copied().find(|token| *token as usize >= vocabulary);
        for (number, source) in (1..).zip(sources) {
            if !self.limits.reads_source() {
                if source.is_empty() {
                    continue;
                }
                return refuse(format!(
                    "source {number} is not empty, and this model reads none; what it is to continue is a prefix"
                ));
            }
            if source.is_empty() || source.len() > longest {
                return refuse(format!(
                    "source {number} has {} tokens with its <eos>; this model takes 1 to {longest}. Shorten it, or train with a \
                     larger {}",
                    source.len(),
                    setting("max_length")
                ));
            }
            if let Some(token) = stranger(source, source_vocabulary) {
                return refuse(format!("source {number} holds token {token}; this model has {source_vocabulary}"));
            }
        }
        if !prefixes.is_empty() && prefixes.len() != sources.len() {
            return refuse(format!("{} prefixes for {} sources; give one for each", prefixes.len(), sources.len()));
        }
        let room = options.max_length.unwrap_or(longest);
        for (number, prefix) in (1..).zip(prefixes) {
            if prefix.len() >= room {
                let length = prefix.len();
                return refuse(format!(
                    "prefix {number} has {length} tokens, and texts at most {room} with their <eos>"
                ));
            }
            let special = |token: &u32| [specials.pad, specials.bos, specials.eos].contains(token);
            if let Some(token) = stranger(prefix, target_vocabulary).or(prefix.iter().copied().find(special)) {
                return refuse(format!("prefix {number} holds token {token}, which no text of this model has"));
            }
        }
        Ok(())
    }

    /// The most sentences whose logits, those of all rows and models, fit into a binding.
    fn room(&self, options: &SearchOptions) -> usize {
        let logits = self.members.len() * options.rows() * self.limits.target_vocabulary;
        let bytes = logits as u64 * ELEMENT;
        let binding = self.gpu.limits().max_storage_buffer_binding_size;
        SENTENCES.into_iter().find(|sentences| *sentences as u64 * bytes <= binding).unwrap_or(1)
    }

    pub(super) fn decoder(
        &mut self,
        requests: &[Request<'_>],
        prefixed: bool,
        options: &SearchOptions,
    ) -> Result<&mut Decoder> {
        let longest = requests.iter().map(|request| request.source.len()).max().unwrap_or(1);
        // Few shapes: a handful of row counts, lengths in steps of four.
        let sentences = SENTENCES.into_iter().rev().find(|rows| requests.len() <= *rows).unwrap_or(SENTENCES[0]);
        let keys = longest.next_multiple_of(4).min(self.limits.max_length.max(longest));
        let plan = Plan { sentences, keys, prefixed, options: options.shape() };
        let Self { gpu, members, limits, pool, decoders, .. } = self;
        decoders.get_or_compile(plan, |plan| Decoder::new(gpu, members, limits, pool, plan))
    }

    /// Whether there are alignment weights: every member has attention to its source.
    pub fn attends(&self) -> bool {
        let weights = |member: &TokenModel| {
            let forward = member.network.forward(&mut Layers::new(), BatchShape::new(1, 1, 1));
            forward.is_ok_and(|forward| forward.attention.is_some())
        };
        self.members.iter().all(weights)
    }

    /// The alignment weights `[T, S]` of one source and target under teacher forcing, `T` counting the final `<eos>` of a text; of an
    /// answer that is a part of the source, how likely it begins and ends at each of its tokens. In an ensemble the mean over the models.
    ///
    /// # Errors
    /// [`Error::Data`] for a model without attention or a source; the errors of kernels and of the device.
    pub fn alignment(&mut self, source: &[u32], target: &[u32]) -> Result<Vec<f32>> {
        pollster::block_on(self.align(source, target, Waiting::Blocking))
    }

    /// The alignment weights of [`Generator::alignment`]; lets other tasks of the thread go on while the device works.
    ///
    /// # Errors
    /// Those of [`Generator::alignment`].
    pub async fn alignment_async(&mut self, source: &[u32], target: &[u32]) -> Result<Vec<f32>> {
        self.align(source, target, Waiting::Yielding).await
    }

    async fn align(&mut self, source: &[u32], target: &[u32], waiting: Waiting) -> Result<Vec<f32>> {
        if !self.limits.reads_source() {
            return Err(Error::data("an alignment", "there is no source to attend to: this model reads none"));
        }
        // A text ends with a token of its own.
        let rows = target.len() + usize::from(self.answers() == Answers::Texts);
        let mut sum = vec![0.0; source.len() * rows];
        let members = self.members.len();
        for member in 0..members {
            let (program, weights, steps) = self.aligner(member, source, target)?;
            let weights: Vec<f32> = match waiting {
                Waiting::Blocking => program.read(weights)?,
                Waiting::Yielding => program.read_async(weights).await?,
            };
            let weights = weights.chunks(steps).flat_map(|row| row.iter().take(source.len()));
            sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight / members as f32);
        }
        Ok(sum)
    }

    /// The Program that aligns with a member, run, its value for the weights, and the steps of its sources.
    fn aligner(&mut self, member: usize, source: &[u32], target: &[u32]) -> Result<(&Program, Value, usize)> {
        // Few shapes here too, and none longer than the models take.
        let padded = |steps: usize| steps.next_multiple_of(8).min(self.limits.max_length.max(steps));
        let [source_steps, target_steps] = [source.len(), target.len() + 1].map(padded);
        let shape = BatchShape { rows: 1, source: source_steps, target: target_steps };
        let Self { gpu, members, limits, pool, aligners, .. } = self;
        let Some(TokenModel { network, parameters, .. }) = members.get(member) else {
            return Err(Error::data("generate", format!("there is no model {member}")));
        };
        let (program, weights) = aligners.get_or_compile((member, shape), |_| {
            let mut layers = Layers::new();
            let weights = network.forward(&mut layers, shape)?.attention_for("an alignment")?;
            let options = ProgramOptions {
                label: "align".into(),
                parameters: Some(parameters),
                outputs: &[weights],
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            Ok((Program::compile(gpu, &layers.graph, &options)?, weights))
        })?;
        let mut batch = Batch::filler(shape, limits.specials);
        batch.put_source(0, source);
        batch.put_target(0, target);
        program.stage(&batch)?;
        program.run(Step::default())?;
        Ok((program, *weights, source_steps))
    }

    /// The numbers of Programs kept for searches and for alignments: at most [`Programs::MOST`] of each.
    pub fn programs(&self) -> [usize; 2] {
        [self.decoders.len(), self.aligners.len()]
    }
}
