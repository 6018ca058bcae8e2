//! The search of one group of sentences, recorded kernel by kernel: encoder and first steps in one submit, each further look's
//! worth of steps in another. The host reads what there is after each.

use super::{Hypothesis, SearchOptions, found::Found, generator::Network, member::Member};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder, Recording},
    graph::{Pool, Program, ProgramOptions},
    kernels::{
        Step,
        beam_search::{Adjust, Adjusted, Attend, BeamSearch, BeamState, FREE},
        matmul::Matrix,
    },
    reference::dropout::random_bits,
    text::PAD,
};

/// Steps between two looks at whether all rows have finished.
const STEPS_PER_LOOK: usize = 16;

/// What searches have in common that one [`Decoder`] serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Sentences that there is room for.
    pub sentences: usize,
    /// Tokens of the longest source that there is room for.
    pub keys: usize,
    /// Whether texts have prefixes.
    pub prefixed: bool,
    /// As [`SearchOptions::shape`] gives them.
    pub options: SearchOptions,
}

/// The Programs for one plan, and the memory between them.
pub(super) struct Decoder {
    pub(super) gpu: Gpu,
    plan: Plan,
    /// The encoders of an ensemble's further members.
    encoders: Vec<Program>,
    first: Program,
    /// The further looks; none where the first one reaches the longest text.
    further: Option<Recording>,
    search: BeamSearch,
    pub(super) state: BeamState,
    adjusted: Option<Adjusted>,
    pub(super) readback: wgpu::Buffer,
    /// Steps submitted so far, of the search under way.
    done: usize,
}

/// What a group of sentences asks for.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// Tokens that end in `<eos>`.
    pub source: &'a [u32],
    /// Tokens that its texts begin with.
    pub prefix: &'a [u32],
    /// Its place among all sources.
    pub number: u64,
}

/// What the members of a search share.
struct Memory {
    search: BeamSearch,
    members: Vec<Member>,
    state: BeamState,
    lengths: Tensor,
    /// `[members, R, W]`
    logits: Tensor,
    candidates: Tensor,
    adjust: Option<(Adjust, Adjusted)>,
    attend: Option<Attention>,
}

/// The alignment weights of a step, `[members, R, S]`, and what they add up to.
struct Attention {
    attend: Attend,
    weights: Tensor,
    coverage: Tensor,
}

impl Memory {
    fn new(gpu: &Gpu, networks: &[Network], plan: &Plan) -> Result<Self> {
        let Plan { sentences, keys, ref options, prefixed } = *plan;
        let adjusts = options.adjusts() || prefixed || networks.len() > 1;
        let classes = networks.first().map_or(0, |first| first.network.config().target_vocabulary);
        let search = options.search(sentences, classes, super::generator::longest(networks), adjusts);
        let (rows, count) = (search.rows(), networks.len());
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let steps = STEPS_PER_LOOK.min(search.capacity);
        let member = |network: &Network| Member::new(gpu, &network.network, &network.parameters, &search, keys, steps);
        let (shortest, ngram) = (options.min_length, options.no_repeat_ngram);
        let adjust = Adjust { search, members: count, shortest, ngram };
        let attend = Attend { search, keys, members: count, coverage_penalty: options.coverage_penalty };
        Ok(Self {
            members: networks.iter().map(member).collect::<Result<_>>()?,
            state: BeamState::new(gpu, &search)?,
            lengths: gpu.zeros("lengths", [sentences], Dtype::U32)?,
            logits: tensor("logits", &[count, rows, classes])?,
            candidates: {
                let elements = if search.apart() { 0 } else { search.scratch() };
                gpu.zeros("candidates", [elements], Dtype::U32)?
            },
            adjust: if adjusts { Some((adjust, Adjusted::new(gpu, &search)?)) } else { None },
            attend: match options.attends() {
                true => Some(Attention {
                    weights: tensor("alignment", &[count, rows, keys])?,
                    coverage: tensor("coverage", &[attend.coverage()])?,
                    attend,
                }),
                false => None,
            },
            search,
        })
    }

    /// Records `steps` steps and their count.
    fn record_look(&self, recorder: &mut Recorder, steps: usize) -> Result<()> {
        (0..steps).try_for_each(|step| self.record_step(recorder, step))?;
        self.search.record_count(recorder, &self.state, steps)
    }

    fn record_step(&self, recorder: &mut Recorder, step: usize) -> Result<()> {
        let (rows, classes) = (self.search.rows(), self.search.classes);
        for (number, member) in self.members.iter().enumerate() {
            let logits = Matrix::rows(&self.logits).offset(number * rows * classes);
            let weights = self
                .attend
                .as_ref()
                .map(|Attention { weights, attend, .. }| Matrix::rows(weights).offset(number * rows * attend.keys));
            member.record_step(recorder, step, &self.lengths, logits, weights)?;
        }
        if let Some(Attention { attend, weights, coverage }) = &self.attend {
            attend.record(recorder, weights, &self.state, &self.lengths, coverage, step)?;
        }
        let mut choices = &self.logits;
        if let Some((adjust, adjusted)) = &self.adjust {
            adjust.record(recorder, &self.logits, &self.state, adjusted, step)?;
            choices = &adjusted.values;
        }
        for (number, member) in self.members.iter().enumerate() {
            let (feed, (_, from)) = (member.feed(), member.places(step));
            match number {
                0 => self.search.record(recorder, choices, &self.state, &self.candidates, step, &feed, from)?,
                _ => self.search.record_follow(recorder, &self.state, &feed, from)?,
            }
            member.record_words(recorder)?;
        }
        Ok(())
    }
}

impl Decoder {
    /// Compiles the searches that follow `plan`, with every one of `networks`.
    pub(super) fn new(gpu: &Gpu, networks: &[Network], pool: &Pool, plan: Plan) -> Result<Self> {
        let memory = Memory::new(gpu, networks, &plan)?;
        let capacity = memory.search.capacity;
        let (mut encoders, mut states, mut first) = (Vec::new(), Vec::new(), None);
        // The first member's encoder begins the Program that all steps are in.
        for (Network { network, parameters }, member) in networks.iter().zip(&memory.members).rev() {
            let encoder = network.encoding_graph(plan.sentences, plan.keys)?;
            let options = ProgramOptions {
                label: "generate".into(),
                parameters: Some(parameters),
                given: &[
                    (encoder.annotation, member.annotation.clone()),
                    (encoder.key, member.key.clone()),
                    (encoder.lengths, memory.lengths.clone()),
                ],
                outputs: &[encoder.state],
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            if states.len() + 1 < networks.len() {
                let program = Program::compile(gpu, &encoder.graph, &options)?;
                states.push(program.tensor(encoder.state)?.clone());
                encoders.push(program);
                continue;
            }
            first = Some(Program::compile_with(gpu, &encoder.graph, &options, |recorder, finish| {
                let all = states.iter().chain([finish.tensor(encoder.state)?]);
                for (member, state0) in memory.members.iter().rev().zip(all) {
                    member.record_start(recorder, &memory.state, &memory.lengths, state0)?;
                }
                memory.record_look(recorder, STEPS_PER_LOOK.min(capacity))
            })?);
        }
        let Some(first) = first else { unreachable!("a generator has a model") };
        let mut further = None;
        if capacity > STEPS_PER_LOOK {
            let mut recorder = Recorder::new(gpu, "generate further");
            memory.record_look(&mut recorder, STEPS_PER_LOOK)?;
            further = Some(recorder.finish()?);
        }
        let Memory { search, state, adjust, .. } = memory;
        let readback = gpu.readback_buffer("search", state.all.bytes())?;
        let adjusted = adjust.map(|(_, adjusted)| adjusted);
        Ok(Self { gpu: gpu.clone(), plan, encoders, first, further, search, state, adjusted, readback, done: 0 })
    }

    /// Whether this one serves such searches.
    pub(super) fn serves(&self, plan: &Plan) -> bool {
        self.plan == *plan
    }

    /// The hypotheses for each of `requests`, at most as many as there is room for.
    pub(super) fn run(&mut self, requests: &[Request<'_>], seed: u64) -> Result<Vec<Vec<Hypothesis>>> {
        self.start(requests, seed)?;
        loop {
            let words = self.gpu.read_through(&self.readback, &self.state.all)?;
            if !self.go_on(&words)? {
                return Ok(self.found(&words, requests.len()));
            }
        }
    }

    /// Submits the encoders and the first look's steps.
    pub(super) fn start(&mut self, requests: &[Request<'_>], seed: u64) -> Result<()> {
        self.write(requests, seed)?;
        for encoder in &mut self.encoders {
            encoder.run(Step::default())?;
        }
        self.first.run(Step::default())?;
        self.done = STEPS_PER_LOOK.min(self.search.capacity);
        Ok(())
    }

    /// Submits the next look's steps, unless the last one has left nothing to do, by what was read after it.
    pub(super) fn go_on(&mut self, words: &[u32]) -> Result<bool> {
        let finished = self.state.words(words, &self.state.all_finished) == [1];
        match &self.further {
            Some(further) if !finished && self.done < self.search.capacity => {
                further.submit(0)?;
                self.done = (self.done + STEPS_PER_LOOK).min(self.search.capacity);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The hypotheses of the first `sentences`, by what was read after the last look.
    pub(super) fn found(&self, words: &[u32], sentences: usize) -> Vec<Vec<Hypothesis>> {
        Found::new(&self.search, &self.state, words, self.done).hypotheses(sentences, &self.plan.options)
    }

    fn write(&mut self, requests: &[Request<'_>], seed: u64) -> Result<()> {
        let BeamSearch { sentences, capacity, .. } = self.search;
        let keys = self.plan.keys;
        let mut source = vec![PAD; sentences * keys];
        let mut lengths = vec![0_u32; sentences];
        for ((request, row), length) in requests.iter().zip(source.chunks_mut(keys)).zip(&mut lengths) {
            row.iter_mut().zip(request.source).for_each(|(place, token)| *place = *token);
            *length = request.source.len() as u32;
        }
        for program in self.encoders.iter_mut().chain([&mut self.first]) {
            program.write("source", &source)?;
            program.write("lengths", &lengths)?;
        }
        if let (true, Some(adjusted)) = (self.plan.prefixed, &self.adjusted) {
            let mut prefixes = vec![FREE; sentences * capacity];
            for (request, row) in requests.iter().zip(prefixes.chunks_mut(capacity)) {
                row.iter_mut().zip(request.prefix).for_each(|(place, token)| *place = *token);
            }
            self.gpu.write(&adjusted.prefixes, &prefixes)?;
        }
        if let Some(streams) = &self.state.streams {
            let halves = |x: u64| [x as u32, (x >> 32) as u32];
            let ([low, high], mut values) = (halves(seed), vec![0; sentences]);
            for (value, request) in values.iter_mut().zip(requests) {
                let [number, upper] = halves(request.number);
                *value = random_bits(low, high, upper, number);
            }
            self.gpu.write(streams, &values)?;
        }
        Ok(())
    }
}
