//! Beam search against its reference.

use crate::common;
use softalign::{
    Error, Gpu, Tensor,
    batch::Specials,
    gpu::{AdapterClass, Recorder},
    kernels::{
        beam_search::{BeamSearch, BeamState, Feed, Rule, Sampling, SearchStep},
        matmul::Matrix,
    },
};

#[test]
fn agrees_with_the_reference() {
    common::validate("beam_search");
}

/// A search from its start, with the least that it can feed to a next step.
struct Search {
    search: BeamSearch,
    state: BeamState,
    tensors: [Tensor; 4],
}

impl Search {
    fn new(gpu: &Gpu, search: BeamSearch) -> Self {
        let state = BeamState::new(gpu, &search).unwrap();
        let tensors = [search.classes, search.rows(), 2 * search.rows(), search.sentences];
        let found = Self { search, state, tensors: tensors.map(|elements| common::poisoned(gpu, elements)) };
        found.start(gpu);
        found
    }

    fn feed(&self) -> Feed<'_> {
        let [words, word_rows, states, _] = &self.tensors;
        let word_rows = Matrix { tensor: word_rows, offset: 0, stride: 1, batch_stride: 0 };
        Feed { word: 1, words, word_rows, gates: None, states: Some((1, states)) }
    }

    fn start(&self, gpu: &Gpu) {
        let lengths = common::upload_u32(gpu, [self.search.sentences], &vec![1; self.search.sentences]);
        common::run(gpu, |recorder| {
            self.search.record_start(recorder, &self.state, &lengths, Some(&self.tensors[3]), &self.feed())
        });
    }

    fn record(&self, recorder: &mut Recorder, logits: &Tensor, scratch: &Tensor) -> softalign::Result<()> {
        let step = SearchStep {
            logits: Matrix::rows(logits).stride(self.search.classes),
            scratch,
            number: 0,
            from: self.search.rows(),
        };
        self.search.record(recorder, &step, &self.state, &self.feed())?;
        self.search.record_count(recorder, &self.state, 1)
    }

    fn step(&self, gpu: &Gpu, logits: &[f32]) {
        let logits = common::upload(gpu, [self.search.rows(), self.search.classes], logits);
        let scratch = common::poisoned(gpu, self.search.scratch());
        common::run(gpu, |recorder| self.record(recorder, &logits, &scratch));
    }
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    for gpu in [common::gpu(), common::portable()] {
        for classes in [3, 75, 4099, 10_000] {
            let search =
                Search::new(gpu, BeamSearch { sentences: 3, beam: 1, classes, capacity: 2, ..BeamSearch::default() });
            let state = &search.state;
            let mut logits = vec![0.0_f32; 3 * classes];
            // Padding and start are the likeliest, and not for choosing; then a tie; a row of nothing but ties.
            logits[0] = 50.0;
            logits[1] = 40.0;
            logits[classes / 2 + 1] = 5.0;
            logits[classes - 1] = 5.0;
            logits[2 * classes - 1] = 1.0;
            search.step(gpu, &logits);
            let tokens: Vec<u32> = gpu.read(&state.tokens).unwrap();
            assert_eq!(tokens, [(classes as u32 / 2 + 1).max(2), classes as u32 - 1, 2], "{classes} classes");
            assert_eq!(gpu.read::<u32>(&state.finished).unwrap()[2], 1);
            let score = gpu.read::<f32>(&state.scores).unwrap()[2];
            assert!((score + (classes as f32).ln()).abs() < 1e-5, "{score}");
        }
    }
}

/// The same search with every token's id counted from the other end, the special ones too.
#[test]
fn special_tokens_have_the_ids_that_the_search_is_told() {
    let gpu = common::gpu();
    for beam in [1, 3] {
        let classes = 9;
        let plain = BeamSearch { sentences: 2, beam, classes, capacity: 4, ..BeamSearch::default() };
        let other = |id: u32| classes as u32 - 1 - id;
        let Specials { pad, bos, eos, unk } = plain.specials;
        let specials = Specials { pad: other(pad), bos: other(bos), eos: other(eos), unk: other(unk) };
        let searches = [plain, BeamSearch { specials, ..plain }].map(|shape| Search::new(gpu, shape));
        let mut ended = false;
        for step in 0..4 {
            let logit = |at: usize| ((at * 37 + step * 11) as f32 * 0.71).sin() * 4.0;
            let logits: Vec<f32> = (0..searches[0].search.rows() * classes).map(logit).collect();
            let reversed: Vec<f32> = logits.chunks(classes).flat_map(|row| row.iter().rev().copied()).collect();
            let [found, turned] = [(&searches[0], &logits), (&searches[1], &reversed)].map(|(search, logits)| {
                search.step(gpu, logits);
                let read = |tensor| gpu.read::<u32>(tensor).unwrap();
                let BeamState { tokens, parents, finished, .. } = &search.state;
                (read(tokens), read(parents), read(finished))
            });
            assert_eq!(found.0, turned.0.iter().map(|token| other(*token)).collect::<Vec<_>>(), "beam {beam}, {step}");
            assert_eq!((&found.1, &found.2), (&turned.1, &turned.2), "beam {beam}, {step}");
            ended |= found.2.contains(&1);
        }
        assert!(ended, "the end was never seen");
    }
}

#[test]
fn texts_that_have_ended_stay_and_past_the_end_nothing_changes() {
    for gpu in [common::gpu(), common::portable()] {
        let rule = Rule::Best { length_penalty: 0.0, asked: 2 };
        let shape = BeamSearch { sentences: 2, beam: 2, classes: 5, capacity: 3, rule, ..BeamSearch::default() };
        let search = Search::new(gpu, shape);
        let state = &search.state;
        // Every row prefers to end, then token 4: two texts are settled after two steps. Where none can end, the last step ends.
        for (end, steps) in [(9.0, 2), (-90.0, 3)] {
            search.start(gpu);
            let logits = [f32::NAN, 0.0, end, 0.0, 8.0].repeat(4);
            let mut seen = Vec::new();
            for number in 0..6 {
                search.step(gpu, &logits);
                let bits = |tensor| common::bits(gpu, tensor);
                seen.push([
                    bits(&state.scores),
                    bits(&state.tokens),
                    bits(&state.history_tokens),
                    bits(&state.history_parents),
                    bits(&state.ended_scores),
                    bits(&state.ended_steps),
                    bits(&state.finished),
                ]);
                assert_eq!(bits(&state.counter), [(number + 1).min(3)]);
                assert_eq!(bits(&state.all_finished), [u32::from(number as usize + 1 >= steps)], "{end}");
            }
            assert_eq!(seen[steps - 1], seen[5]);
            assert_ne!(seen[steps - 2], seen[5]);
            let (ended, parents): (Vec<u32>, Vec<u32>) =
                (gpu.read(&state.ended_steps).unwrap(), gpu.read(&state.ended_parents).unwrap());
            let tokens: Vec<u32> = gpu.read(&state.ended_tokens).unwrap();
            if end > 0.0 {
                assert_eq!((ended, parents, tokens), (vec![0, 1, 0, 1], vec![0, 0, 2, 2], vec![2; 4]));
                let scores: Vec<f32> = gpu.read(&state.ended_scores).unwrap();
                assert!((scores[0] + 0.3134).abs() < 1e-3 && (scores[1] + 1.6268).abs() < 1e-3, "{scores:?}");
            } else {
                assert_eq!((ended, tokens[0]), (vec![2; 4], 4));
            }
        }
    }
}

/// Samples of one sentence each, of a row of logits, as shares of all.
fn shares(gpu: &Gpu, sampling: Sampling, logits: &[f32]) -> Vec<f64> {
    let (sentences, beam, classes) = (128, 16, logits.len());
    let rule = Rule::Sample(sampling);
    let shape = BeamSearch { sentences, beam, classes, capacity: 2, rule, ..BeamSearch::default() };
    let search = Search::new(gpu, shape);
    let streams: Vec<u32> = (0..sentences as u32).collect();
    gpu.write(search.state.streams.as_ref().unwrap(), &streams).unwrap();
    search.step(gpu, &logits.repeat(shape.rows()));
    let tokens: Vec<u32> = gpu.read(&search.state.tokens).unwrap();
    let share = |class| tokens.iter().filter(|token| **token == class).count() as f64 / tokens.len() as f64;
    (0..classes as u32).map(share).collect()
}

#[test]
fn samples_come_as_often_as_they_are_likely() {
    // Padding and start are likely, and never drawn.
    let logits = [9.0, 9.0, 0.0, 1.0, -1.0, 2.0, 0.5, 0.5];
    let likely = |temperature: f64, kept: &[usize]| -> Vec<f64> {
        let mass =
            |class: usize| if kept.contains(&class) { (f64::from(logits[class]) / temperature).exp() } else { 0.0 };
        let total: f64 = (0..8).map(mass).sum();
        (0..8).map(|class| mass(class) / total).collect()
    };
    for gpu in [common::gpu(), common::portable()] {
        for (temperature, top_k, top_p, kept) in [
            (1.0, 0, 1.0, &[2, 3, 4, 5, 6, 7][..]),
            (2.5, 0, 1.0, &[2, 3, 4, 5, 6, 7]),
            (1.0, 2, 1.0, &[3, 5]),
            // The third and fourth are as likely as each other.
            (1.0, 3, 1.0, &[3, 5, 6, 7]),
            (1.0, 0, 0.6, &[3, 5]),
            (1.0, 2, 0.5, &[5]),
        ] {
            let found = shares(gpu, Sampling { temperature, top_k, top_p }, &logits);
            for (class, (found, wanted)) in found.iter().zip(likely(temperature.into(), kept)).enumerate() {
                // Five standard deviations of 2,048 draws.
                let error = 5.0 * (wanted * (1.0 - wanted) / 2048.0).sqrt();
                assert!((found - wanted).abs() <= error, "{temperature} {top_k} {top_p}, {class}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn logits_that_are_no_numbers_stay_in_bounds() {
    for gpu in [common::gpu(), common::portable()] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38] {
            let search = Search::new(
                gpu,
                BeamSearch { sentences: 2, beam: 3, classes: 7, capacity: 4, ..BeamSearch::default() },
            );
            let state = &search.state;
            for _ in 0..3 {
                search.step(gpu, &vec![value; search.search.rows() * 7]);
                let (tokens, parents): (Vec<u32>, Vec<u32>) =
                    (gpu.read(&state.tokens).unwrap(), gpu.read(&state.parents).unwrap());
                assert!(tokens.iter().all(|token| *token < 7), "{value}: {tokens:?}");
                assert!(parents.iter().enumerate().all(|(row, parent)| *parent as usize / 3 == row / 3), "{parents:?}");
                let scores: Vec<f32> = gpu.read(&state.scores).unwrap();
                assert!(scores.iter().all(|score| score.is_finite()), "{value}: {scores:?}");
            }
        }
    }
}

/// With fewer classes than the beam is wide, absent hypotheses fill it; with none that goes on, all is done.
#[test]
fn few_classes_and_the_widest_beam() {
    let gpu = common::gpu();
    let search =
        Search::new(gpu, BeamSearch { sentences: 5, beam: 16, classes: 3, capacity: 2, ..BeamSearch::default() });
    let state = &search.state;
    search.step(gpu, &[0.5; 5 * 16 * 3]);
    assert!(gpu.read::<u32>(&state.tokens).unwrap().iter().all(|token| *token == 0));
    assert!(gpu.read::<f32>(&state.scores).unwrap().iter().all(|score| *score == -1e30));
    assert_eq!(gpu.read::<u32>(&state.all_finished).unwrap(), [1]);
    let parents: Vec<u32> = gpu.read(&state.parents).unwrap();
    assert!(parents.iter().enumerate().all(|(row, parent)| row as u32 == *parent), "{parents:?}");
    for ended in gpu.read::<f32>(&state.ended_scores).unwrap().chunks(16) {
        assert!((ended[0] + 3f32.ln()).abs() < 1e-6 && ended[1..].iter().all(|score| *score == -1e30), "{ended:?}");
    }
}

/// Drivers on the CPU cut loops short without a word.
#[test]
fn vocabularies_that_a_cpu_driver_would_cut_short_are_refused() {
    let gpu = common::gpu();
    let sampling = Rule::Sample(Sampling { temperature: 1.0, top_k: 5, top_p: 0.5 });
    let plain = BeamSearch { beam: 16, classes: 200_000, capacity: 1, ..BeamSearch::default() };
    for shape in [plain, BeamSearch { rule: sampling, ..plain }] {
        let search = Search::new(gpu, shape);
        let (logits, scratch) =
            (common::poisoned(gpu, shape.rows() * shape.classes), common::poisoned(gpu, shape.scratch()));
        let result = search.record(&mut Recorder::new(gpu, "test"), &logits, &scratch);
        assert_eq!(gpu.class() == AdapterClass::Cpu, matches!(result, Err(Error::Limit { .. })), "{result:?}");
    }
}

#[test]
fn refuses_wrong_shapes_and_beams() {
    let gpu = common::gpu();
    let mut found =
        Search::new(gpu, BeamSearch { sentences: 1, beam: 2, classes: 4, capacity: 2, ..BeamSearch::default() });
    let search = found.search;
    let (logits, scratch) = (common::poisoned(gpu, 8), common::poisoned(gpu, 100_000));
    let mut recorder = Recorder::new(gpu, "test");
    for search in [
        BeamSearch { beam: 17, ..search },
        BeamSearch { beam: 0, ..search },
        BeamSearch { classes: 2, ..search },
        BeamSearch { sentences: 2, ..search },
        BeamSearch { capacity: 3, ..search },
        BeamSearch { positions: true, ..search },
        BeamSearch { rule: Rule::Best { length_penalty: f32::NAN, asked: 1 }, ..search },
        BeamSearch { rule: Rule::Best { length_penalty: 0.0, asked: 3 }, ..search },
        BeamSearch { rule: Rule::Sample(Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 }), ..search },
        BeamSearch { rule: Rule::Sample(Sampling { temperature: 1.0, top_k: 0, top_p: 1.5 }), ..search },
        // The state was not made for samples.
        BeamSearch { rule: Rule::Sample(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }), ..search },
    ] {
        found.search = search;
        let result = found.record(&mut recorder, &logits, &scratch);
        assert!(matches!(result, Err(Error::Shape { .. })), "{search:?}: {result:?}");
    }
}
