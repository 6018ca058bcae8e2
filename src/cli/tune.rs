//! `softalign tune`: measures which tiles are fast on this adapter, and keeps them for the commands that follow.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::builder::PossibleValuesParser;
use comfy_table::{Cell, CellAlignment, Table};
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

/// Measures, writes each finding at once, and prints them and what training steps made of them; the exit code is 1 if a candidate
/// gave a wrong result, or a training step failed.
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
                bar.set_total(Some(total));
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
                judgement.enter(&mut tiles);
                judged.push(judgement.clone());
            }
        }
        if written.is_ok() {
            written = tuner::write(&gpu, &path, &tiles);
        }
    })?;
    drop(bar);
    written?;
    print(&rows, &judged)?;
    if !rows.is_empty() {
        output::print(&format!("written to {}", escaped(&path.display().to_string())))?;
    }
    if halted() {
        output::note("stopped; what was found so far is kept, whether training steps have judged it or not");
        return Ok(ExitCode::from(130));
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(rows: &[Row], judged: &[Judgement]) -> Result<()> {
    let dropped = |row: &Row| judged.iter().any(|one| (one.kernel, one.class) == (row.kernel, row.class) && !one.kept);
    let mut table = table::table(["kernel", "shapes", "measured at", "default", "ms", "best", "ms", "gain"]);
    for row in rows {
        let better = row.is_gain();
        let shape = row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let ms = |ms: f64| format!("{ms:.3}");
        let gain = format!("{:.0} %", 100.0 * (row.default.ms / row.best.ms - 1.0));
        table.add_row([
            row.kernel.to_owned(),
            row.class.to_owned(),
            shape,
            describe(&row.default.tile),
            ms(row.default.ms),
            if better { difference(&row.best.tile, &row.default.tile) } else { "the default".to_owned() },
            ms(row.best.ms),
            match (better, dropped(row)) {
                (false, _) => String::new(),
                (true, false) => gain,
                (true, true) => gain + ", dropped",
            },
        ]);
    }
    for column in [4, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    output::print(&table.to_string())?;
    if !judged.is_empty() {
        output::print(&steps(judged).to_string())?;
    }
    let kept = rows.iter().filter(|row| row.is_gain() && !dropped(row)).count();
    output::print(&format!(
        "{kept} of {} classes of shapes have another tile than the default: faster by {:.0} % or more, and slower in no training step.",
        rows.len(),
        100.0 * MARGIN
    ))
}

/// What became of training steps by the tiles that won.
fn steps(judged: &[Judgement]) -> Table {
    let mut table = table::table(["training step", "kernel", "shapes", "ms without", "ms with", ""]);
    for Judgement { kernel, class, architecture, ms, kept } in judged {
        let verdict = match (ms, kept) {
            (None, _) => "failed",
            (_, true) => "no slower",
            (_, false) => "slower",
        };
        let [without, with] = ms.map_or_else(Default::default, |ms| ms.map(|ms| format!("{ms:.3}")));
        let words = [architecture, kernel, class].map(Cell::new);
        table.add_row(words.into_iter().chain([table::number(without), table::number(with), Cell::new(verdict)]));
    }
    table
}
