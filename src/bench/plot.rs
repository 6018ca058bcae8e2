//! The roofline (Williams, Waterman, Patterson 2009) of a report: what the adapter can do as lines, what each workload does as
//! a point with a number, and what the numbers stand for beside it.

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::Circle;
use plotters::style::text_anchor::HPos;
use plotters::style::{Color as _, RGBColor, WHITE};

use super::{Report, Row};
use crate::{
    Error, Result,
    drawing::{Area, Drawn, FAINT_INK, Failure, INK, LINES, line, text, turned},
    files,
    generate::Face,
};

const SIZE: (i32, i32) = (1640, 1080);
/// Left, right, top and bottom of the plot.
const PLOT: [i32; 4] = [90, 1060, 70, 1000];
/// The top left corner of the list of numbers.
const LIST: (i32, i32) = (1100, 70);
const TEXT: f64 = 17.0;
const NUMBER: f64 = 14.0;
const TITLE: f64 = 24.0;
const RADIUS: i32 = 5;

const CEILING: RGBColor = RGBColor(120, 130, 142);

/// A colour for each family of workloads: Okabe and Ito's and one of Tol's, which the colour-blind can tell apart.
const FAMILIES: [(&str, RGBColor); 10] = [
    ("W1", RGBColor(0, 114, 178)),
    ("W2", RGBColor(213, 94, 0)),
    ("W3", RGBColor(0, 158, 115)),
    ("W4", RGBColor(204, 121, 167)),
    ("W5", RGBColor(0, 0, 0)),
    ("W6", RGBColor(86, 180, 233)),
    ("W7", RGBColor(230, 159, 0)),
    ("W8", RGBColor(240, 228, 66)),
    ("W9", RGBColor(136, 34, 85)),
    ("", RGBColor(120, 110, 60)),
];

impl Report {
    /// Draws the roofline into an SVG file: operations a second over operations a byte, both as the kernels count them.
    ///
    /// # Errors
    /// [`Error::Data`] for another file extension, or if no workload has operations and a time; [`Error::Io`] if the file
    /// cannot be written.
    pub fn plot(&self, path: &Path) -> Result<()> {
        let refuse = |message: &str| Error::data(path.display().to_string(), message);
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
            return Err(refuse("a roofline's name ends in .svg"));
        }
        let points: Vec<_> = self.rows.iter().filter_map(Point::of).collect();
        if points.is_empty() {
            return Err(refuse("nothing to draw: no workload was measured that has operations"));
        }
        let mut text = String::new();
        let picture = Picture::new(self, points);
        let size = (SIZE.0 as u32, picture.height() as u32);
        picture
            .draw(&SVGBackend::with_string(&mut text, size).into_drawing_area())
            .map_err(|error| refuse(&error.to_string()))?;
        files::write_atomically(path, text.as_bytes())
    }
}

struct Point<'a> {
    row: &'a Row,
    /// Operations a byte.
    x: f64,
    /// 1e9 operations a second.
    y: f64,
}

impl<'a> Point<'a> {
    fn of(row: &'a Row) -> Option<Self> {
        let (x, y) = (row.operations_per_byte?, row.counted_gflops?);
        (x.is_finite() && x > 0.0 && y > 0.0).then_some(Self { row, x, y })
    }

    fn color(&self) -> RGBColor {
        let family = FAMILIES.iter().find(|(family, _)| self.row.workload.starts_with(family));
        family.map_or(INK, |(_, color)| *color)
    }
}

/// A logarithmic axis.
struct Axis {
    /// Powers of ten at the ends.
    decades: [i32; 2],
    pixels: [i32; 2],
}

impl Axis {
    /// Around values, with room at both ends.
    fn around(values: impl Iterator<Item = f64> + Clone, pixels: [i32; 2]) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        Self { decades: [(least / 1.3).log10().floor() as i32, (most * 1.3).log10().ceil() as i32], pixels }
    }

    fn at(&self, value: f64) -> i32 {
        let [first, last] = self.decades.map(f64::from);
        let share = (value.log10() - first) / (last - first);
        self.pixels[0] + (share * f64::from(self.pixels[1] - self.pixels[0])).round() as i32
    }

    fn ends(&self) -> [f64; 2] {
        self.decades.map(|power| 10.0_f64.powi(power))
    }
}

/// A rectangle: left, top, right, bottom.
type Box4 = [i32; 4];

fn overlap(a: &Box4, b: &Box4) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

struct Picture<'a> {
    report: &'a Report,
    points: Vec<Point<'a>>,
    x: Axis,
    y: Axis,
}

impl<'a> Picture<'a> {
    fn new(report: &'a Report, points: Vec<Point<'a>>) -> Self {
        let [left, right, top, bottom] = PLOT;
        let ceilings = &report.ceilings;
        // The ridge, where memory stops being the limit, belongs into the picture.
        let ridge = ceilings.fma_gflops / ceilings.storage_gbps.max(ceilings.copy_gbps);
        let xs: Vec<f64> = points.iter().map(|point| point.x).chain([ridge]).collect();
        let ys: Vec<f64> = points.iter().map(|point| point.y).chain([ceilings.fma_gflops]).collect();
        let x = Axis::around(xs.iter().copied(), [left, right]);
        let y = Axis::around(ys.iter().copied(), [bottom, top]);
        Self { report, points, x, y }
    }

    fn line_height() -> i32 {
        (TEXT * 1.35) as i32
    }

    /// The list may be longer than the plot is high.
    fn height(&self) -> i32 {
        SIZE.1.max(LIST.1 + (self.points.len() as i32 + 3) * Self::line_height())
    }

    fn draw<'b>(&self, area: &Area<'b>) -> Drawn<'b> {
        area.fill(&WHITE)?;
        self.draw_axes(area)?;
        let lines = self.draw_ceilings(area)?;
        self.draw_points(area, lines)?;
        self.draw_list(area)?;
        area.present()
    }

    fn draw_axes<'b>(&self, area: &Area<'b>) -> Drawn<'b> {
        let [left, right, top, bottom] = PLOT;
        for power in self.x.decades[0]..=self.x.decades[1] {
            let x = self.x.at(10.0_f64.powi(power));
            line(area, &[(x, top), (x, bottom)], LINES.stroke_width(1))?;
            text(area, &power_of_ten(power), TEXT, FAINT_INK, (x, bottom + 22), HPos::Center)?;
        }
        for power in self.y.decades[0]..=self.y.decades[1] {
            let y = self.y.at(10.0_f64.powi(power));
            line(area, &[(left, y), (right, y)], LINES.stroke_width(1))?;
            text(area, &power_of_ten(power), TEXT, FAINT_INK, (left - 10, y), HPos::Right)?;
        }
        let middle = (left + right) / 2;
        text(area, "operations per byte", TEXT, INK, (middle, bottom + 52), HPos::Center)?;
        turned(area, "10⁹ operations a second", TEXT, INK, (26, (top + bottom) / 2))?;
        text(area, &self.report.adapter, TITLE, INK, (left, 34), HPos::Left)
    }

    /// Draws what the adapter can do, and returns the places that the lines' names take.
    fn draw_ceilings<'b>(&self, area: &Area<'b>) -> Result<Vec<Box4>, Failure<'b>> {
        let ceilings = &self.report.ceilings;
        let [least, most] = self.x.ends();
        let mut taken = Vec::new();
        let roofs = [("storage read", ceilings.storage_gbps, "GB/s"), ("storage copied", ceilings.copy_gbps, "GB/s")];
        // The two are about equal on many adapters: their names stand at different heights.
        for (place, (name, rate, unit)) in roofs.into_iter().enumerate() {
            let ridge = (ceilings.fma_gflops / rate).clamp(least, most);
            let floor = (self.y.ends()[0] / rate).max(least);
            let ends = [(self.x.at(floor), self.y.at(rate * floor)), (self.x.at(ridge), self.y.at(rate * ridge))];
            line(area, &ends, CEILING.stroke_width(2))?;
            let at = (PLOT[0] + 12, PLOT[2] + 16 + 24 * (place as i32 + 1));
            let label = format!("{name}, slanted: {rate:.1} {unit}");
            taken.push(text_box(&label, TEXT, at));
            text(area, &label, TEXT, CEILING, at, HPos::Left)?;
        }
        let flat = [
            ("fused multiply-add", ceilings.fma_gflops, 2),
            ("reciprocal", ceilings.reciprocal_gops, 1),
            ("exponential", ceilings.exp_gops, 1),
            ("tanh", ceilings.tanh_gops, 1),
        ];
        for (name, rate, width) in flat {
            let y = self.y.at(rate);
            if !(PLOT[2]..=PLOT[3]).contains(&y) {
                continue;
            }
            let from =
                if width == 2 { (rate / ceilings.storage_gbps.max(ceilings.copy_gbps)).max(least) } else { least };
            line(area, &[(self.x.at(from), y), (self.x.at(most), y)], CEILING.stroke_width(width))?;
            let label = format!("{name} {rate:.0} G/s");
            let at = (PLOT[1] - 6, y - 10);
            let width = Face::built_in().width(&label, TEXT) as i32;
            taken.push([at.0 - width, at.1 - 9, at.0, at.1 + 9]);
            text(area, &label, TEXT, CEILING, at, HPos::Right)?;
        }
        Ok(taken)
    }

    /// Each point with its number beside it, where neither other points nor other numbers are.
    fn draw_points<'b>(&self, area: &Area<'b>, mut taken: Vec<Box4>) -> Drawn<'b> {
        let places: Vec<_> = self.points.iter().map(|point| (self.x.at(point.x), self.y.at(point.y))).collect();
        taken.extend(places.iter().map(|(x, y)| [x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS]));
        for ((number, point), (x, y)) in (1..).zip(&self.points).zip(&places) {
            let label = number.to_string();
            let width = Face::built_in().width(&label, NUMBER).ceil() as i32;
            let height = NUMBER as i32;
            // Around the point, further and further away.
            let candidates = (0..12).flat_map(|ring| {
                (0..16).map(move |turn| {
                    let angle = f64::from(turn) * std::f64::consts::TAU / 16.0;
                    let distance = f64::from(14 + 9 * ring);
                    ((distance * angle.cos()) as i32, (distance * angle.sin()) as i32)
                })
            });
            let place = |(dx, dy): (i32, i32)| {
                let (left, top) = (x + dx - width / 2, y + dy - height / 2);
                [left - 1, top - 1, left + width + 1, top + height + 1]
            };
            let free = |spot: &Box4| {
                let inside = spot[0] > PLOT[0] && spot[2] < PLOT[1] && spot[1] > PLOT[2] && spot[3] < PLOT[3];
                inside && !taken.iter().any(|other| overlap(other, spot))
            };
            let offset = candidates.clone().find(|offset| free(&place(*offset))).unwrap_or((14, 0));
            taken.push(place(offset));
            let middle = (x + offset.0, y + offset.1);
            let far = offset.0 * offset.0 + offset.1 * offset.1 > 18 * 18;
            if far {
                line(area, &[(*x, *y), middle], LINES.stroke_width(1))?;
            }
            area.draw(&Circle::new((*x, *y), RADIUS, point.color().filled()))?;
            text(area, &label, NUMBER, point.color(), middle, HPos::Center)?;
        }
        Ok(())
    }

    fn draw_list<'b>(&self, area: &Area<'b>) -> Drawn<'b> {
        for ((number, point), line) in (1..).zip(&self.points).zip(0..) {
            let y = LIST.1 + line * Self::line_height();
            text(area, &format!("{number}"), TEXT, point.color(), (LIST.0 + 24, y), HPos::Right)?;
            let percent = point.row.ceiling_percent.map(|percent| format!(", {percent:.0} %")).unwrap_or_default();
            let label = format!("{}{percent}", point.row.workload);
            text(area, &label, TEXT, INK, (LIST.0 + 36, y), HPos::Left)?;
        }
        let y = LIST.1 + (self.points.len() as i32 + 1) * Self::line_height();
        text(area, "in percent of what the lines allow", TEXT, FAINT_INK, (LIST.0 + 36, y), HPos::Left)
    }
}

fn power_of_ten(power: i32) -> String {
    match power {
        0..=4 => 10_i64.pow(power as u32).to_string(),
        -4..=-1 => format!("{:.*}", -power as usize, 10.0_f64.powi(power)),
        _ => format!("1e{power}"),
    }
}

/// The built-in font, which is rather wide, only measures.
fn text_box(label: &str, size: f64, (x, y): (i32, i32)) -> Box4 {
    let (width, half) = (Face::built_in().width(label, size) as i32, size as i32 / 2);
    [x, y - half, x + width, y + half]
}
