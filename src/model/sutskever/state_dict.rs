//! The sizes that the shapes of a `state_dict` tell.

use super::{Config, Sutskever};
use crate::{
    Result,
    model::{Network, Shapes, kind::Settings, settings::in_place_of},
};

/// The model whose `state_dict` has these shapes.
pub(super) fn from_shapes(shapes: &Shapes, stated: &Settings) -> Result<Network> {
    let [source_vocabulary, embedding] = shapes.of("encoder.embedding.weight")?;
    let [target_vocabulary, hidden] = shapes.of("output.weight")?;
    let layers = shapes.layers("encoder.gru.weight_ih_l")?;
    let config = Config { embedding, hidden, layers, ..Config::new(source_vocabulary, target_vocabulary) };
    Ok(Sutskever::from_settings(in_place_of(&config, stated, &shapes.map)?, &shapes.map)?)
}
