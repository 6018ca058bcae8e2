//! `tokenizer.json` files from elsewhere, renumbered so that our specials come first.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{SPECIALS, UNK, UNKNOWN};

/// Changes a `tokenizer.json` so that ids 0 to 3 are [`SPECIALS`] and the other tokens follow in their old order, without
/// gaps. Its own unknown token becomes `<unk>`; its other special tokens stay, as tokens that no text has.
///
/// `None` where the file is not laid out as its format says.
pub(super) fn renumber(json: &mut Value) -> Option<()> {
    let model = json.get_mut("model")?.as_object_mut()?;
    let unknown = unknown(model);
    let unknown = unknown.as_deref();
    let mut ids: HashMap<String, u64> = SPECIALS.iter().map(|special| (*special).to_owned()).zip(0..).collect();
    match model.get_mut("vocab")? {
        Value::Object(vocab) => {
            let mut tokens: Vec<(u64, String)> =
                vocab.iter().map(|(token, id)| Some((id.as_u64()?, token.clone()))).collect::<Option<_>>()?;
            tokens.sort_unstable();
            tokens.into_iter().for_each(|(_, token)| number(&mut ids, &token, unknown));
            *vocab = ids.iter().map(|(token, id)| (token.clone(), json!(id))).collect();
            model.insert("unk_token".into(), json!(UNKNOWN));
        }
        Value::Array(vocab) => {
            let mut scores: HashMap<String, f64> = HashMap::new();
            for piece in vocab.iter() {
                let token = piece.get(0)?.as_str()?;
                number(&mut ids, token, unknown);
                scores.entry(name(token, unknown).to_owned()).or_insert(piece.get(1)?.as_f64()?);
            }
            let mut pieces: Vec<_> = ids.iter().collect();
            pieces.sort_unstable_by_key(|(_, id)| **id);
            let score = |token: &String| scores.get(token).copied().unwrap_or(0.0);
            *vocab = pieces.into_iter().map(|(token, _)| json!([token, score(token)])).collect();
            model.insert("unk_id".into(), json!(UNK));
        }
        _ => return None,
    }
    let mut added: Vec<Value> = json.get("added_tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    added.sort_by_key(|token| token.get("id").and_then(Value::as_u64));
    added.retain(|token| {
        let content = token.get("content").and_then(Value::as_str);
        content.is_some_and(|content| !SPECIALS.contains(&name(content, unknown)))
    });
    for token in &mut added {
        let content = token.get("content")?.as_str()?.to_owned();
        number(&mut ids, &content, unknown);
        *token.get_mut("id")? = json!(ids.get(&content)?);
    }
    let specials = SPECIALS.iter().zip(0..).map(|(token, id)| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    });
    let json = json.as_object_mut()?;
    json.insert("added_tokens".into(), specials.chain(added).collect());
    // The post-processor puts special tokens around a text, by their old ids; the model adds its own.
    json.insert("post_processor".into(), Value::Null);
    Some(())
}

/// The token that the file itself has for what its vocabulary lacks.
pub(super) fn unknown(model: &Map<String, Value>) -> Option<String> {
    let by_name = model.get("unk_token").and_then(Value::as_str);
    let by_id = || model.get("vocab")?.get(usize::try_from(model.get("unk_id")?.as_u64()?).ok()?)?.get(0)?.as_str();
    by_name.or_else(by_id).map(str::to_owned)
}

fn name<'a>(token: &'a str, unknown: Option<&str>) -> &'a str {
    if Some(token) == unknown { UNKNOWN } else { token }
}

/// Gives the token the next id, if it has none.
fn number(ids: &mut HashMap<String, u64>, token: &str, unknown: Option<&str>) {
    let next = ids.len() as u64;
    ids.entry(name(token, unknown).to_owned()).or_insert(next);
}
