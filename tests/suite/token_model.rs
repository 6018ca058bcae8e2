//! Generation from token ids by models that came as bytes: what the core does without tokenizers and files, against the same model
//! from its folder.

use std::{fs, path::Path};

use softalign::{
    Error,
    generate::{Generator, Hypothesis, Sampling, SearchOptions},
    model::{Kind, Model, ModelOptions, Readout, TokenModel, WEIGHTS, read_tensors, tensors_of, zeros},
};

use crate::common::{self, generation};

/// The text of `config.json` and the bytes of the parameters.
fn files_of(model: &Model, folder: &Path) -> (String, Vec<u8>) {
    model.save(folder).unwrap();
    (fs::read_to_string(folder.join("config.json")).unwrap(), fs::read(folder.join(WEIGHTS)).unwrap())
}

fn is_send<T: Send>(value: T) -> T {
    value
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

/// Alone and in an ensemble, greedy, by a beam behind prefixes and sampled; waited for, awaited and one by one.
#[test]
fn a_model_from_bytes_writes_what_its_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let models = [3, 5].map(|seed| generation::model(12, 12, 20, Readout::Tanh, 1, seed));
    let from_bytes = models.each_ref().map(|model| {
        let (config, weights) = files_of(model, folder.path());
        let loaded = TokenModel::load(&model.gpu, &config, &weights).unwrap();
        assert_eq!(loaded.network.config().unwrap(), config);
        loaded
    });
    let sources = generation::sources(5, 12, 9);
    let prefixes = vec![vec![4, 5]; sources.len()];
    let sampling = Some(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 });
    let [wanted, found] = [
        [Generator::new(&models[0]), Generator::ensemble(&models[0], &models[1..]).unwrap()],
        [Generator::new(&from_bytes[0]), Generator::of_ensemble(&from_bytes[0], &from_bytes[1..]).unwrap()],
    ];
    for (mut wanted, mut found) in wanted.into_iter().zip(found) {
        assert_eq!(wanted.longest(), found.longest());
        let beam = SearchOptions { attended: true, ..SearchOptions::beam(3) };
        let sampled = SearchOptions { sampling, n_best: 2, ..SearchOptions::default() };
        for (options, prefixes) in
            [(SearchOptions::default(), &[][..]), (beam, &prefixes[..]), (sampled, &prefixes[..])]
        {
            let texts: Vec<Vec<Hypothesis>> = wanted.generate_behind(&sources, prefixes, &options).unwrap();
            assert!(texts.iter().flatten().any(|text| !text.tokens.is_empty()));
            assert_eq!(found.generate_behind(&sources, prefixes, &options).unwrap(), texts);
            let future = found.generate_behind_async(&sources, prefixes, &options);
            assert_eq!(pollster::block_on(is_send(future)).unwrap(), texts);
        }
        let greedy = found.generate(&sources[..1], &SearchOptions::default()).unwrap().remove(0).remove(0).tokens;
        let tokens = found.tokens(&sources[0], &SearchOptions::default()).unwrap();
        assert_eq!(tokens.collect::<Result<Vec<_>, _>>().unwrap(), greedy);
        let weights = wanted.alignment(&sources[0], &greedy).unwrap();
        assert_eq!(found.alignment(&sources[0], &greedy).unwrap(), weights);
        assert_eq!(pollster::block_on(found.alignment_async(&sources[0], &greedy)).unwrap(), weights);
    }
}

/// A future that is dropped half-way leaves a generator that works.
#[test]
fn a_search_can_be_abandoned() {
    let model = generation::model(12, 12, 40, Readout::Tanh, 1, 7);
    let (mut generator, options) = (Generator::new(&model), SearchOptions::default());
    let sources = generation::sources(3, 12, 9);
    let wanted = generator.generate(&sources, &options).unwrap();
    for _ in 0..2 {
        let mut future = Box::pin(generator.generate_async(&sources, &options));
        let _ = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        drop(future);
        assert_eq!(generator.generate(&sources, &options).unwrap(), wanted);
    }
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = generation::model(8, 6, 5, Readout::Tanh, 1, 3);
    let (config, weights) = files_of(&model, folder.path());
    let path = folder.path().join(WEIGHTS);
    assert_eq!(tensors_of("bytes", &weights).unwrap(), read_tensors(&path).unwrap());
    let load = |config: &str, weights: &[u8]| refusal(TokenModel::load(&model.gpu, config, weights));

    let mut damaged = weights.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let said = load(&config, &damaged);
    assert!(said.starts_with("model.safetensors: not a whole safetensors file"), "{said}");
    let said = load(&config, &weights[..weights.len() / 2]);
    assert!(said.starts_with("model.safetensors: not a whole safetensors file"), "{said}");
    let said = load("{}", &weights);
    assert!(said.starts_with("config.json: not a model's configuration"), "{said}");
    let other = config.replace("\"max_length\": 5", "\"max_length\": 6");
    assert_ne!(other, config);
    let said = load(&other, &weights);
    assert!(said.starts_with("config.json: is not the file that was saved with model.safetensors"), "{said}");
}

#[test]
fn an_ensemble_has_vocabularies_of_the_same_sizes() {
    let made = |source, target| {
        let options = ModelOptions { embedding: 4, hidden: 4, ..ModelOptions::default() };
        let network = Kind::DEFAULT.make(&options, [source, target]).unwrap();
        let parameters = zeros(common::gpu(), &network.parameters()).unwrap();
        TokenModel { gpu: common::gpu().clone(), network, parameters }
    };
    let first = made(8, 6);
    for other in [made(9, 6), made(8, 7)] {
        let said = refusal(Generator::of_ensemble(&first, &[other]));
        assert!(said.starts_with("model 2 of the ensemble: its vocabularies are not of the sizes"), "{said}");
    }
    let said = refusal(Generator::of_ensemble(&first, &vec![first.clone(); 16]));
    assert!(said.contains("holds 17 models; 16 is the most"), "{said}");
}
