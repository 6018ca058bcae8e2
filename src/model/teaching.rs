//! An encoder that learns other work than it has done: its parameters are taken, the layers behind them are new.

use std::path::Path;

use super::{Model, Network};
use crate::{Gpu, Result, text::Tokenizer};

impl Model {
    /// A model of `network`, whose parameters are those of the model in `folder` where that has them, and else drawn from `seed`. What
    /// was taken and what is new is said.
    ///
    /// # Errors
    /// Those of [`Model::load`] and [`Model::new`].
    pub(crate) fn beginning_with(
        gpu: &Gpu,
        folder: &Path,
        (network, source, target): (Network, Tokenizer, Tokenizer),
        seed: u64,
    ) -> Result<Self> {
        let mut known = Self::load(gpu, folder)?;
        let names = |network: &Network| -> Vec<_> {
            network.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect()
        };
        let (has, wanted) = (names(&known.network), names(&network));
        if has == wanted {
            (known.network, known.source, known.target) = (network, source, target);
            return Ok(known);
        }
        let model = Self::new(gpu, network, source, target, seed)?;
        let (taken, new): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|one| has.contains(one));
        for (name, _) in &taken {
            if let Some((from, to)) = known.parameters.tensor(name).zip(model.parameters.tensor(name)) {
                gpu.write(&to, &gpu.read::<f32>(&from)?)?;
            }
        }
        let left = has.iter().filter(|one| !taken.contains(one)).map(|(name, _)| name.as_str());
        let (new, left): (Vec<_>, Vec<_>) = (new.iter().map(|(name, _)| name.as_str()).collect(), left.collect());
        let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        tracing::info!(
            "{}: {} tensors are taken; new are {}; not taken are {}",
            folder.display(),
            taken.len(),
            list(&new),
            list(&left)
        );
        Ok(model)
    }
}
