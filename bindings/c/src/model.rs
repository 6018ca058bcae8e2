//! A model folder: loaded, and asked.

use std::ffi::{CString, c_char};

use softalign::{
    Error,
    generate::{Generator, Scorer, SearchOptions},
    model,
    text::Pair,
};

use crate::{
    device::Gpu,
    pointers::{give, object, object_mut, take, text},
    status::{Status, call, free},
};

/// A model with its tokenizers, on a device.
pub struct Model {
    model: model::Model,
    generator: Generator,
    scorer: Scorer,
}

/// Loads a model folder, as `softalign train` and `softalign import` write it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_load(gpu: *const Gpu, folder: *const c_char, model: *mut *mut Model) -> Status {
    call(|| unsafe {
        let (Gpu(gpu), folder) = (object(gpu, "gpu")?, text(folder, "folder")?);
        give(model, || {
            let model = model::Model::load(gpu, folder)?;
            let generator = Generator::new(&model);
            Ok(Model { scorer: generator.scorer(), generator, model })
        })
    })
}

/// Frees a model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_model_free(model: *mut Model) {
    free(|| drop(unsafe { take(model) }));
}

/// The best text that a search with a beam of this width, 1 to 64, finds for a source; a language model continues it. `score`, which
/// may be NULL, is the sum of the tokens' log-probabilities. The text must not be written to, and is
/// freed by `softalign_text_free`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_generate(
    model: *mut Model,
    source: *const c_char,
    beam: usize,
    generated: *mut *mut c_char,
    score: *mut f32,
) -> Status {
    call(|| unsafe {
        let (Model { model, generator, .. }, source) = (object_mut(model, "model")?, text(source, "source")?);
        let place = object_mut(generated, "generated")?;
        let prompt = model.prompt(source)?;
        let found = generator.generate_behind(&[prompt.source], &[prompt.prefix], &SearchOptions::beam(beam))?;
        let best = found.into_iter().flatten().next().unwrap_or_default();
        let written = CString::new(model.text(source, &best.tokens)?)
            .map_err(|_| Error::data("the generated text", "holds a zero, at which a text of C ends"))?;
        if let Some(score) = score.as_mut() {
            *score = best.score;
        }
        *place = written.into_raw();
        Ok(())
    })
}

/// Frees a text that `softalign_generate` gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_text_free(generated: *mut c_char) {
    free(|| {
        if !generated.is_null() {
            drop(unsafe { CString::from_raw(generated) });
        }
    });
}

/// The log-probability of a target, its end included, given its source; a language model has an empty one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn softalign_score(
    model: *mut Model,
    source: *const c_char,
    target: *const c_char,
    log_probability: *mut f64,
) -> Status {
    call(|| unsafe {
        let Model { model, scorer, .. } = object_mut(model, "model")?;
        let place = object_mut(log_probability, "log_probability")?;
        let pair = Pair::new(text(source, "source")?, text(target, "target")?);
        let found = scorer.score(&[model.scored(&pair)?])?;
        *place = found.iter().map(|found| found.log_probability).sum();
        Ok(())
    })
}
