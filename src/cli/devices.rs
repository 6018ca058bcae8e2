//! `softalign devices`: the adapters of this machine, their limits and features.

use std::process::ExitCode;

use comfy_table::Table;
use indicatif::HumanBytes;
use softalign::gpu::{AdapterClass, adapter};
use softalign::wgpu::{Adapter, Features};
use softalign::{Error, Result};

use super::{output, table::table};

/// Lists the adapters.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none.
pub fn run() -> Result<ExitCode> {
    let adapters = adapter::list();
    if adapters.is_empty() {
        return Err(Error::NoAdapter { seen: adapter::seen(&adapters) });
    }
    output::print(&names(&adapters).to_string())?;
    output::print(&limits_and_features(&adapters).to_string())?;
    output::print(&format!("Adapter 0 is used unless `--adapter` or {} names another.", adapter::ADAPTER_VARIABLE))?;
    Ok(ExitCode::SUCCESS)
}

fn names(adapters: &[Adapter]) -> Table {
    let mut table = table(["adapter", "name", "class", "backend", "driver"]);
    for (index, adapter) in adapters.iter().enumerate() {
        let info = adapter.get_info();
        let class = AdapterClass::of(&info).name();
        let driver = format!("{} {}", info.driver, info.driver_info);
        table.add_row([
            index.to_string(),
            info.name,
            class.to_owned(),
            format!("{:?}", info.backend),
            driver.trim().into(),
        ]);
    }
    table
}

/// A table with a row for each limit and feature that kernels depend on and a column for each adapter, side by side.
fn limits_and_features(adapters: &[Adapter]) -> Table {
    let mut table = table(["adapter".to_owned()].into_iter().chain((0..adapters.len()).map(|index| index.to_string())));
    let mut row = |name: &str, value: &dyn Fn(&Adapter) -> String| {
        table.add_row([name.to_owned()].into_iter().chain(adapters.iter().map(value)));
    };
    row("storage binding", &|adapter| HumanBytes(adapter.limits().max_storage_buffer_binding_size).to_string());
    row("buffer", &|adapter| HumanBytes(adapter.limits().max_buffer_size).to_string());
    row("workgroup memory", &|adapter| {
        HumanBytes(adapter.limits().max_compute_workgroup_storage_size.into()).to_string()
    });
    row("workgroup invocations", &|adapter| adapter.limits().max_compute_invocations_per_workgroup.to_string());
    row("storage buffers per stage", &|adapter| adapter.limits().max_storage_buffers_per_shader_stage.to_string());
    row("f16", &|adapter| yes_or_no(adapter, Features::SHADER_F16));
    row("subgroups", &subgroups);
    row("timestamps", &|adapter| yes_or_no(adapter, Features::TIMESTAMP_QUERY));
    row("immediates", &|adapter| match adapter.limits().max_immediate_size {
        size if size > 0 && adapter.features().contains(Features::IMMEDIATES) => HumanBytes(size.into()).to_string(),
        _ => "no".to_owned(),
    });
    table
}

fn subgroups(adapter: &Adapter) -> String {
    let info = adapter.get_info();
    match (info.subgroup_min_size, info.subgroup_max_size) {
        _ if !adapter.features().contains(Features::SUBGROUP) => "no".to_owned(),
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min} to {max}"),
    }
}

fn yes_or_no(adapter: &Adapter, feature: Features) -> String {
    if adapter.features().contains(feature) { "yes" } else { "no" }.to_owned()
}
