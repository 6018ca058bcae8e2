//! The search of one group of sentences, recorded kernel by kernel: encoder and first steps in one submit, the steps up to each
//! further look in another. The host reads the search's state after each.

use super::{Hypothesis, SearchOptions, found::Found};
use crate::{
    Error, Gpu, Result, Tensor,
    batch::{Batch, BatchShape},
    gpu::{Dtype, Recorder, Recording},
    graph::{Pool, Program, ProgramOptions},
    kernels::{
        Step,
        beam_search::{Adjust, Adjusted, Attend, Attended, BeamSearch, BeamState, FREE, SearchStep},
        matmul::Matrix,
    },
    model::{Limits, SearchRoom, StepOutputs, Stepper, TokenModel},
    random::random_bits,
};

/// Steps between two looks at whether all rows have finished; even, since models may alternate between two memories.
const STEPS_PER_LOOK: usize = 16;
const _: () = assert!(STEPS_PER_LOOK.is_multiple_of(2));

/// Sizes and options common to all searches that one [`Decoder`] serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// The most sentences.
    pub sentences: usize,
    /// The most tokens of a source.
    pub keys: usize,
    /// Whether texts have prefixes.
    pub prefixed: bool,
    /// The options without seed and first number ([`SearchOptions::shape`]).
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

/// How a search waits for the device.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    /// The thread waits; a future that waits so is ready when it is first polled.
    Blocking,
    /// Other tasks of the thread go on.
    Yielding,
}

/// A source and the settings of its search.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// Tokens that end in `<eos>`.
    pub source: &'a [u32],
    /// Tokens that its texts begin with.
    pub prefix: &'a [u32],
    /// Its place among all sources.
    pub number: u64,
}

/// Memory that the members of a search share.
struct Memory {
    search: BeamSearch,
    steppers: Vec<Box<dyn Stepper>>,
    state: BeamState,
    /// `[members, R, W]`
    logits: Tensor,
    candidates: Tensor,
    adjust: Option<(Adjust, Adjusted)>,
    attend: Option<Attention>,
}

/// The alignment weights of a step, `[members, R, S]`, and the coverage, their sum over steps.
struct Attention {
    attend: Attend,
    weights: Tensor,
    coverage: Tensor,
}

impl Memory {
    fn new(gpu: &Gpu, members: &[TokenModel], limits: &Limits, plan: &Plan) -> Result<Self> {
        let Plan { sentences, keys, ref options, prefixed } = *plan;
        let adjusts = options.adjusts() || prefixed || members.len() > 1;
        let search = options.search(sentences, limits, adjusts);
        let (rows, classes, count) = (search.rows(), search.classes, members.len());
        let tensor = |label: &str, shape: &[usize]| gpu.zeros(label, shape, Dtype::F32);
        let room = SearchRoom { gpu, search, keys, steps: STEPS_PER_LOOK.min(search.capacity), alone: !adjusts };
        let (shortest, ngram) = (options.min_length, options.no_repeat_ngram);
        let forbidden = options.forbid_unknown.then_some(limits.specials.unk);
        let adjust = Adjust { search, members: count, shortest, ngram, forbidden };
        let attend = Attend { search, keys, members: count, coverage_penalty: options.coverage_penalty };
        Ok(Self {
            steppers: members
                .iter()
                .map(|member| member.network.stepper(&member.parameters, &room))
                .collect::<Result<_>>()?,
            state: BeamState::new(gpu, &search)?,
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

    /// Records the work before the first step of a member whose encoder has left `state0`, if it has states.
    fn record_start(
        &self,
        recorder: &mut Recorder,
        stepper: &dyn Stepper,
        lengths: &Tensor,
        state0: Option<&Tensor>,
    ) -> Result<()> {
        stepper.record_start(recorder)?;
        self.search.record_start(recorder, &self.state, lengths, state0, &stepper.feed())?;
        stepper.record_fed(recorder, &self.state, None)
    }

    /// Records `steps` steps and their count.
    fn record_look(&self, recorder: &mut Recorder, lengths: &Tensor, steps: usize) -> Result<()> {
        (0..steps).try_for_each(|step| self.record_step(recorder, lengths, step))?;
        self.search.record_count(recorder, &self.state, steps)
    }

    fn record_step(&self, recorder: &mut Recorder, lengths: &Tensor, step: usize) -> Result<()> {
        let (rows, classes) = (self.search.rows(), self.search.classes);
        let mut choices = Matrix::rows(&self.logits);
        for (number, stepper) in self.steppers.iter().enumerate() {
            let logits = Matrix::rows(&self.logits).offset(number * rows * classes);
            let weights = self
                .attend
                .as_ref()
                .map(|Attention { weights, attend, .. }| Matrix::rows(weights).offset(number * rows * attend.keys));
            let outputs = StepOutputs { lengths, counter: &self.state.counter, logits, weights };
            choices = stepper.record_step(recorder, step, &outputs)?;
        }
        if let Some(Attention { attend, weights, coverage }) = &self.attend {
            attend.record(recorder, &Attended { weights, lengths, coverage }, &self.state, step)?;
        }
        if let Some((adjust, adjusted)) = &self.adjust {
            adjust.record(recorder, &self.logits, &self.state, adjusted, step)?;
            choices = Matrix::rows(&adjusted.values);
        }
        for (number, stepper) in self.steppers.iter().enumerate() {
            let (feed, from) = (stepper.feed(), stepper.states_after(step));
            match number {
                0 => {
                    let step = SearchStep { logits: choices, scratch: &self.candidates, number: step, from };
                    self.search.record(recorder, &step, &self.state, &feed)?;
                }
                _ => self.search.record_follow(recorder, &self.state, &feed, from)?,
            }
            stepper.record_fed(recorder, &self.state, Some(step))?;
        }
        Ok(())
    }
}

impl Decoder {
    /// Compiles the searches that follow `plan`, with every one of `members`.
    pub(super) fn new(gpu: &Gpu, members: &[TokenModel], limits: &Limits, pool: &Pool, plan: &Plan) -> Result<Self> {
        let memory = Memory::new(gpu, members, limits, plan)?;
        let capacity = memory.search.capacity;
        let (mut encoders, mut states, mut first) = (Vec::new(), Vec::new(), None);
        // The first member's encoder begins the Program that all steps are in.
        for (TokenModel { parameters, .. }, stepper) in members.iter().zip(&memory.steppers).rev() {
            let encoder = stepper.encoder()?;
            let outputs: Vec<_> = [encoder.lengths].into_iter().chain(encoder.state).collect();
            let options = ProgramOptions {
                label: "generate".into(),
                parameters: Some(parameters),
                given: &encoder.kept,
                outputs: &outputs,
                pool: pool.clone(),
                ..ProgramOptions::default()
            };
            if states.len() + 1 < members.len() {
                let program = Program::compile(gpu, &encoder.graph, &options)?;
                states.push(encoder.state.map(|state| program.tensor(state).cloned()).transpose()?);
                encoders.push(program);
                continue;
            }
            let program = Program::compile_with(gpu, &encoder.graph, &options, |recorder, finish| {
                let lengths = finish.tensor(encoder.lengths)?;
                let last = encoder.state.map(|state| finish.tensor(state)).transpose()?;
                for (stepper, state0) in
                    memory.steppers.iter().rev().zip(states.iter().map(Option::as_ref).chain([last]))
                {
                    memory.record_start(recorder, stepper.as_ref(), lengths, state0)?;
                }
                memory.record_look(recorder, lengths, STEPS_PER_LOOK.min(capacity))
            })?;
            first = Some((program.tensor(encoder.lengths)?.clone(), program));
        }
        let Some((lengths, first)) = first else { return Err(Error::data("generate", "there is no model")) };
        let mut further = None;
        if capacity > STEPS_PER_LOOK {
            let mut recorder = Recorder::new(gpu, "generate further");
            memory.record_look(&mut recorder, &lengths, STEPS_PER_LOOK)?;
            further = Some(recorder.finish()?);
        }
        let Memory { search, state, adjust, .. } = memory;
        let readback = gpu.readback_buffer("search", state.all.bytes())?;
        let adjusted = adjust.map(|(_, adjusted)| adjusted);
        let plan = plan.clone();
        Ok(Self { gpu: gpu.clone(), plan, encoders, first, further, search, state, adjusted, readback, done: 0 })
    }

    /// The hypotheses for each of `requests`, at most as many as there is room for.
    pub(super) async fn run(
        &mut self,
        requests: &[Request<'_>],
        seed: u64,
        waiting: Waiting,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        self.start(requests, seed)?;
        loop {
            let words = match waiting {
                Waiting::Blocking => self.gpu.read_through(&self.readback, &self.state.all)?,
                Waiting::Yielding => self.gpu.read_async(&self.state.all).await?,
            };
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
        let shape = BatchShape { rows: sentences, source: self.plan.keys, target: 0 };
        let mut batch = Batch::filler(shape, self.search.specials);
        requests.iter().enumerate().for_each(|(row, request)| batch.put_source(row, request.source));
        self.encoders.iter_mut().chain([&mut self.first]).try_for_each(|program| program.stage(&batch))?;
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
