//! The table that `softalign validate --report` keeps: the worst error of each kernel, direction, type and class of shapes, a
//! column for each driver. A run replaces its own driver's figures of what it ran, and keeps all others.

use std::{collections::BTreeMap, io::ErrorKind, path::Path};

use softalign::{
    Error, Gpu, Result, files,
    gpu::adapter,
    text::read_text,
    validate::{self, OfClass, Row, ShapeClass},
};

const TITLE: &str = "# How far the kernels are from f64

Written by `softalign validate --report`; run it on your adapter, and your driver gets a column. A figure is the worst error of so
many random cases, relative to the largest value of its tensor, or to what that would be without cancellation
(`src/validate` says how each kernel is judged). `FAIL` stands where the tolerance does not hold.

Shapes: a tensor has an extent of 1; all rows are multiples of four, which 16-byte loads serve; the others.
";

/// Columns before those of the drivers.
const FIXED: [&str; 5] = ["kernel", "direction", "type", "shapes", "tolerance"];

/// Kernel, direction, type, shapes.
type Key = [String; 4];

/// Adds `rows` to the table of a file.
///
/// # Errors
/// [`Error::Data`] if the file holds something else; a file that cannot be read or written.
pub fn update(path: &Path, gpu: &Gpu, rows: &[Row]) -> Result<()> {
    let read = || match read_text(path) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    };
    // A pipe has no table to add to.
    let before = if files::is_stream(path) { None } else { read()? };
    let mut table = match before {
        None => Table::default(),
        Some(text) => Table::parse(&text).ok_or_else(|| {
            let what =
                "holds no table of `softalign validate --report`, and would be replaced by one; name another file";
            Error::data(path.display().to_string(), what)
        })?,
    };
    table.add(&adapter::describe(gpu.info()).replace('|', "/"), rows);
    files::write_atomically(path, table.text().as_bytes())
}

/// Drivers, and the figures of each by key.
#[derive(Debug, Default, PartialEq)]
struct Table {
    drivers: Vec<String>,
    figures: BTreeMap<Key, BTreeMap<String, String>>,
}

impl Table {
    fn parse(text: &str) -> Option<Self> {
        let cells = |line: &str| -> Vec<String> {
            line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
        let header = lines.next()?;
        let drivers = header.strip_prefix(FIXED.map(str::to_owned).as_slice())?.to_vec();
        let mut figures = BTreeMap::new();
        for line in lines.skip(1) {
            let [kernel, direction, dtype, shapes, _, found @ ..] = line.as_slice() else { return None };
            let key = [kernel, direction, dtype, shapes].map(Clone::clone);
            let found = drivers.iter().cloned().zip(found.iter().cloned()).filter(|(_, figure)| !figure.is_empty());
            figures.insert(key, found.collect());
        }
        Some(Self { drivers, figures })
    }

    fn add(&mut self, driver: &str, rows: &[Row]) {
        if !self.drivers.iter().any(|known| known == driver) {
            self.drivers.push(driver.to_owned());
            self.drivers.sort();
        }
        for row in rows {
            for (class, of_class) in ShapeClass::ALL.into_iter().zip(row.classes) {
                let of_key = self.figures.entry(key(&row.kernel, row.direction.name(), row.dtype, class)).or_default();
                match figure(of_class, row.tolerance) {
                    Some(figure) => of_key.insert(driver.to_owned(), figure),
                    None => of_key.remove(driver),
                };
            }
        }
    }

    /// In the order of the checks. What no check makes any more is left out.
    fn text(&self) -> String {
        let fixed = FIXED.map(str::to_owned);
        let mut lines = vec![line(fixed.iter().chain(&self.drivers)), "|---".repeat(5 + self.drivers.len()) + "|"];
        for check in validate::checks() {
            for class in ShapeClass::ALL {
                let key = key(check.kernel, check.direction.name(), check.dtype.name(), class);
                let Some(figures) = self.figures.get(&key).filter(|figures| !figures.is_empty()) else { continue };
                let tolerance = format!("{:.1e}", check.tolerance);
                let found = self.drivers.iter().map(|driver| figures.get(driver).cloned().unwrap_or_default());
                let cells: Vec<String> = key.iter().cloned().chain([tolerance]).chain(found).collect();
                lines.push(line(&cells));
            }
        }
        format!("{TITLE}\n{}\n", lines.join("\n"))
    }
}

fn key(kernel: &str, direction: &str, dtype: &str, class: ShapeClass) -> Key {
    [kernel, direction, dtype, class.name()].map(str::to_owned)
}

fn figure(of_class: OfClass, tolerance: f64) -> Option<String> {
    let OfClass { cases, worst_error } = of_class;
    let verdict = if worst_error <= tolerance { "" } else { "FAIL " };
    (cases > 0).then(|| format!("{verdict}{worst_error:.1e} of {cases}"))
}

fn line<'a>(cells: impl IntoIterator<Item = &'a String>) -> String {
    cells.into_iter().fold("|".to_owned(), |line, cell| line + " " + cell + " |")
}

#[cfg(test)]
mod tests {
    use softalign::validate::Direction;

    use super::*;

    fn row(kernel: &str, errors: [(usize, f64); 3]) -> Row {
        Row {
            kernel: kernel.to_owned(),
            direction: Direction::Forward,
            dtype: "f32",
            cases: 0,
            worst_error: 0.0,
            tolerance: 1e-6,
            passed: true,
            classes: errors.map(|(cases, worst_error)| OfClass { cases, worst_error }),
            worst_seed: 1,
        }
    }

    #[test]
    fn another_driver_gets_a_column_and_keeps_the_others() {
        let mut table = Table::default();
        table.add(
            "B (Vulkan)",
            &[row("matmul", [(2, 1e-7), (3, 2e-7), (4, 3e-7)]), row("adam", [(0, 0.0), (5, 4e-7), (0, 0.0)])],
        );
        let mut both = Table::parse(&table.text()).unwrap();
        assert_eq!(both.text(), table.text());
        both.add("A (Gl)", &[row("matmul", [(1, 1e-3), (0, 0.0), (7, f64::INFINITY)])]);
        let text = both.text();
        assert!(text.contains("| kernel | direction | type | shapes | tolerance | A (Gl) | B (Vulkan) |"), "{text}");
        assert!(
            text.contains("| matmul | forward | f32 | an extent of 1 | 1.0e-6 | FAIL 1.0e-3 of 1 | 1.0e-7 of 2 |"),
            "{text}"
        );
        assert!(text.contains("| matmul | forward | f32 | rows of fours | 1.0e-6 |  | 2.0e-7 of 3 |"), "{text}");
        assert!(text.contains("| matmul | forward | f32 | odd | 1.0e-6 | FAIL inf of 7 | 3.0e-7 of 4 |"), "{text}");
        assert!(text.contains("| adam | forward | f32 | rows of fours | 1.0e-6 |  | 4.0e-7 of 5 |"), "{text}");
        // A new run replaces its own figures alone.
        let mut again = Table::parse(&text).unwrap();
        again.add("A (Gl)", &[row("matmul", [(9, 5e-7), (0, 0.0), (0, 0.0)])]);
        let text = again.text();
        assert!(text.contains("| an extent of 1 | 1.0e-6 | 5.0e-7 of 9 | 1.0e-7 of 2 |"), "{text}");
        assert!(text.contains("| odd | 1.0e-6 |  | 3.0e-7 of 4 |"), "{text}");
        assert!(Table::parse("# Notes\n\n| a | b |\n|---|---|\n").is_none() && Table::parse("").is_none());
    }
}
