//! What a run is told of its teachers.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::Teachers;
use crate::{
    Error, Result,
    generate::difference,
    model::{Limits, Model, TokenModel, WEIGHTS, checksum},
    names::setting,
    text::escaped,
};

/// Models that a run learns from beside its data: word-level distillation (Kim and Rush 2016, section 3.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// Their folders: one, or an ensemble.
    #[serde(serialize_with = "as_texts")]
    pub models: Vec<PathBuf>,
    /// What the mean of their distributions counts beside the data, from 0 to 1.
    pub weight: f32,
}

fn as_texts<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.display().to_string()))
}

impl Distillation {
    /// The weight where nobody asks for another: as much as the data.
    pub const WEIGHT: f32 = 0.5;

    /// Checks what can be checked without a device.
    ///
    /// # Errors
    /// [`Error::Data`] naming the field.
    pub(super) fn check(&self) -> Result<()> {
        if self.models.is_empty() {
            return Err(Error::data(setting("teacher"), "names no model"));
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(Error::data(setting("teacher_weight"), format!("{} is not from 0 to 1", self.weight)));
        }
        Ok(())
    }

    /// The checksums of all parameters that teach.
    ///
    /// # Errors
    /// [`Error::Io`] for files that cannot be read.
    pub(super) fn checksum(&self) -> Result<String> {
        let sums = self.models.iter().map(|folder| checksum(&folder.join(WEIGHTS)));
        Ok(sums.collect::<Result<Vec<_>>>()?.join(" "))
    }

    /// Loads the teachers of a model that is trained in `folder` on texts of up to `longest` tokens.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] for a folder that holds no model, or one that cannot teach this model.
    pub(super) fn load(&self, student: &Model, folder: &Path, longest: usize) -> Result<Teachers> {
        let load = |path: &PathBuf| {
            let teacher = Model::load(&student.gpu, path)?;
            match obstacle(&teacher, student, longest) {
                Some(why) => {
                    let folder = escaped(&folder.display().to_string());
                    Err(Error::data(path.display().to_string(), format!("cannot teach the model of {folder}: {why}")))
                }
                None => Ok(TokenModel::from(&teacher)),
            }
        };
        Ok(Teachers::new(self.models.iter().map(load).collect::<Result<_>>()?, self.weight))
    }
}

/// Why a model cannot teach another one, if it cannot.
fn obstacle(teacher: &Model, student: &Model, longest: usize) -> Option<String> {
    let [its, own] = [teacher, student].map(|model| model.network.limits());
    if its.reads_source() != own.reads_source() {
        let reads = |limits: Limits| if limits.reads_source() { "reads sources" } else { "reads none" };
        return Some(format!("it {}, and that one {}", reads(its), reads(own)));
    }
    for (side, own, its) in [("target", &student.target, &teacher.target), ("source", &student.source, &teacher.source)]
    {
        if let Some(difference) = difference(own, its) {
            let option = setting(if side == "target" { "target_tokens" } else { "source_tokens" });
            return Some(format!(
                "its {side} vocabulary is another one, {difference}. Give {option} the teacher's {side}.tokenizer.json"
            ));
        }
    }
    let alike = teacher.network.shares_targets(student.network.as_ref());
    if !alike || (its.specials, its.padding) != (own.specials, own.padding) {
        return Some("the two have other special tokens, or room for more".to_owned());
    }
    (its.max_length < longest).then(|| {
        let option = setting("max_length");
        format!("it takes {} tokens, and texts here have up to {longest}; a smaller {option} helps", its.max_length)
    })
}
