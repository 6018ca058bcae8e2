//! What the ranks of a run must have in common, so that they are one run.

use serde_json::Value;

use super::{Budget, Destination, TrainOptions, Trainer, checkpoint::Saved};
use crate::{
    Error, Gpu, Result, gpu::adapter, kernels::matmul::cooperative_trials, model::Metadata, names::setting, ranks::Told,
};

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
    told.push(("what the adapter offers".to_owned(), format!("{:?}", gpu.tiles())));
    told.push(("what its cooperative matrices are".to_owned(), format!("{:?}", cooperative_trials(gpu))));
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
    let moments = [&state.first, &state.second].into_iter();
    // Where ranks have parts of the moments, each has another.
    let same = [&state.parameters].into_iter().chain(moments.filter(|_| trainer.sharded().is_none()));
    for block in same.flat_map(|all| all.blocks()) {
        sum = crc32c::crc32c_append(sum, &gpu.read::<u8>(block)?);
    }
    Ok(vec![("the parameters' checksum".to_owned(), format!("{sum:08x}"))])
}
