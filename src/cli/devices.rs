//! `softalign devices`: the adapters of this machine, their limits and features.

use std::process::ExitCode;

use comfy_table::Table;
use indicatif::HumanBytes;
use softalign::gpu::{AdapterClass, Description, adapter};
use softalign::kernels::matmul::cooperative_trials;
use softalign::{Error, Gpu, GpuOptions, Result};

use super::{Global, output, table::table};

/// Lists the adapters.
///
/// # Errors
/// [`Error::NoAdapter`] if there is none.
pub fn run(global: &Global) -> Result<ExitCode> {
    let adapters = adapter::list();
    if adapters.is_empty() {
        return Err(Error::NoAdapter { seen: adapter::seen(&adapters) });
    }
    let adapters: Vec<Description> = adapters.iter().map(Description::from).collect();
    output::print(&names(&adapters).to_string())?;
    output::print(&limits_and_features(&adapters, !global.no_experimental).to_string())?;
    for (index, adapter) in adapters.iter().enumerate() {
        if let Some(advice) = &adapter.advice {
            output::print(&format!("Adapter {index}: a newer driver would help: {advice}."))?;
        }
    }
    output::print(&format!("Adapter 0 is used unless `--adapter` or {} names another.", adapter::ADAPTER_VARIABLE))?;
    Ok(ExitCode::SUCCESS)
}

fn names(adapters: &[Description]) -> Table {
    let mut table = table(["adapter", "name", "class", "backend", "driver"]);
    for (index, adapter) in adapters.iter().enumerate() {
        let Description { name, class, backend, driver, .. } = adapter;
        table.add_row([&index.to_string(), name, *class, backend, driver]);
    }
    table
}

/// A table with a row for each limit and feature that kernels depend on and a column for each adapter, side by side.
fn limits_and_features(adapters: &[Description], experimental: bool) -> Table {
    let mut table = table(["adapter".to_owned()].into_iter().chain((0..adapters.len()).map(|index| index.to_string())));
    let mut row = |name: &str, value: &dyn Fn(&Description) -> String| {
        table.add_row([name.to_owned()].into_iter().chain(adapters.iter().map(value)));
    };
    row("storage binding", &|adapter| HumanBytes(adapter.storage_binding).to_string());
    row("buffer", &|adapter| HumanBytes(adapter.buffer).to_string());
    row("workgroup memory", &|adapter| HumanBytes(adapter.workgroup_memory.into()).to_string());
    row("workgroup invocations", &|adapter| adapter.workgroup_invocations.to_string());
    row("storage buffers per stage", &|adapter| adapter.storage_buffers.to_string());
    row("f16", &|adapter| yes_or_no(adapter.f16));
    row("subgroups", &|adapter| match adapter.subgroups {
        None => "no".to_owned(),
        Some([min, max]) if min == max => min.to_string(),
        Some([min, max]) => format!("{min} to {max}"),
    });
    row("timestamps", &|adapter| yes_or_no(adapter.timestamps));
    row("immediates", &|adapter| match adapter.immediates {
        0 => "no".to_owned(),
        size => HumanBytes(size.into()).to_string(),
    });
    row("cooperative matrices", &|adapter| match &adapter.cooperative[..] {
        [] => "no".to_owned(),
        listed => listed.join("\n"),
    });
    if experimental && adapters.iter().any(|adapter| !adapter.cooperative.is_empty()) {
        let tried: Vec<_> = (0..).zip(adapters).map(|(index, adapter)| tried(index, adapter)).collect();
        let row = ["products by them".to_owned()].into_iter().chain(tried);
        table.add_row(row);
    }
    table
}

/// What a trial says of an adapter's cooperative matrices: which products use them, and why others do not.
fn tried(index: usize, adapter: &Description) -> String {
    if adapter.cooperative.is_empty() {
        return "no".to_owned();
    }
    let cpu = adapter.class == AdapterClass::Cpu.name();
    let tiles = cpu.then_some(AdapterClass::Discrete);
    let options = GpuOptions { adapter: Some(index.to_string()), tiles, ..GpuOptions::from_env() };
    let trials = Gpu::open(&options).map(|gpu| cooperative_trials(&gpu));
    let each = match trials {
        Err(error) => return format!("no: {error}"),
        Ok(each) if each.is_empty() => return "no: kernels have no form for these".to_owned(),
        Ok(each) => each,
    };
    let words = each.into_iter().map(|(factors, result)| match result {
        Ok(()) if cpu => format!("{factors}: right, with --tiles discrete"),
        Ok(()) => format!("{factors}: right"),
        Err(why) => format!("{factors}: no: {why}"),
    });
    words.collect::<Vec<_>>().join("\n")
}

fn yes_or_no(has: bool) -> String {
    if has { "yes" } else { "no" }.to_owned()
}
