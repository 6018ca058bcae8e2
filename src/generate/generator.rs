//! Texts for sources, searched for or sampled on the device, by one model or an ensemble.

use std::collections::HashMap;

use super::{
    SearchOptions,
    decoder::{Decoder, Plan, Request},
};
use crate::{
    Error, Gpu, Result,
    gpu::ELEMENT,
    graph::{Parameters, Pool, Program, ProgramOptions, Value},
    kernels::{Step, beam_search::MOST_MEMBERS},
    model::{Model, Seq2Seq},
    text::{BOS, Tokenizer},
};

/// Numbers of sentences decoded at once: few, so that few Programs are made.
const SENTENCES: [usize; 3] = [64, 8, 1];

/// One text that the search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hypothesis {
    /// Target tokens, without `<bos>` and `<eos>`.
    pub tokens: Vec<u32>,
    /// The sum of the tokens' log-probabilities, `<eos>` included, over the length penalty, plus the coverage penalty.
    pub score: f32,
    /// Whether it ended with `<eos>` rather than at the longest length.
    pub finished: bool,
    /// The source position that each token attended to most, where [`SearchOptions::attended`] asks for them; else empty.
    pub attended: Vec<u32>,
}

/// A model as a search needs it.
pub(super) struct Network {
    pub network: Seq2Seq,
    pub parameters: Parameters,
}

/// The most tokens that every one of `networks` was made for.
pub(super) fn longest(networks: &[Network]) -> usize {
    networks.iter().map(|member| member.network.config().max_length).min().unwrap_or(0)
}

/// Decodes with the parameters of its models as they are at the time of the call.
pub struct Generator {
    gpu: Gpu,
    networks: Vec<Network>,
    pool: Pool,
    decoders: Vec<Decoder>,
    aligners: HashMap<[usize; 3], (Program, Value)>,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("members", &self.networks.len()).finish_non_exhaustive()
    }
}

impl Generator {
    /// A generator for `model`; it shares the model's parameters.
    pub fn new(model: &Model) -> Self {
        Self {
            gpu: model.gpu.clone(),
            networks: vec![Network { network: model.network.clone(), parameters: model.parameters.clone() }],
            pool: Pool::default(),
            decoders: Vec::new(),
            aligners: HashMap::new(),
        }
    }

    /// A generator for `model` and `others` together: one search over the arithmetic mean of their probabilities, each with an
    /// encoder, states and attention of its own.
    ///
    /// # Errors
    /// [`Error::Data`] for models of different vocabularies, and for more than 16.
    pub fn ensemble(model: &Model, others: &[Model]) -> Result<Self> {
        let mut generator = Self::new(model);
        if others.len() >= MOST_MEMBERS {
            let message = format!("holds {} models; {MOST_MEMBERS} is the most", others.len() + 1);
            return Err(Error::data("the ensemble", message));
        }
        for (number, other) in (2..).zip(others) {
            for (side, own, its) in [("source", &model.source, &other.source), ("target", &model.target, &other.target)]
            {
                if let Some(difference) = difference(own, its) {
                    let message = format!(
                        "its {side} vocabulary is not that of the first model: {difference}. Models of an ensemble are \
                         trained with the same tokenizers"
                    );
                    return Err(Error::data(format!("model {number} of the ensemble"), message));
                }
            }
            generator.networks.push(Network { network: other.network.clone(), parameters: other.parameters.clone() });
        }
        Ok(generator)
    }

    /// The most tokens that a source may have, and that a text has unless [`SearchOptions::max_length`] says otherwise; their
    /// `<eos>` counted. That of the model that takes least.
    pub fn longest(&self) -> usize {
        longest(&self.networks)
    }

    /// The best texts for each source (tokens that end in `<eos>`), best first, or samples, in the order of the sources.
    ///
    /// # Errors
    /// [`Error::Data`] for a source that is empty, longer than the model's `max_length` or not of its vocabulary; [`Error::Shape`] for
    /// options out of their range; what the device reports.
    pub fn generate(&mut self, sources: &[Vec<u32>], options: &SearchOptions) -> Result<Vec<Vec<Hypothesis>>> {
        self.generate_behind(sources, &[], options)
    }

    /// As [`Generator::generate`], each text behind its prefix: one for each source, without `<eos>`, or none at all. Texts hold
    /// their prefix, and scores count it.
    ///
    /// # Errors
    /// As [`Generator::generate`]; [`Error::Data`] for a prefix that leaves a text no room or is not of the vocabulary.
    pub fn generate_behind(
        &mut self,
        sources: &[Vec<u32>],
        prefixes: &[Vec<u32>],
        options: &SearchOptions,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        options.check(longest(&self.networks))?;
        self.check(sources, prefixes, options)?;
        let prefixed = prefixes.iter().any(|prefix| !prefix.is_empty());
        // Sorted by length, so that sentences decoded together need about the same number of steps.
        let mut order: Vec<_> = sources.iter().enumerate().collect();
        order.sort_by_key(|(_, source)| source.len());
        let mut results = vec![Vec::new(); sources.len()];
        for group in order.chunks(self.room(options)) {
            let request = |&(index, source)| Request {
                source: Vec::as_slice(source),
                prefix: prefixes.get(index).map_or(&[], Vec::as_slice),
                number: options.first.wrapping_add(index as u64),
            };
            let requests: Vec<_> = group.iter().map(request).collect();
            let found = self.decoder(&requests, prefixed, options)?.run(&requests, options.seed)?;
            for ((index, _), hypotheses) in group.iter().zip(found) {
                if let Some(result) = results.get_mut(*index) {
                    *result = hypotheses;
                }
            }
        }
        Ok(results)
    }

    pub(super) fn check(&self, sources: &[Vec<u32>], prefixes: &[Vec<u32>], options: &SearchOptions) -> Result<()> {
        let Some(Network { network, .. }) = self.networks.first() else { return Ok(()) };
        let (config, longest) = (network.config(), longest(&self.networks));
        let refuse = |message: String| Err(Error::data("generate", message));
        let stranger =
            |tokens: &[u32], vocabulary: usize| tokens.iter().copied().find(|token| *token as usize >= vocabulary);
        for (number, source) in (1..).zip(sources) {
            if source.is_empty() || source.len() > longest {
                return refuse(format!(
                    "source {number} has {} tokens with its <eos>; this model takes 1 to {longest}. Shorten it, or train with a \
                     larger --max-length",
                    source.len()
                ));
            }
            if let Some(token) = stranger(source, config.source_vocabulary) {
                let vocabulary = config.source_vocabulary;
                return refuse(format!("source {number} holds token {token}; this model has {vocabulary}"));
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
            let vocabulary = config.target_vocabulary;
            if let Some(token) = stranger(prefix, vocabulary).or(prefix.iter().copied().find(|token| *token < 3)) {
                return refuse(format!("prefix {number} holds token {token}, which no text of this model has"));
            }
        }
        Ok(())
    }

    /// The most sentences whose logits, those of all rows and models, fit into a binding.
    fn room(&self, options: &SearchOptions) -> usize {
        let classes = self.networks.first().map_or(0, |first| first.network.config().target_vocabulary);
        let bytes = (self.networks.len() * options.rows() * classes) as u64 * ELEMENT;
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
        let plan = Plan { sentences, keys: longest.next_multiple_of(4), prefixed, options: options.shape() };
        let index = match self.decoders.iter().position(|decoder| decoder.serves(&plan)) {
            Some(index) => index,
            None => {
                self.decoders.push(Decoder::new(&self.gpu, &self.networks, &self.pool, plan)?);
                self.decoders.len() - 1
            }
        };
        let Some(decoder) = self.decoders.get_mut(index) else { unreachable!("it was just found or made") };
        Ok(decoder)
    }

    /// The alignment weights `[T, S]` of one source and target under teacher forcing, `T` counting the final `<eos>`; the mean
    /// over the models of an ensemble.
    ///
    /// # Errors
    /// What compiling or the device reports.
    pub fn alignment(&mut self, source: &[u32], target: &[u32]) -> Result<Vec<f32>> {
        let mut sum = vec![0.0; source.len() * (target.len() + 1)];
        let members = self.networks.len();
        for member in 0..members {
            let weights = self.alignment_of(member, source, target)?;
            sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight / members as f32);
        }
        Ok(sum)
    }

    fn alignment_of(&mut self, member: usize, source: &[u32], target: &[u32]) -> Result<Vec<f32>> {
        let key = [member, source.len(), target.len() + 1];
        if !self.aligners.contains_key(&key) {
            let Some(Network { network, parameters }) = self.networks.get(member) else {
                return Err(Error::data("generate", format!("there is no model {member}")));
            };
            let aligner = network.alignment_graph(key[1], key[2])?;
            let options = ProgramOptions {
                label: "align".into(),
                parameters: Some(parameters),
                outputs: &[aligner.1],
                pool: self.pool.clone(),
                ..ProgramOptions::default()
            };
            self.aligners.insert(key, (Program::compile(&self.gpu, &aligner.0, &options)?, aligner.1));
        }
        let Some((program, weights)) = self.aligners.get_mut(&key) else { unreachable!("it was just made") };
        program.write("source", source)?;
        program.write("lengths", &[source.len() as u32])?;
        let target_in: Vec<u32> = std::iter::once(BOS).chain(target.iter().copied()).collect();
        program.write("target_in", &target_in)?;
        program.run(Step::default())?;
        program.read(*weights)
    }
}

/// The first thing in which two vocabularies differ.
fn difference(own: &Tokenizer, other: &Tokenizer) -> Option<String> {
    if own.size() != other.size() {
        return Some(format!("it has {} tokens, not {}", other.size(), own.size()));
    }
    let differs = (0..own.size() as u32).find(|id| own.piece(*id) != other.piece(*id));
    differs.map(|id| format!("token {id} is `{}`, not `{}`", other.token(id), own.token(id)))
}
