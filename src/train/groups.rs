//! Groups of parameters that an optimiser treats alike, each in buffers of its own.

use std::collections::HashMap;

use super::Rate;
use crate::{Error, Gpu, Result, gpu::Shape, graph::Parameters, model::Architecture};

/// Names that the message about an idle pattern shows.
const SHOWN: usize = 6;

/// What an optimiser does with some parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// Their share of the learning rate.
    pub rate: f32,
    /// Whether weight decay is theirs too.
    pub decays: bool,
}

impl Group {
    /// Parameters that are trained as the optimiser says.
    pub const PLAIN: Self = Self { rate: 1.0, decays: true };
}

/// The groups of a model's parameters.
pub(super) struct Groups {
    /// The group of each parameter by its place in `groups`; that behind the last one is frozen.
    places: HashMap<String, usize>,
    groups: Vec<Group>,
}

impl Groups {
    /// The groups by the last rate that matches each name, times the parameter's own in the model; biases and norms are groups of their
    /// own where weight decay spares them.
    ///
    /// # Errors
    /// [`Error::Data`] for a pattern that no name matches, and if nothing is left to be trained.
    pub fn new(
        rates: &[Rate],
        spares_biases: bool,
        network: &dyn Architecture,
        parameters: &Parameters,
    ) -> Result<Self> {
        let names = parameters.names();
        let own: HashMap<_, _> = network.parameters().into_iter().map(|one| (one.name, one.rate)).collect();
        rates.iter().try_for_each(|rate| check(rate, names))?;
        let group = |name: &String| {
            let rate = rates.iter().rev().find(|rate| rate.pattern.matches(name));
            let is_weight = || parameters.tensor(name).is_some_and(|tensor| is_weight(name, tensor.shape()));
            let own = own.get(name).copied().unwrap_or(1.0);
            Group { rate: own * rate.map_or(1.0, |rate| rate.factor), decays: !spares_biases || is_weight() }
        };
        let all: Vec<_> = names.iter().map(|name| (name, group(name))).collect();
        let mut groups: Vec<Group> = Vec::new();
        for (_, group) in all.iter().filter(|(_, group)| group.rate > 0.0) {
            if !groups.contains(group) {
                groups.push(*group);
            }
        }
        if groups.is_empty() && !names.is_empty() {
            return Err(Error::data("training", "every parameter is frozen; nothing is left to learn"));
        }
        let place = |group| groups.iter().position(|other| *other == group).unwrap_or(groups.len());
        let places = all.into_iter().map(|(name, group)| (name.clone(), place(group))).collect();
        Ok(Self { places, groups })
    }

    /// The parameters with each group in buffers of its own, and the groups of these; the buffers behind them are frozen. Where there is
    /// but one group, they stay where they are.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when memory runs out.
    pub fn lay_out(&self, gpu: &Gpu, parameters: &Parameters) -> Result<(Parameters, Vec<Group>)> {
        if let ([group], true) = (&*self.groups, self.places.values().all(|place| *place == 0)) {
            return Ok((parameters.clone(), vec![*group; parameters.blocks().len()]));
        }
        let place = |name: &str| self.places.get(name).copied().unwrap_or_default();
        let (parameters, places) = parameters.in_groups(gpu, place)?;
        Ok((parameters, places.into_iter().filter_map(|place| self.groups.get(place).copied()).collect()))
    }
}

/// Whether a parameter is a weight: no norm, which is a vector, and no bias, whatever its shape.
fn is_weight(name: &str, shape: &Shape) -> bool {
    shape.dims().len() > 1 && !name.contains("bias")
}

/// Checks that a pattern matches some name.
fn check(rate: &Rate, names: &[String]) -> Result<()> {
    if names.iter().any(|name| rate.pattern.matches(name)) {
        return Ok(());
    }
    let shown: Vec<_> =
        names.iter().step_by(names.len().div_ceil(SHOWN).max(1)).map(|name| format!("`{name}`")).collect();
    let message = format!("is the name of no parameter; some of the {} are {}", names.len(), shown.join(", "));
    Err(Error::data(format!("the pattern `{}`", rate.pattern), message))
}
