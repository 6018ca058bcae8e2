//! Generation: greedy search step by step against the CPU reference, beams against every text there is, samples, order,
//! lengths, alignments.

use crate::common::{
    self,
    generation::{Reference, Space, model, model_on, same, sources},
};
use softalign::{
    Error, Gpu, GpuOptions,
    generate::{Generator, Hypothesis, Sampling, SearchOptions, replace_unknown},
    gpu::Counters,
    model::{
        Model, Readout,
        bahdanau::{Bahdanau, Config},
    },
    text::{EOS, TokenUnit, Tokenizer, UNK},
};

#[test]
fn a_beam_of_one_is_a_greedy_search() {
    let portable = common::portable();
    for (gpu, readout, layers, seed) in [
        (common::gpu(), Readout::Tanh, 1, 3),
        (common::gpu(), Readout::None, 2, 4),
        (portable, Readout::None, 1, 5),
        (portable, Readout::Tanh, 1, 6),
    ] {
        let model = model_on(gpu, [14, 9], 21, readout, layers, seed);
        let reference = Reference::new(&model);
        let space = Space::new([&reference], SearchOptions::default());
        let mut generator = Generator::new(&model);
        // One alone, a few and more than are decoded at once come in other shapes; contexts of long sources are made, of short ones not.
        for (count, longest) in [(1, 21), (7, 21), (12, 21), (1, 4), (7, 4)] {
            let sources = sources(count, 14, longest);
            let found = generator.generate(&sources, &SearchOptions::beam(1)).unwrap();
            assert_eq!(found.len(), count);
            for (source, found) in sources.iter().zip(found) {
                let wanted = space.greedy(source);
                assert!(found.len() == 1 && same(&found[0], &wanted), "{source:?}: {found:?}, {wanted:?}");
            }
        }
    }
}

/// All texts that a beam has found.
fn all_of(beam: usize) -> SearchOptions {
    SearchOptions { n_best: beam, ..SearchOptions::beam(beam) }
}

#[test]
fn a_wide_beam_finds_the_best_of_all_texts() {
    // Four tokens can be chosen (the end, the unknown and two letters), three times: a beam of 16 loses nothing.
    let model = model(8, 6, 3, Readout::Tanh, 1, 5);
    let reference = Reference::new(&model);
    let sources = sources(5, 8, 3);
    let found = Generator::new(&model).generate(&sources, &all_of(16)).unwrap();
    for (source, found) in sources.iter().zip(found) {
        let wanted = Space::new([&reference], all_of(16)).all(source);
        assert_eq!(found.len(), 16);
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!(same(found, wanted), "{source:?}: {found:?}, {wanted:?}");
        }
    }
    // A beam is never worse than greedy search here, and its hypotheses are in order.
    let greedy = Generator::new(&model).generate(&sources, &SearchOptions::beam(1)).unwrap();
    let beam = Generator::new(&model).generate(&sources, &all_of(4)).unwrap();
    for (greedy, beam) in greedy.iter().zip(&beam) {
        assert!(beam[0].score >= greedy[0].score - 1e-5);
        assert!(beam.is_sorted_by(|a, b| a.score >= b.score));
    }
}

/// What can be asked for beside a beam, alone and together, with prefixes.
fn wishes() -> Vec<(SearchOptions, Vec<u32>)> {
    let plain = SearchOptions { attended: true, ..SearchOptions::default() };
    vec![
        (SearchOptions { length_penalty: 0.6, ..plain.clone() }, vec![]),
        (SearchOptions { length_penalty: 3.0, attended: false, ..plain.clone() }, vec![4]),
        (SearchOptions { coverage_penalty: 0.4, attended: false, ..plain.clone() }, vec![]),
        (SearchOptions { coverage_penalty: 0.4, length_penalty: 1.0, ..plain.clone() }, vec![3, 4]),
        (SearchOptions { min_length: 2, ..plain.clone() }, vec![]),
        (SearchOptions { max_length: Some(2), min_length: 1, ..plain.clone() }, vec![]),
        (SearchOptions { no_repeat_ngram: 1, ..plain.clone() }, vec![3]),
        (SearchOptions { forbid_unknown: true, ..plain.clone() }, vec![3]),
        (SearchOptions { no_repeat_ngram: 2, length_penalty: 1.0, ..plain.clone() }, vec![]),
        (SearchOptions { no_repeat_ngram: 1, min_length: 1, coverage_penalty: 0.2, ..plain }, vec![]),
    ]
}

#[test]
fn every_option_finds_the_best_of_all_texts_alone_and_in_ensembles() {
    // Three tokens can be chosen, three times: fifteen texts, all of which a beam of 16 holds.
    let models = [4, 6, 9].map(|seed| model(8, 5, 3, Readout::Tanh, 1, seed));
    let references = models.each_ref().map(Reference::new);
    let sources = sources(4, 8, 3);
    for members in [1, 3] {
        let [first, others @ ..] = &models;
        let mut generator =
            if members == 1 { Generator::new(first) } else { Generator::ensemble(first, others).unwrap() };
        for (wish, prefix) in wishes() {
            let options = SearchOptions { beam: 16, n_best: 16, ..wish };
            let space = Space { prefix: prefix.clone(), ..Space::new(&references[..members], options.clone()) };
            let prefixes = vec![prefix; if space.prefix.is_empty() { 0 } else { sources.len() }];
            let found = generator.generate_behind(&sources, &prefixes, &options).unwrap();
            for (source, found) in sources.iter().zip(found) {
                let wanted = space.all(source);
                let all_same = found.iter().zip(&wanted).all(|(found, wanted)| same(found, wanted));
                let complete =
                    found.iter().all(|found| found.attended.is_empty() != options.attended || found.tokens.is_empty());
                assert!(
                    found.len() == wanted.len() && all_same && complete,
                    "{members} members, {options:?}, {:?} {source:?}: {found:#?}, {wanted:#?}",
                    space.prefix
                );
            }
            // One text alone may be settled earlier; it is the same.
            let best = generator.generate_behind(&sources, &prefixes, &SearchOptions { n_best: 1, ..options }).unwrap();
            for (source, best) in sources.iter().zip(best) {
                assert!(best.len() == 1 && same(&best[0], &space.all(source)[0]), "{source:?}: {best:?}");
            }
        }
    }
}

#[test]
fn every_option_holds_in_greedy_search() {
    let models = [3, 5].map(|seed| model(14, 9, 21, Readout::Tanh, 1, seed));
    let references = models.each_ref().map(Reference::new);
    let sources = sources(6, 14, 21);
    for members in [1, 2] {
        let mut generator = Generator::ensemble(&models[0], &models[1..members]).unwrap();
        for (wish, prefix) in wishes() {
            let space = Space { prefix: prefix.clone(), ..Space::new(&references[..members], wish.clone()) };
            let prefixes = vec![prefix; sources.len()];
            let found = generator.generate_behind(&sources, &prefixes, &wish).unwrap();
            for (source, found) in sources.iter().zip(found) {
                let wanted = space.greedy(source);
                // A text that nothing is left for is none.
                let present = usize::from(wanted.score > -1e29);
                assert!(
                    found.len() == present && found.iter().all(|found| same(found, &wanted)),
                    "{members} members, {wish:?}, {:?} {source:?}: {found:?}, {wanted:?}",
                    space.prefix
                );
            }
        }
    }
}

/// A sample is the same whatever it is drawn together with, and another for another seed, source or number.
#[test]
fn samples_are_a_matter_of_seed_source_and_number() {
    let model = model(14, 9, 21, Readout::Tanh, 1, 3);
    let reference = Reference::new(&model);
    let mut generator = Generator::new(&model);
    let sources = sources(70, 14, 9);
    let sampling = Some(Sampling { temperature: 1.5, top_k: 0, top_p: 1.0 });
    let options = SearchOptions { n_best: 3, sampling, ..SearchOptions::default() };
    let together = generator.generate(&sources, &options).unwrap();
    assert_eq!(generator.generate(&sources, &options).unwrap(), together);
    for index in [0, 1, 64, 69] {
        let options = SearchOptions { first: index as u64, ..options.clone() };
        let alone = generator.generate(&sources[index..=index], &options).unwrap();
        for (alone, together) in alone[0].iter().zip(&together[index]) {
            assert!(same(alone, together), "{index}: {alone:?}, {together:?}");
        }
    }
    assert!(together.iter().all(|found| found.len() == 3));
    assert!(together.iter().filter(|found| found[0].tokens != found[1].tokens).count() > 40);
    let other = generator.generate(&sources, &SearchOptions { seed: 2, ..options.clone() }).unwrap();
    assert!(other.iter().zip(&together).filter(|(other, found)| other[0].tokens != found[0].tokens).count() > 40);
    // Scores are the model's log-probabilities, whatever the temperature.
    let space = Space::new([&reference], SearchOptions::default());
    for (source, found) in sources.iter().zip(&together).take(5) {
        let encoded = space.encode(source);
        for Hypothesis { tokens, score, finished, .. } in found {
            let text: Vec<u32> = tokens.iter().copied().chain(finished.then_some(EOS)).collect();
            let gain = |at: usize| space.next(&encoded, &text[..at]).0[text[at] as usize];
            let wanted: f64 = (0..text.len()).map(gain).sum();
            assert!((f64::from(*score) - wanted).abs() < 2e-4 * wanted.abs().max(1.0), "{score} {wanted}");
        }
    }
    // One token to choose from is greedy search.
    for sampling in
        [Sampling { top_k: 1, temperature: 1.0, top_p: 1.0 }, Sampling { top_k: 0, temperature: 3.0, top_p: 1e-6 }]
    {
        let options = SearchOptions { sampling: Some(sampling), ..SearchOptions::default() };
        let sampled = generator.generate(&sources, &options).unwrap();
        let greedy = generator.generate(&sources, &SearchOptions::default()).unwrap();
        for (sampled, greedy) in sampled.iter().zip(&greedy) {
            assert!(same(&sampled[0], &greedy[0]), "{sampled:?} {greedy:?}");
        }
    }
}

#[test]
fn an_ensemble_of_one_model_twice_is_that_model() {
    let (model, twin) = (model(14, 9, 21, Readout::None, 2, 3), model(14, 9, 21, Readout::None, 2, 3));
    let sources = sources(12, 14, 21);
    for beam in [1, 3] {
        let alone = Generator::new(&model).generate(&sources, &all_of(beam)).unwrap();
        let both = Generator::ensemble(&model, std::slice::from_ref(&twin)).unwrap().generate(&sources, &all_of(beam));
        for (alone, both) in alone.iter().zip(&both.unwrap()) {
            assert!(alone.len() == both.len() && alone.iter().zip(both).all(|(a, b)| same(a, b)), "{alone:?} {both:?}");
        }
    }
}

#[test]
fn unknown_tokens_become_what_they_attended_to() {
    let model = model(14, 9, 12, Readout::Tanh, 1, 3);
    let mut generator = Generator::new(&model);
    let mut found = |tokens: &[u32], attended: &[u32]| {
        let (tokens, attended) = (tokens.to_vec(), attended.to_vec());
        let hypothesis = Hypothesis { tokens, attended, ..Hypothesis::default() };
        replace_unknown(&mut generator, &model, "xyz", &hypothesis).unwrap()
    };
    assert_eq!(found(&[4, UNK, 5, UNK, UNK], &[0, 2, 1, 0, 1]), "azbxy");
    // Without positions nothing is known.
    assert_eq!(found(&[UNK, 4], &[]), "<unk>a");
    // The source's end is no word: the token that has most of the rest is.
    let ends = found(&[UNK, 4, UNK], &[3, 0, 1]);
    let weights = Generator::new(&model).alignment(&model.encode("xyz").unwrap(), &[UNK, 4, UNK]).unwrap();
    let best = (0..3).max_by(|&one, &other| weights[one].total_cmp(&weights[other])).unwrap();
    assert_eq!(ends, format!("{}ay", ["x", "y", "z"][best]), "{weights:?}");
    assert_eq!(found(&[], &[]), "");
}

/// Tokens that are spelled like the unknown one are no unknown ones.
#[test]
fn unknown_tokens_are_told_by_token_and_not_by_text() {
    let words = |text: &str| Tokenizer::train(&TokenUnit::Words, [text].into_iter(), None).unwrap();
    let network = Bahdanau::new(Config { embedding: 4, hidden: 4, attention: 4, ..Config::new(7, 7) }).unwrap();
    // 4: a<unk>b, 5: c, 6: d.
    let tokenizer = words("a<unk>b a<unk>b a<unk>b c c d");
    let model = Model::new(common::gpu(), network, tokenizer.clone(), tokenizer, 1).unwrap();
    let hypothesis =
        Hypothesis { tokens: vec![4, UNK, 5, UNK, 4], attended: vec![0, 1, 0, 2, 0], ..Hypothesis::default() };
    assert_eq!(
        replace_unknown(&mut Generator::new(&model), &model, "x y <unk>", &hypothesis).unwrap(),
        "a<unk>b y c <unk> a<unk>b"
    );
}

#[test]
fn models_of_different_vocabularies_are_no_ensemble() {
    let first = model(14, 9, 6, Readout::Tanh, 1, 8);
    for (other, parts) in [
        (model(13, 9, 6, Readout::Tanh, 1, 8), ["model 2", "source vocabulary", "13 tokens, not 14"]),
        (model(14, 8, 6, Readout::Tanh, 1, 8), ["model 2", "target vocabulary", "8 tokens, not 9"]),
    ] {
        let error = Generator::ensemble(&first, &[other]).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[test]
fn options_that_cannot_be_followed_are_refused() {
    let model = model(14, 9, 6, Readout::Tanh, 1, 8);
    let mut generator = Generator::new(&model);
    let plain = SearchOptions::default;
    let sampling = |temperature, top_p| Some(Sampling { temperature, top_k: 0, top_p });
    for (wanted, options) in [
        ("n_best", SearchOptions { n_best: 2, ..plain() }),
        ("n_best", SearchOptions { n_best: 0, ..plain() }),
        ("n_best", SearchOptions { n_best: 65, sampling: sampling(1.0, 1.0), ..plain() }),
        ("beam", SearchOptions { beam: 2, sampling: sampling(1.0, 1.0), ..plain() }),
        ("temperature", SearchOptions { sampling: sampling(0.0, 1.0), ..plain() }),
        ("top_p", SearchOptions { sampling: sampling(1.0, 0.0), ..plain() }),
        ("length_penalty", SearchOptions { length_penalty: -1.0, ..plain() }),
        ("coverage_penalty", SearchOptions { coverage_penalty: f32::NAN, ..plain() }),
        ("min_length", SearchOptions { min_length: 6, ..plain() }),
        ("max_length", SearchOptions { max_length: Some(0), ..plain() }),
    ] {
        let error = generator.generate(&[vec![5, EOS]], &options).unwrap_err();
        assert!(matches!(error, Error::Shape { argument, .. } if argument == wanted), "{wanted}: {error}");
    }
    for (prefix, part) in [(vec![4; 6], "at most 6"), (vec![9], "token 9"), (vec![EOS], "token 2")] {
        let error = generator.generate_behind(&[vec![5, EOS]], &[prefix], &plain()).unwrap_err().to_string();
        assert!(error.contains("prefix 1") && error.contains(part), "{error}");
    }
}

#[test]
fn a_beam_wider_than_there_are_texts_returns_those_there_are() {
    let model = model(8, 5, 1, Readout::Tanh, 1, 6);
    // One step over <eos>, <unk> and one letter: three texts.
    let found = Generator::new(&model).generate(&[vec![EOS]], &all_of(8)).unwrap();
    assert_eq!(found[0].len(), 3, "{found:?}");
}

#[test]
fn results_come_in_the_order_of_the_sources() {
    let model = model(14, 9, 21, Readout::Tanh, 1, 7);
    let mut generator = Generator::new(&model);
    let sources = sources(150, 14, 21);
    let together = generator.generate(&sources, &all_of(2)).unwrap();
    assert_eq!(together.len(), sources.len());
    for index in [0, 1, 17, 63, 64, 65, 100, 127, 128, 149] {
        let alone = generator.generate(&sources[index..=index], &all_of(2)).unwrap();
        assert_eq!(alone[0].len(), together[index].len());
        for (alone, together) in alone[0].iter().zip(&together[index]) {
            assert!(same(alone, together), "{index}: {alone:?}, {together:?}");
        }
    }
    assert_eq!(generator.generate(&[], &SearchOptions::beam(2)).unwrap(), Vec::<Vec<Hypothesis>>::new());
    // The same again: the memory of earlier searches leaves no trace.
    assert_eq!(generator.generate(&sources, &all_of(2)).unwrap(), together);
}

/// A search is one submit for the encoder and 16 steps, and one more with a readback for each look at what there is; it stops at
/// the first look that finds all rows finished, makes nothing on its way, and a step is a handful of dispatches: what is not
/// asked for costs none.
#[test]
fn a_search_looks_once_in_16_steps_and_makes_nothing() {
    // A device of its own, for its counters.
    let gpu = &Gpu::open(&GpuOptions::default()).unwrap();
    let of = |readout| [7, 8].map(|seed| model_on(gpu, [14, 9], 40, readout, 1, seed));
    let (with_readout, without) = (of(Readout::Tanh), of(Readout::None));
    let sampling = Some(Sampling { temperature: 1.0, top_k: 5, top_p: 0.9 });
    let plain = SearchOptions::default;
    let adjusted = SearchOptions { no_repeat_ngram: 9, min_length: 1, ..plain() };
    let attended = SearchOptions { attended: true, coverage_penalty: 1.0, ..all_of(3) };
    for (models, longest, members, options, each) in [
        (&with_readout, 21, 1, plain(), GREEDY_STEP),
        (&with_readout, 21, 1, SearchOptions::beam(3), BEAM_STEP),
        (&with_readout, 21, 1, SearchOptions { length_penalty: 1.0, ..all_of(3) }, BEAM_STEP),
        (&with_readout, 21, 1, SearchOptions { n_best: 2, sampling, ..plain() }, GREEDY_STEP),
        (&with_readout, 21, 1, adjusted.clone(), GREEDY_STEP + 1),
        (&with_readout, 21, 1, attended.clone(), BEAM_STEP + 1),
        (&with_readout, 21, 2, plain(), 2 * GREEDY_STEP + 1),
        (&with_readout, 21, 2, SearchOptions::beam(3), 2 * GREEDY_STEP + 2),
        (&with_readout, 4, 1, plain(), GREEDY_STEP - 1),
        (&with_readout, 4, 1, attended.clone(), BEAM_STEP),
        (&with_readout, 4, 2, plain(), 2 * (GREEDY_STEP - 1) + 1),
        (&without, 4, 1, plain(), SHORT_STEP),
        (&without, 4, 1, SearchOptions { n_best: 2, sampling, ..plain() }, SHORT_STEP),
        // Rows that go on from others have their states multiplied apart, and adjusted logits are copied.
        (&without, 4, 1, SearchOptions::beam(3), SHORT_STEP + 2),
        (&without, 4, 1, adjusted, SHORT_STEP + 3),
        (&without, 4, 2, plain(), 2 * (SHORT_STEP + 2) + 1),
    ] {
        // Few rows make no contexts of short sources.
        let sources = sources(if longest == 4 { 1 } else { 12 }, 14, longest);
        let mut generator = Generator::ensemble(&models[0], &models[1..members]).unwrap();
        // Dispatches of 40 steps when no text ends, of which the first look is 16, and those when all end at once.
        let mut dispatches = Vec::new();
        for (end, looks) in [(-1e4, 3), (1e4, 1)] {
            let values: Vec<f32> = (0..9).map(|token| if token == EOS { end } else { 0.0 }).collect();
            for model in models {
                gpu.write(&model.parameters.tensor("output.bias").unwrap(), &values).unwrap();
            }
            generator.generate(&sources, &options).unwrap();
            let before = gpu.counters();
            let found = generator.generate(&sources, &options).unwrap();
            assert!(found.iter().all(|found| found[0].finished == (looks == 1)), "{found:?}");
            let after = gpu.counters();
            dispatches.push((after.dispatches - before.dispatches) as usize);
            // The encoder of each further member is a submit of its own.
            let further = members as u64 - 1;
            let expected = Counters {
                dispatches: after.dispatches,
                submits: before.submits + 2 * looks + further,
                readbacks: before.readbacks + looks,
                waits: after.waits,
                ..before
            };
            assert_eq!(after, expected, "{options:?}");
            assert!(after.waits <= before.waits + looks + 1 + further, "{before:?} {after:?}");
        }
        // A look is counted; where steps make the products of the next one, the first has none.
        let look = if each == SHORT_STEP { 2 } else { 1 };
        assert_eq!(dispatches[0] - dispatches[1], 2 * (16 * each + look), "{members} members, {options:?}");
    }
}

/// Dispatches of a step: query, attention, cell, readout, output layer, choice; for short sources products of the state, attention
/// with the cell, readout, output layer, choice. A beam merges its candidates in another.
const GREEDY_STEP: usize = 6;
const BEAM_STEP: usize = 7;
/// Those for short sources without a readout: attention with the cell, logits with the products for the next step, choice.
const SHORT_STEP: usize = 3;

#[test]
fn sources_that_cannot_be_read_are_refused() {
    let model = model(14, 9, 6, Readout::Tanh, 1, 8);
    let mut generator = Generator::new(&model);
    let good = vec![5, EOS];
    for (bad, part) in [(vec![5; 7], "`max_length`"), (vec![], "source 2"), (vec![99, EOS], "token 99")] {
        let error = generator.generate(&[good.clone(), bad], &SearchOptions::beam(1)).unwrap_err();
        assert!(matches!(error, Error::Data { .. }) && error.to_string().contains(part), "{error}");
    }
    for beam in [0, 65] {
        let error = generator.generate(std::slice::from_ref(&good), &SearchOptions::beam(beam)).unwrap_err();
        assert!(matches!(error, Error::Shape { argument: "beam", .. }), "{error}");
    }
    let error = model.encode("abcdefghij").unwrap_err().to_string();
    assert!(error.contains("abcdefghij") && error.contains("11 tokens") && error.contains("`max_length`"), "{error}");
    assert_eq!(model.encode("ab").unwrap().len(), 3);
}

#[test]
fn alignments_are_distributions_over_the_source() {
    let model = model(14, 9, 12, Readout::Tanh, 1, 9);
    let reference = Reference::new(&model);
    let mut generator = Generator::new(&model);
    for (source, target) in [(vec![4, 5, 6, 7, EOS], vec![4, 8, 5]), (vec![EOS], vec![]), (vec![9, EOS], vec![4])] {
        let weights = generator.alignment(&source, &target).unwrap();
        assert_eq!(weights.len(), (target.len() + 1) * source.len());
        for row in weights.chunks(source.len()) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5 && row.iter().all(|weight| *weight >= 0.0), "{row:?}");
        }
        let (_, wanted) = reference.next(&reference.encode(&source), &target);
        assert!(weights.iter().zip(&wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-5));
    }
}
