//! `softalign tune`: measures which tiles are fast on this adapter, and keeps them for the commands that follow.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::builder::PossibleValuesParser;
use comfy_table::{Cell, CellAlignment};
use softalign::gpu::tuner;
use softalign::text::escaped;
use softalign::tune::{self, Event, Judgement, MARGIN, Row, describe, difference, tune};
use softalign::{Error, Result};

use super::{Global, interrupt, open, output, progress::Bar, table};

/// Options of `softalign tune`.
#[derive(clap::Args)]
pub struct Args {
    /// Tune this kernel only and keep what is known of the others; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(tune::kernels()))]
    only: Vec<String>,
}

/// Measures, writes each finding at once, and prints them and what training steps made of them; the exit code is 1 if a candidate gave a wrong result.
///
/// # Errors
/// No adapter, a lost device, or a file that cannot be written.
pub fn run(args: &Args, global: &Global) -> Result<ExitCode> {
    let gpu = open(global)?;
    let Some(path) = tune::cache_file(&gpu) else {
        return Err(Error::data("tune", "this system names no folder for caches; set XDG_CACHE_HOME to one"));
    };
    let stop = interrupt::flag();
    let mut bar = Bar::new(global, None, "measurements");
    let (mut tiles, mut rows, mut judged, mut refused) = (gpu.tile_table().clone(), Vec::new(), Vec::new(), Vec::new());
    let mut written = Ok(());
    let halted = || stop.load(Ordering::Relaxed);
    tune(&gpu, &args.only, &|| halted(), &mut |event| {
        match event {
            Event::Begins { done, total, what } => {
                if done == 0 {
                    bar = Bar::new(global, Some(total), "measurements");
                }
                bar.update(done, &what);
                return;
            }
            Event::Refused(why) => {
                output::note(&format!("refused: {why}"));
                refused.push(why);
                return;
            }
            Event::Found(row) => {
                row.enter(&mut tiles);
                rows.push(row.clone());
            }
            Event::Judged(judgement) => {
                if !judgement.kept() {
                    tiles.set(judgement.kernel, judgement.class, None);
                }
                judged.push(judgement.clone());
            }
        }
        if written.is_ok() {
            written = tuner::write(&gpu, &path, &tiles);
        }
    })?;
    drop(bar);
    written?;
    print(&rows)?;
    if !judged.is_empty() {
        print_steps(&judged)?;
    }
    if !rows.is_empty() {
        output::print(&format!("written to {}", escaped(&path.display().to_string())))?;
    }
    if halted() {
        output::note("stopped; what was found so far is kept");
        return Ok(ExitCode::from(130));
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(rows: &[Row]) -> Result<()> {
    let mut table = table::table(["kernel", "shapes", "measured at", "default", "ms", "best", "ms", "gain"]);
    for row in rows {
        let better = row.is_gain();
        let shape = row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let ms = |ms: f64| format!("{ms:.3}");
        table.add_row([
            row.kernel.to_owned(),
            row.class.to_owned(),
            shape,
            describe(&row.default.tile),
            ms(row.default.ms),
            if better { difference(&row.best.tile, &row.default.tile) } else { "the default".to_owned() },
            ms(row.best.ms),
            if better { format!("{:.0} %", 100.0 * (row.default.ms / row.best.ms - 1.0)) } else { String::new() },
        ]);
    }
    for column in [4, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    output::print(&table.to_string())?;
    let better = rows.iter().filter(|row| row.is_gain()).count();
    output::print(&format!(
        "{better} of {} classes of shapes are faster with another tile than the default, by {:.0} % or more.",
        rows.len(),
        100.0 * MARGIN
    ))
}

/// What became of training steps by the tiles that won.
fn print_steps(judged: &[Judgement]) -> Result<()> {
    let mut table = table::table(["training step", "with", "ms without", "ms with", "tile"]);
    for judgement in judged {
        let Judgement { kernel, class, architecture, without, with } = judgement;
        let verdict = if judgement.kept() { "kept" } else { "dropped" }.to_owned();
        let ms = |ms: &f64| table::number(format!("{ms:.3}"));
        table.add_row([
            Cell::new(architecture),
            Cell::new(format!("{kernel}, {class}")),
            ms(without),
            ms(with),
            Cell::new(verdict),
        ]);
    }
    output::print(&table.to_string())
}
