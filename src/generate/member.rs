//! A model of a search.

use crate::{
    graph::Parameters,
    model::{Model, Network},
};

/// A model as a search needs it.
#[derive(Clone)]
pub(super) struct Member {
    pub network: Network,
    pub parameters: Parameters,
}

impl Member {
    pub fn of(model: &Model) -> Self {
        Self { network: model.network.clone(), parameters: model.parameters.clone() }
    }
}
