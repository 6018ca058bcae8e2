//! Settings of an architecture as `config.json` holds them, and the checks that all of them share.

use std::ops::RangeInclusive;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::Readout;
use crate::{Error, Result, batch::Specials, kernels::dot_product_attention::LARGEST_SIZE};

/// Far past any adapter, and small enough that products of two sizes cannot overflow.
const LARGEST: usize = 1 << 24;

/// Any size, none too.
pub(super) const COUNT: RangeInclusive<usize> = 0..=LARGEST;
/// Any size but none.
pub(super) const SIZE: RangeInclusive<usize> = 1..=LARGEST;
/// Vocabularies, which hold at least the four special tokens.
pub(super) const VOCABULARY: RangeInclusive<usize> = 4..=LARGEST;
/// Every layer is several parameters, which are listed before any of them is made.
pub(super) const LAYERS: RangeInclusive<usize> = 1..=64;

/// The settings in the text of a `config.json`. `path` names the file in errors.
///
/// # Errors
/// [`Error::Data`] for a text that is not JSON, a field that is missing, unknown or of another type.
pub(super) fn read<C: DeserializeOwned>(text: &str, path: &str) -> Result<C> {
    serde_json::from_str(text).map_err(|error| Error::data(path, format!("not a model's configuration: {error}")))
}

/// The text of a `config.json`.
///
/// # Errors
/// [`Error::Data`] for settings that JSON does not have.
pub(super) fn write<C: Serialize>(config: &C) -> Result<String> {
    serde_json::to_string_pretty(config).map_err(|error| Error::data("config.json", error.to_string()))
}

/// The configuration with the fields `stated` in place of its own. `path` names what states them in errors.
///
/// # Errors
/// [`Error::Data`] for a field that is unknown or of another type.
pub(super) fn in_place_of<C: Serialize + DeserializeOwned>(
    config: &C,
    stated: &Map<String, Value>,
    path: &str,
) -> Result<C> {
    let wrong = |error: serde_json::Error| Error::data(path, format!("what is said of its model: {error}"));
    let own: Map<String, Value> = serde_json::from_str(&write(config)?).map_err(wrong)?;
    let all = own.into_iter().chain(stated.iter().map(|(name, value)| (name.clone(), value.clone())));
    C::deserialize(Value::Object(all.collect())).map_err(wrong)
}

/// Checks the name of the architecture, which may have several in files.
///
/// # Errors
/// [`Error::Data`] that lists the names.
pub(super) fn check_name(path: &str, name: &str, in_files: &[&str]) -> Result<()> {
    if in_files.contains(&name) {
        return Ok(());
    }
    Err(Error::data(path, format!("architecture is `{name}`; here it is {}", in_files.join(" or "))))
}

/// Checks sizes by the names of their fields.
///
/// # Errors
/// [`Error::Data`] naming the first field out of its range.
pub(super) fn check_sizes<const N: usize>(path: &str, sizes: [(&str, usize, RangeInclusive<usize>); N]) -> Result<()> {
    for (field, size, range) in sizes {
        if !range.contains(&size) {
            let (least, most) = range.into_inner();
            return Err(Error::data(path, format!("{field} is {size}; it must be from {least} to {most}")));
        }
    }
    Ok(())
}

/// Checks rates of dropout by the names of their fields.
///
/// # Errors
/// [`Error::Data`] naming the first that is not from 0 to less than 1.
pub(super) fn check_rates<const N: usize>(path: &str, rates: [(&str, f32); N]) -> Result<()> {
    let wrong = rates.into_iter().find(|(_, rate)| !(0.0..1.0).contains(rate));
    wrong.map_or(Ok(()), |(field, rate)| {
        Err(Error::data(path, format!("{field} is {rate}; it must be from 0 to less than 1")))
    })
}

/// Checks that heads share the hidden features evenly.
///
/// # Errors
/// [`Error::Data`] naming both fields.
pub(super) fn check_heads(path: &str, hidden: usize, heads: usize) -> Result<()> {
    if !hidden.is_multiple_of(heads) {
        let message =
            format!("heads is {heads} and hidden {hidden}; heads share hidden evenly, so heads must divide it");
        return Err(Error::data(path, message));
    }
    let size = hidden / heads;
    if size > LARGEST_SIZE {
        let message =
            format!("heads is {heads} and hidden {hidden}, {size} a head; {LARGEST_SIZE} is the most: use more heads");
        return Err(Error::data(path, message));
    }
    Ok(())
}

/// Checks that source and target words that are one table are of one vocabulary.
///
/// # Errors
/// [`Error::Data`] naming the fields.
pub(super) fn check_shared(path: &str, shared: bool, [source, target]: [usize; 2]) -> Result<()> {
    if !shared || source == target {
        return Ok(());
    }
    let message = format!(
        "shared_embeddings makes one table of source and target words, and source_vocabulary is {source}, target_vocabulary \
         {target}; use one vocabulary for both"
    );
    Err(Error::data(path, message))
}

/// Checks that a model without a readout is not asked for another than it has. `what` is the model.
///
/// # Errors
/// [`Error::Data`] naming the architecture.
pub(super) fn check_readout(architecture: &str, readout: Readout, what: &str) -> Result<()> {
    if readout == Readout::Tanh {
        return Ok(());
    }
    let message = format!("{what} has no layer before its output layer to leave out; leave readout as it is");
    Err(Error::data(architecture, message))
}

/// The positions that a model of texts of up to `max_length` learns: batches are padded to lengths that the shapes of a few Programs
/// have, and every place needs a row.
pub(super) fn padded(max_length: usize) -> usize {
    /// A multiple of every length that batches are padded to a multiple of.
    const PADDED: usize = 8;
    max_length.checked_next_multiple_of(PADDED).unwrap_or(max_length)
}

/// Checks what is added to a variance.
///
/// # Errors
/// [`Error::Data`] for a number that is not above 0.
pub(super) fn check_epsilon(path: &str, epsilon: f32) -> Result<()> {
    if epsilon > 0.0 && epsilon.is_finite() {
        return Ok(());
    }
    Err(Error::data(path, format!("epsilon is {epsilon}; it must be above 0")))
}

/// Checks that special tokens are of the vocabulary; one that there is none of is `u32::MAX`.
///
/// # Errors
/// [`Error::Data`] naming the first that is not.
pub(super) fn check_specials(path: &str, specials: Specials, vocabulary: usize) -> Result<()> {
    let Specials { pad, bos, eos, unk } = specials;
    let all = [("pad", pad), ("bos", bos), ("eos", eos), ("unk", unk)];
    let wrong = all.into_iter().find(|(_, id)| *id != u32::MAX && *id as usize >= vocabulary);
    wrong.map_or(Ok(()), |(name, id)| {
        Err(Error::data(path, format!("the special token {name} has id {id}, and the vocabulary {vocabulary} tokens")))
    })
}
