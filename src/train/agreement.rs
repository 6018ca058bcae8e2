//! What the ranks of a run must have in common, so that they are one run.

use serde_json::Value;

use super::{Budget, Destination, TrainOptions, Trainer, checkpoint::Saved};
use crate::{
    Error, Gpu, Result,
    gpu::adapter,
    model::Metadata,
    names::setting,
    ranks::{Ranks, understood, words},
    text::escaped,
};

/// Properties of a rank's run by their names.
type Told = Vec<(String, String)>;

/// What a rank of a run has been told and has read.
///
/// # Errors
/// [`Error::Data`] for options that JSON does not hold.
pub(super) fn told(
    gpu: &Gpu,
    (options, budget): (&TrainOptions, Budget),
    destination: Destination<'_>,
    sums: &Metadata,
    earlier: Option<&Saved>,
) -> Result<Told> {
    let mut told = vec![("the version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    let fields = [serde_json::to_value(options), serde_json::to_value(budget)];
    for fields in fields.map(|fields| fields.map_err(|error| Error::data("options", error.to_string()))) {
        let fields = if let Value::Object(fields) = fields? { fields } else { serde_json::Map::new() };
        // The data may lie elsewhere on another machine: their content decides.
        let fields = fields.into_iter().filter(|(name, _)| name != "data");
        told.extend(fields.map(|(name, value)| (setting(&name), value.to_string())));
    }
    told.push((setting("overwrite"), destination.overwrite.to_string()));
    told.extend(sums.iter().map(|(name, sum)| (format!("the content of {}", setting(name)), sum.clone())));
    let progress = earlier.map_or("no step".to_owned(), |saved| format!("step {}", saved.progress.step));
    told.push(("what the run's folder holds, which must be one for all ranks,".to_owned(), progress));
    // The same update, made by drivers that round in two ways, would be two.
    told.push(("the adapter".to_owned(), adapter::describe(gpu.info())));
    told.push(("f16".to_owned(), gpu.tiles().f16.to_string()));
    told.push(("subgroups".to_owned(), format!("{:?}", gpu.tiles().subgroup)));
    told.push(("the checks in its shaders".to_owned(), gpu.checked().to_string()));
    Ok(told)
}

/// What a rank's parameters are before its first step.
///
/// # Errors
/// The errors of the device.
pub(super) fn of_parameters(gpu: &Gpu, trainer: &Trainer) -> Result<Told> {
    let state = &trainer.state;
    let mut sum = 0;
    for block in [&state.parameters, &state.first, &state.second].into_iter().flat_map(|all| all.blocks()) {
        sum = crc32c::crc32c_append(sum, &gpu.read::<u8>(block)?);
    }
    Ok(vec![("the parameters' checksum".to_owned(), format!("{sum:08x}"))])
}

/// Compares what all ranks say, or why they cannot say it. Without ranks there is nothing to agree on.
///
/// # Errors
/// [`Error::Rank`], the same on all of them, naming the first that differs from rank 0, and in what.
pub(super) fn agree(ranks: Option<&dyn Ranks>, told: impl FnOnce() -> Result<Told>) -> Result<()> {
    let Some(ranks) = ranks else { return Ok(()) };
    let own: Result<Told, String> = told().map_err(|error| error.to_string());
    let mut first: Option<Told> = None;
    for (rank, said) in ranks.all_gather_bytes(&words(ranks, &own)?)?.iter().enumerate() {
        let told = understood::<Result<Told, String>>(rank, said)?.map_err(|message| Error::Rank { rank, message })?;
        match &first {
            None => first = Some(told),
            Some(first) => {
                if let Some(message) = difference(&told, first) {
                    return Err(Error::Rank { rank, message });
                }
            }
        }
    }
    Ok(())
}

/// The first property in which a rank differs from rank 0.
fn difference(told: &Told, first: &Told) -> Option<String> {
    let value = |of: &Told, name: &str| {
        let found = of.iter().find(|(other, _)| other == name);
        found.map_or("not there".to_owned(), |(_, value)| escaped(value))
    };
    let mut names = first.iter().chain(told).map(|(name, _)| name);
    let name = names.find(|name| value(told, name) != value(first, name))?;
    let [own, wanted] = [told, first].map(|of| value(of, name));
    Some(format!("{name} is {own}, and {wanted} for rank 0; start all ranks with the same command, data and build"))
}
