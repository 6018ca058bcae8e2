//! `softalign validate --golden DIR`: the engine against files that PyTorch wrote, tensor by tensor.

use std::path::Path;

use softalign::{Gpu, Result};

use super::{output, table};

/// Runs every file of a folder and prints the table. True if every file is a case, and every tensor within its tolerance.
///
/// # Errors
/// A folder that cannot be used, an error of the device, or output that cannot be printed.
pub fn run(gpu: &Gpu, folder: &Path) -> Result<bool> {
    let golden = softalign::validate::golden(gpu, folder)?;
    let rows = &golden.rows;
    let mut table = table::table(["file", "tensor", "worst error", "tolerance", "result"]);
    for row in rows {
        table.add_row([
            row.file.as_str().into(),
            row.tensor.as_str().into(),
            table::error(row.error),
            table::error(row.tolerance),
            table::verdict(row.passed),
        ]);
    }
    output::print(&table.to_string())?;
    let failed = rows.iter().filter(|row| !row.passed).count();
    match failed {
        0 if rows.is_empty() => {}
        0 => output::print(&format!("All {} tensors agree.", rows.len()))?,
        count => output::print(&format!("{count} of {} tensors disagree.", rows.len()))?,
    }
    for refused in &golden.refused {
        output::print(&format!("no case: {refused}"))?;
    }
    Ok(golden.passed())
}
