//! The sizes that the shapes of a `state_dict` tell of modules that are named.

use serde_json::{Value, json};

use super::{Config, Stack};
use crate::{
    Error, Result,
    model::{Network, Shapes, kind::Settings, settings::in_place_of},
};

/// The stack whose `state_dict` has these shapes.
pub(super) fn from_shapes(shapes: &Shapes, stated: &Settings) -> Result<Network> {
    let layers = stated.get("layers").and_then(Value::as_array).ok_or_else(|| {
        let message = "what is said of its model: `layers` is missing, the list of a stack's modules from below";
        Error::data(&shapes.map, message)
    })?;
    let layers = layers.iter().map(|layer| sized(layer, shapes)).collect::<Result<Vec<_>>>()?;
    let mut stated = stated.clone();
    stated.insert("layers".to_owned(), layers.into());
    let config = in_place_of(&Config::new(Vec::new()), &stated, &shapes.map)?;
    Ok(Stack::from_settings(config, &shapes.map)?)
}

/// A module with the arguments that its tensors tell, where they are not stated.
fn sized(layer: &Value, shapes: &Shapes) -> Result<Value> {
    let wrong = |message: String| Error::data(&shapes.map, message);
    let fields = layer.as_object().ok_or_else(|| wrong(format!("`layers` holds {layer}, which is no module")))?;
    let field = |name: &str| fields.get(name).and_then(Value::as_str);
    let (Some(module), Some(name)) = (field("module"), field("name")) else {
        return Err(wrong(format!("a module has a `module`, its class, and a `name`, and {layer} lacks one")));
    };
    let mut all = arguments(module, name, shapes)?;
    if let Some(told) = all.as_object_mut() {
        told.extend(fields.clone());
    }
    Ok(all)
}

/// What the tensors of a module tell.
fn arguments(module: &str, name: &str, shapes: &Shapes) -> Result<Value> {
    let has = |part: &str| shapes.has(&format!("{name}.{part}"));
    let matrix = |part: &str| shapes.of::<2>(&format!("{name}.{part}"));
    Ok(match module {
        "Embedding" => {
            let [num_embeddings, embedding_dim] = matrix("weight")?;
            json!({"num_embeddings": num_embeddings, "embedding_dim": embedding_dim})
        }
        "GRU" => {
            let [gates, input_size] = matrix("weight_ih_l0")?;
            json!({
                "input_size": input_size, "hidden_size": gates / 3, "bias": has("bias_ih_l0"),
                "num_layers": shapes.layers(&format!("{name}.weight_ih_l"))?, "bidirectional": has("weight_ih_l0_reverse"),
            })
        }
        "GRUCell" => {
            let [gates, input_size] = matrix("weight_ih")?;
            json!({"input_size": input_size, "hidden_size": gates / 3, "bias": has("bias_ih")})
        }
        "Linear" => {
            let [out_features, in_features] = matrix("weight")?;
            json!({"in_features": in_features, "out_features": out_features, "bias": has("bias")})
        }
        "LayerNorm" => {
            let [normalized_shape] = shapes.of(&format!("{name}.weight"))?;
            json!({"normalized_shape": normalized_shape, "eps": 1e-5, "bias": has("bias")})
        }
        "MultiheadAttention" => {
            let [_, embed_dim] = matrix("in_proj_weight")?;
            json!({"embed_dim": embed_dim, "bias": has("in_proj_bias")})
        }
        // What reads it says which modules there are.
        _ => json!({}),
    })
}
