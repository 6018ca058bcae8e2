//! Steps of searches that words and states of the default model's sizes are fed to, for 64 sentences, and what may stand
//! before them.

use super::{
    super::{Subject, Workload, problem::Problem, sample},
    small_model::recorded,
};
use crate::{
    Gpu, Result, Tensor,
    gpu::{Dtype, Recorder},
    kernels::{
        beam_search::{Adjust, Adjusted, Attend, Attended, BeamSearch, BeamState, Feed, Rule, Sampling, SearchStep},
        matmul::Matrix,
    },
    reference::beam_search as reference,
    validate::widen,
};

const SENTENCES: usize = 64;
const BEAM: usize = 5;
const CLASSES: usize = 75;
const SIZE: usize = 256;
const KEYS: usize = 12;
/// `<eos>` is never likely: a search that ended would have nothing left to measure.
const NEVER: f32 = -60.0;

pub(super) fn workloads() -> Vec<Workload> {
    let step = |beam: usize| {
        Workload::new(format!("beam_search/B{SENTENCES}_K{beam}_C{CLASSES}"), move |gpu| search(gpu, beam))
    };
    let of_beam = |name: &str, prepare: fn(&Gpu) -> Result<Subject>| {
        Workload::new(format!("beam_search/{name}_B{SENTENCES}_K{BEAM}_C{CLASSES}"), prepare)
    };
    let attend = format!("beam_search/attend_B{SENTENCES}_K{BEAM}_S{KEYS}");
    vec![step(1), step(BEAM), of_beam("sample", sampling), of_beam("adjust", adjust), Workload::new(attend, attention)]
}

/// A search at its first step, with what feeds its rows.
struct Started {
    search: BeamSearch,
    state: BeamState,
    scratch: Tensor,
    logits: Vec<f32>,
    logits_gpu: Tensor,
    words: [Tensor; 2],
    gates: [Tensor; 2],
    states: Tensor,
}

impl Started {
    fn new(gpu: &Gpu, beam: usize, rule: Rule) -> Result<Self> {
        let search =
            BeamSearch { sentences: SENTENCES, beam, classes: CLASSES, capacity: 12, rule, ..BeamSearch::default() };
        let rows = search.rows();
        let mut logits = Problem::new(gpu).values(rows * CLASSES, 5.0);
        logits.iter_mut().skip(2).step_by(CLASSES).for_each(|end| *end = NEVER);
        let zeros = |shape: &[usize]| gpu.zeros("bench", shape, Dtype::F32);
        let started = Self {
            state: BeamState::new(gpu, &search)?,
            scratch: zeros(&[search.scratch()])?,
            logits_gpu: gpu.tensor("bench", [rows, CLASSES], Dtype::F32, &logits)?,
            logits,
            words: [zeros(&[CLASSES, SIZE])?, zeros(&[rows, SIZE])?],
            gates: [zeros(&[CLASSES, 3 * SIZE])?, zeros(&[rows, 3 * SIZE])?],
            states: zeros(&[2, rows, SIZE])?,
            search,
        };
        let state0 = zeros(&[SENTENCES, SIZE])?;
        let lengths = gpu.tensor("bench", [SENTENCES], Dtype::U32, &[1_u32; SENTENCES])?;
        let mut start = Recorder::new(gpu, "bench");
        search.record_start(&mut start, &started.state, &lengths, Some(&state0), &started.feed())?;
        gpu.wait(Some(start.finish()?.submit(0)?))?;
        Ok(started)
    }

    fn best(gpu: &Gpu, beam: usize) -> Result<Self> {
        Self::new(gpu, beam, Rule::Best { length_penalty: 0.6, asked: 1 })
    }

    fn feed(&self) -> Feed<'_> {
        Feed {
            word: SIZE,
            words: &self.words[0],
            word_rows: Matrix::rows(&self.words[1]),
            gates: Some((&self.gates[0], &self.gates[1])),
            states: Some((SIZE, &self.states)),
        }
    }

    fn record(&self, recorder: &mut Recorder) -> Result<()> {
        let from = self.search.rows() * SIZE;
        let step = SearchStep { logits: Matrix::rows(&self.logits_gpu), scratch: &self.scratch, number: 0, from };
        self.search.record(recorder, &step, &self.state, &self.feed())
    }
}

fn search(gpu: &Gpu, beam: usize) -> Result<Subject> {
    let started = Started::best(gpu, beam)?;
    let (state, logits) = (started.state.clone(), widen(&started.logits));
    recorded(
        gpu,
        |recorder| started.record(recorder),
        started.scratch.bytes(),
        move |gpu| {
            let (mut tokens, mut scores) = (Vec::new(), Vec::new());
            // Only the first hypothesis of each sentence is there before the first step.
            for logits in logits.chunks(beam * CLASSES) {
                let logits = &logits[..CLASSES];
                let gain = |token: u32| (reference::log_probability(logits, token, false), token);
                let mut gains: Vec<_> = (3..CLASSES as u32).map(gain).collect();
                gains.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                tokens.extend(gains[..beam].iter().map(|gain| gain.1));
                scores.extend(gains[..beam].iter().map(|gain| gain.0));
            }
            let same = gpu.read::<u32>(&state.tokens)? == tokens;
            Ok(if same { sample::whole(&gpu.read(&state.scores)?, &scores) } else { f64::INFINITY })
        },
    )
}

fn sampling(gpu: &Gpu) -> Result<Subject> {
    let rule = Rule::Sample(Sampling { temperature: 1.0, top_k: 20, top_p: 0.9 });
    let started = Started::new(gpu, BEAM, rule)?;
    let settings = reference::Sample { temperature: 1.0, top_k: 20, top_p: 0.9 };
    let state = started.state.clone();
    let logits = widen(&started.logits);
    recorded(
        gpu,
        |recorder| started.record(recorder),
        0,
        move |gpu| {
            let tokens: Vec<u32> = gpu.read(&state.tokens)?;
            let scores: Vec<f32> = gpu.read(&state.scores)?;
            let mut wanted = Vec::new();
            for (row, logits) in logits.chunks(CLASSES).enumerate() {
                let worths = settings.worths(logits, 0, 0, (row % BEAM) as u32);
                let greatest = worths.iter().map(|(_, worth)| *worth).fold(f64::NEG_INFINITY, f64::max);
                let drawn = worths.iter().find(|(token, _)| *token == tokens[row]);
                if drawn.is_none_or(|(_, worth)| greatest - worth > 1e-3) {
                    return Ok(f64::INFINITY);
                }
                wanted.push(reference::log_probability(logits, tokens[row], false));
            }
            Ok(sample::whole(&scores, &wanted))
        },
    )
}

fn adjust(gpu: &Gpu) -> Result<Subject> {
    let Started { search, state, logits, logits_gpu, .. } = Started::best(gpu, BEAM)?;
    let adjust = Adjust { search, members: 1, shortest: 2, ngram: 3, forbidden: None };
    let adjusted = Adjusted::new(gpu, &search)?;
    let values = adjusted.values.clone();
    let record = |recorder: &mut Recorder| adjust.record(recorder, &logits_gpu, &state, &adjusted, 0);
    recorded(gpu, record, adjusted.texts.bytes(), move |gpu| {
        let settings = reference::Adjust { classes: CLASSES, shortest: 2, ngram: 3, forbidden: None };
        let found: Vec<f32> = gpu.read(&values)?;
        let mut worst = 0.0_f64;
        // Only the first hypothesis of each sentence is there before the first step. What is blocked is told apart by itself.
        for (found, logits) in found.chunks(CLASSES).zip(logits.chunks(CLASSES)).step_by(BEAM) {
            let wanted = settings.forward(&[&widen(logits)], &[], None);
            let open = |values: &[f64]| -> Vec<f64> { values.iter().copied().filter(|x| *x > -1e29).collect() };
            let found: Vec<f32> = found.iter().copied().filter(|x| *x > -1e29).collect();
            worst = worst.max(sample::whole(&found, &open(&wanted)));
        }
        Ok(worst)
    })
}

fn attention(gpu: &Gpu) -> Result<Subject> {
    let Started { search, state, .. } = Started::best(gpu, BEAM)?;
    let attend = Attend { search, keys: KEYS, members: 1, coverage_penalty: 0.2 };
    let rows = search.rows();
    let weights: Vec<f32> = Problem::new(gpu).values(rows * KEYS, 1.0).iter().map(|x| x.exp() / 20.0).collect();
    let weights_gpu = gpu.tensor("bench", [rows, KEYS], Dtype::F32, &weights)?;
    let lengths = gpu.tensor("bench", [SENTENCES], Dtype::U32, &[KEYS as u32; SENTENCES])?;
    let coverage = gpu.zeros("bench", [attend.coverage()], Dtype::F32)?;
    let bytes = coverage.bytes();
    let record = |recorder: &mut Recorder| {
        let attended = Attended { weights: &weights_gpu, lengths: &lengths, coverage: &coverage };
        attend.record(recorder, &attended, &state, 0)
    };
    let penalties = state.penalties.clone();
    recorded(gpu, record, bytes, move |gpu| {
        let settings = reference::Attend { coverage_penalty: f64::from(0.2_f32) };
        let wanted: Vec<f64> = weights.chunks(KEYS).map(|weights| settings.penalty(&[widen(weights)])).collect();
        Ok(sample::whole(&gpu.read(&penalties)?, &wanted))
    })
}
