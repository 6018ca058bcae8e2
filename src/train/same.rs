//! Whether the run that a folder holds is the one that is asked for. Content decides, not where it lies.

use std::path::Path;

use super::{
    Data, Decay, TrainOptions,
    checkpoint::Saved,
    corpus::{ALIGNMENT, FROM, SOURCE_TOKENS, TARGET_TOKENS, TEACHER, TRAIN, VALID},
};
use crate::{
    Result,
    model::{Metadata, checksum},
    names::setting,
    text::{TokenUnit, escaped},
};

/// What two runs differ in: of the one in a folder what it was told and has saved, of the other what it is told and has read.
/// Neither the places of files nor the length of a learning rate's decay makes another run.
///
/// # Errors
/// [`crate::Error::Io`] for a file that cannot be read.
pub(super) fn difference(
    (told, saved): (&TrainOptions, Option<&Saved>),
    (options, sums): (&TrainOptions, &Metadata),
) -> Result<Option<String>> {
    let known = saved.map(|saved| &saved.sums).filter(|sums| !sums.is_empty());
    let mut there = told.clone();
    there.data = options.data.clone();
    // It decides which model is the best, and no parameter; runs of 0.1.0 do not say it.
    there.group_references = options.group_references;
    if let (Some(there), Some(here)) = (&mut there.guided_alignment, &options.guided_alignment) {
        there.file.clone_from(&here.file);
    }
    let same = |name| known.zip(sums.get(name)).is_some_and(|(known, sum)| known.get(name) == Some(sum));
    if same(FROM) && there.from.is_some() && options.from.is_some() {
        there.from.clone_from(&options.from);
    }
    if let (true, Some(there), Some(here)) = (same(TEACHER), &mut there.teacher, &options.teacher) {
        there.models.clone_from(&here.models);
    }
    if lengths(there.schedule.decay, options.schedule.decay).is_some() {
        there.schedule.decay = options.schedule.decay;
    }
    for (name, there, here) in [
        (SOURCE_TOKENS, &mut there.source_unit, &options.source_unit),
        (TARGET_TOKENS, &mut there.target_unit, &options.target_unit),
    ] {
        if same(name) && matches!((&*there, here), (TokenUnit::File(_), TokenUnit::File(_))) {
            there.clone_from(here);
        }
    }
    if &there != options {
        return Ok(Some(first(&there, options)));
    }
    let changed = match (saved, known) {
        // A run that has saved nothing yet begins anew, whatever it had read.
        (None, _) => None,
        (Some(_), Some(known)) => {
            let data = [TRAIN, VALID, ALIGNMENT, TEACHER].into_iter().find(|name| known.get(*name) != sums.get(*name));
            // A tokenizer's file may be gone: the run's folder has what it told.
            let told = |name: &&str| known.get(*name).zip(sums.get(*name)).is_some_and(|(known, sum)| known != sum);
            data.or_else(|| [SOURCE_TOKENS, TARGET_TOKENS, FROM].into_iter().find(told))
        }
        (Some(saved), None) => changed_by_path((told, &saved.data), options)?,
    };
    Ok(changed.map(|name| {
        let path = files(options).find(|(file, _)| *file == name).map(|(_, path)| path.display().to_string());
        format!("{} has other content", path.map_or_else(|| setting(name), |path| escaped(&path)))
    }))
}

/// The data that differ from those of a run of 0.1.0, which knows them by the checksums of their files, by path; of a pipe it
/// knows the path alone.
fn changed_by_path((told, old): (&TrainOptions, &Metadata), options: &TrainOptions) -> Result<Option<&'static str>> {
    if !matches!((&told.data, &options.data), (Data::Files { .. }, Data::Files { .. })) && told.data != options.data {
        return Ok(Some(TRAIN));
    }
    for ((name, before), (_, now)) in files(told).zip(files(options)) {
        let same = match old.get(&before.display().to_string()).filter(|_| now.is_file()) {
            Some(sum) => checksum(now)? == *sum,
            None => before == now,
        };
        if !same {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The files of a run's data, each with the name of its checksum.
fn files(options: &TrainOptions) -> impl Iterator<Item = (&'static str, &Path)> {
    let texts = match &options.data {
        Data::Files { train, valid } | Data::Questions { train, valid } => {
            vec![(TRAIN, train.as_path()), (VALID, valid)]
        }
        Data::Text { train, valid } => {
            [(TRAIN, train.as_path())].into_iter().chain(valid.iter().map(|valid| (VALID, valid.as_path()))).collect()
        }
        Data::Task(_) | Data::Pairs(_) => Vec::new(),
    };
    texts.into_iter().chain(options.guided_alignment.iter().map(|guide| (ALIGNMENT, guide.file.as_path())))
}

/// The first option that differs.
fn first(found: &TrainOptions, wanted: &TrainOptions) -> String {
    // By way of the text: a value made directly would show 0.1 as 0.10000000149011612.
    let value = |options| serde_json::from_str(&serde_json::to_string(options)?);
    let (found, wanted) = (value(found), value(wanted));
    let (Ok(serde_json::Value::Object(found)), Ok(serde_json::Value::Object(wanted))) = (found, wanted) else {
        return "other options".into();
    };
    let show = |value: Option<&serde_json::Value>| match value {
        // An option with its default value may be missing from the file.
        None => "the default".to_owned(),
        Some(serde_json::Value::Null) => "not set".to_owned(),
        Some(value) => escaped(&value.to_string()),
    };
    let differing = found.keys().chain(wanted.keys()).find(|name| found.get(*name) != wanted.get(*name));
    differing.map_or_else(
        || "other options".into(),
        |name| format!("{name} is {} there and {} here", show(found.get(name)), show(wanted.get(name))),
    )
}

/// The epochs at which two decays of one kind end, where these differ.
pub(super) fn lengths(told: Decay, wanted: Decay) -> Option<[u64; 2]> {
    match (told, wanted) {
        (Decay::Linear { epochs: old }, Decay::Linear { epochs: new })
        | (Decay::Cosine { epochs: old }, Decay::Cosine { epochs: new }) => (old != new).then_some([old, new]),
        _ => None,
    }
}
