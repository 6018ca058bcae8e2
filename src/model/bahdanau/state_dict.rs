//! The sizes that the shapes of a `state_dict` tell.

use super::{Bahdanau, Config};
use crate::{
    Error, Result,
    model::{Network, Readout, Shapes, kind::Settings, settings::in_place_of},
};

/// The model whose `state_dict` has these shapes. It is tied where one of two tables is missing; where both are there, shapes
/// do not tell whether they are one, and the map does.
pub(super) fn from_shapes(shapes: &Shapes, stated: &Settings) -> Result<Network> {
    const WORDS: &str = "decoder.embedding.weight";
    const OUTPUT: &str = "output.weight";
    if stated.keys().any(|field| field.ends_with("specials")) {
        let message = "the special tokens of its vocabularies are not <pad>, <bos>, <eos>, <unk> as 0 to 3, and this architecture has \
                       those alone";
        return Err(Error::data(&shapes.map, message));
    }
    let [source_vocabulary, embedding] = shapes.of("encoder.embedding.weight")?;
    let [attention, hidden] = shapes.of("attention.query.weight")?;
    // A tensor that two layers share is in a safetensors file once.
    let [target_vocabulary, _] = shapes.of(if shapes.has(WORDS) { WORDS } else { OUTPUT })?;
    let mut config = Config {
        embedding,
        hidden,
        attention,
        readout: Readout::None,
        tie_embeddings: !shapes.has(WORDS) || !shapes.has(OUTPUT),
        encoder_layers: shapes.layers("encoder.gru.weight_ih_l")?,
        ..Config::new(source_vocabulary, target_vocabulary)
    };
    if shapes.has("readout.weight") {
        config.readout = Readout::Tanh;
        [config.readout_size, _] = shapes.of("readout.weight")?;
    }
    Ok(Bahdanau::from_settings(in_place_of(&config, stated, &shapes.map)?, &shapes.map)?)
}
