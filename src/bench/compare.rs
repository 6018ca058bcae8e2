//! Two reports, row by row.

use std::collections::HashMap;

use super::Report;

/// The changes of a report's rows since an older one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The speedup of each workload. Only workloads that have a time in both reports.
    pub speedups: HashMap<String, f64>,
    /// The new multiply-add rate of the adapter over the old one: on the same adapter, it says how quiet the machine was.
    pub ceiling: f64,
    /// The adapter and driver of the older report, if they are others.
    pub other_adapter: Option<String>,
}

impl Comparison {
    /// From `old` to `new`.
    pub fn of(old: &Report, new: &Report) -> Self {
        let times: HashMap<_, _> = old.rows.iter().filter_map(|row| Some((&row.workload, row.ms?))).collect();
        let speedup = |row: &super::Row| {
            let ratio = times.get(&row.workload)? / row.ms?;
            (ratio.is_finite() && ratio > 0.0).then(|| (row.workload.clone(), ratio))
        };
        Self {
            speedups: new.rows.iter().filter_map(speedup).collect(),
            ceiling: new.ceilings.fma_gflops / old.ceilings.fma_gflops,
            other_adapter: (old.adapter != new.adapter).then(|| old.adapter.clone()),
        }
    }

    /// The geometric mean of all speedups; `None` if there are none.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.speedups.values().map(|ratio| ratio.ln()).sum();
        (!self.speedups.is_empty()).then(|| (sum / self.speedups.len() as f64).exp())
    }
}
