//! Whether one model can teach another: it reads the same batches, and tells the same things apart.

use std::{mem::discriminant, path::Path};

use super::TrainOptions;
use crate::{
    generate::difference,
    model::{Answers, Learns, Model, SOURCE, Specials, TARGET},
    names::setting,
    text::{Tokenizer, escaped},
};

/// A model that is to learn from others.
#[derive(Clone, Copy)]
pub(super) struct Student<'a> {
    pub model: &'a Model,
    /// What its run is told.
    pub options: &'a TrainOptions,
}

impl Student<'_> {
    /// Why the model in `folder` cannot teach this one, if it cannot, and what helps.
    pub fn obstacle(self, teacher: &Model, folder: &Path) -> Option<String> {
        let obstacle = self.other_work(teacher).or_else(|| self.other_tokens(teacher, folder));
        obstacle.or_else(|| self.other_limits(teacher))
    }

    fn other_work(self, teacher: &Model) -> Option<String> {
        let [its, own] = [teacher, self.model].map(|model| model.network.limits().reads_source());
        if its != own {
            let reads = |sources: bool| if sources { "reads sources" } else { "reads none" };
            return Some(format!("it {}, and that one {}", reads(its), reads(own)));
        }
        let [its, own] = [teacher, self.model].map(|model| model.network.answers());
        // Which token a mask is, the vocabulary says.
        (discriminant(&its) != discriminant(&own))
            .then(|| format!("it answers with {its}, and that one with {own}; a teacher answers with the same"))
    }

    fn other_tokens(self, teacher: &Model, folder: &Path) -> Option<String> {
        let vocabulary = |side: &str, own: &Tokenizer, its: &Tokenizer| {
            let difference = difference(own, its)?;
            Some(format!("its {side} vocabulary is another one, {difference}. {}", self.remedy(teacher, folder)))
        };
        let own = self.model;
        let targets = match own.network.answers() {
            Answers::Classes => strangers(&own.target, &teacher.target),
            // Places in sources have no vocabulary.
            Answers::Spans => None,
            _ => vocabulary("target", &own.target, &teacher.target),
        };
        let obstacle = targets.or_else(|| vocabulary("source", &own.source, &teacher.source));
        let [its, own] = [teacher, own].map(|model| model.source.framing());
        let framed = || {
            let why = format!("its sources are read as {its}, and those of that one as {own}");
            let reads = self.model.network.limits().reads_source();
            (reads && its != own).then(|| format!("{why}; take a teacher that reads the same"))
        };
        obstacle.or_else(framed)
    }

    fn other_limits(self, teacher: &Model) -> Option<String> {
        let own = self.model.network.limits();
        let its = teacher.network.limits();
        let alike = teacher.network.shares_targets(self.model.network.as_ref());
        if !alike || (its.specials, its.padding) != (own.specials, own.padding) {
            return Some("the two have other special tokens, or room for more".to_owned());
        }
        let longest = self.options.longest(own);
        (its.max_length < longest).then(|| {
            let helps = if self.options.from.is_some() && self.options.learns_text() {
                "take a teacher of longer texts".to_owned()
            } else {
                format!("a smaller {} helps", setting("max_length"))
            };
            format!("it takes {} tokens, and texts here have up to {longest}; {helps}", its.max_length)
        })
    }

    /// What helps where a teacher has other vocabularies.
    fn remedy(self, teacher: &Model, folder: &Path) -> String {
        if let Some(from) = &self.options.from {
            let from = escaped(&from.display().to_string());
            return format!("This run keeps the vocabularies of {from}, and takes teachers that have the same");
        }
        if teacher.network.limits().specials != Specials::FIRST {
            // Plain text is no pairs.
            let otherwise = match self.options.learns_text() {
                true => "",
                false => ". Any other learns from what `softalign generate --pairs` writes with it",
            };
            return format!(
                "It keeps the token ids of the program that it came from, and new models have ids of their own: it teaches those \
                 that begin ({}) with a model of its tokenizer{otherwise}",
                setting("from")
            );
        }
        let files: &[_] = match self.options.learns() {
            Some(Learns::Classes | Learns::Spans) => &[("source_tokens", SOURCE)],
            Some(Learns::Text | Learns::Masked) => &[("target_tokens", TARGET)],
            _ => &[("source_tokens", SOURCE), ("target_tokens", TARGET)],
        };
        let given = files.iter().map(|(option, file)| {
            let path = escaped(&folder.join(file).display().to_string());
            format!("{} {path}", setting(option))
        });
        let given = given.collect::<Vec<_>>().join(" ");
        let shared = if self.options.shared_vocabulary {
            format!(" without {}", setting("shared_vocabulary"))
        } else {
            String::new()
        };
        format!("A new model has the same with {given}{shared}")
    }
}

/// The class that one of two vocabularies of classes has and the other does not, if there is one.
fn strangers(own: &Tokenizer, its: &Tokenizer) -> Option<String> {
    let names = |classes: &Tokenizer| classes.words().into_iter().map(|id| classes.piece(id)).collect::<Vec<_>>();
    let [own, its] = [own, its].map(names);
    let lacks = |one: &[String], all: &[String]| all.iter().find(|name| !one.contains(name)).map(|name| escaped(name));
    let unknown = lacks(&its, &own).map(|class| format!("it does not know the class `{class}`"));
    let unknown = unknown
        .or_else(|| lacks(&own, &its).map(|class| format!("it knows the class `{class}`, and there is none here")));
    unknown.map(|why| format!("{why}; the two learn from data of the same classes"))
}

/// The teacher's id of each of the student's classes, where some have another one.
pub(super) fn order(own: &Tokenizer, its: &Tokenizer) -> Option<Vec<u32>> {
    let its: Vec<_> = its.words().into_iter().map(|id| (its.piece(id), id)).collect();
    let mut order: Vec<u32> = (0..own.size() as u32).collect();
    for id in own.words() {
        let name = own.piece(id);
        let found = its.iter().find(|(other, _)| *other == name);
        if let (Some(place), Some((_, there))) = (order.get_mut(id as usize), found) {
            *place = *there;
        }
    }
    order.iter().zip(0..).any(|(there, id)| *there != id).then_some(order)
}
