//! The curves of a run's metrics as a picture that is drawn again at every validation.

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{Circle, Rectangle};
use plotters::style::text_anchor::HPos;
use plotters::style::{Color as _, RGBColor, WHITE};

use super::{History, Line, Panel, panels};
use crate::{
    drawing::{Area, Drawn, FAINT_INK, INK, LINES, line, text, turned},
    text::escaped,
};

const COLUMNS: usize = 3;
/// Width and height of a panel with its margins.
const PANEL: (i32, i32) = (560, 400);
/// From a panel's edges to its plot: left, top, right, bottom.
const INSET: [i32; 4] = [92, 74, 26, 62];
const HEADER: i32 = 64;
const MARGIN: i32 = 20;
const TITLE: f64 = 22.0;
const HEADING: f64 = 19.0;
const TEXT: f64 = 16.0;
/// Curves of no more points than this have a dot at each.
const DOTTED: usize = 30;

/// From Okabe and Ito's colours, which the colour-blind can tell apart.
const COLORS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];

/// The curves of a run, as SVG.
pub(super) fn draw(name: &str, history: &History) -> Result<String, String> {
    let panels = panels(history);
    let rows = panels.len().div_ceil(COLUMNS) as i32;
    let size = (PANEL.0 * COLUMNS as i32 + 2 * MARGIN, HEADER + PANEL.1 * rows + MARGIN);
    let mut svg = String::new();
    let picture = Picture { name, history, panels };
    picture
        .draw(&SVGBackend::with_string(&mut svg, (size.0 as u32, size.1 as u32)).into_drawing_area())
        .map_err(|error| error.to_string())?;
    Ok(svg)
}

struct Picture<'a> {
    name: &'a str,
    history: &'a History,
    panels: Vec<Panel>,
}

impl Picture<'_> {
    fn draw<'b>(&self, area: &Area<'b>) -> Drawn<'b> {
        area.fill(&WHITE)?;
        let (step, minutes) = (self.history.step, self.history.seconds / 60.0);
        let header = format!("{}: step {}, after {minutes:.1} minutes", escaped(self.name), thousands(step as f64, 0));
        text(area, &header, TITLE, INK, (MARGIN + 12, 36), HPos::Left)?;
        for (place, panel) in self.panels.iter().enumerate() {
            let (column, row) = ((place % COLUMNS) as i32, (place / COLUMNS) as i32);
            self.panel(area, panel, (MARGIN + column * PANEL.0, HEADER + row * PANEL.1))?;
        }
        area.present()
    }

    fn panel<'b>(&self, area: &Area<'b>, panel: &Panel, (x, y): (i32, i32)) -> Drawn<'b> {
        let [left, top] = [x + INSET[0], y + INSET[1]];
        let [right, bottom] = [x + PANEL.0 - INSET[2], y + PANEL.1 - INSET[3]];
        let across = Axis::linear(0.0, self.history.step.max(1) as f64, [left, right]);
        let up = Axis::of(panel, [bottom, top]);
        text(area, &panel.title, HEADING, INK, (left, y + 18), HPos::Left)?;
        for (value, label) in across.ticks(5) {
            let x = across.at(value);
            line(area, &[(x, top), (x, bottom)], LINES.stroke_width(1))?;
            text(area, &label, TEXT, FAINT_INK, (x, bottom + 18), HPos::Center)?;
        }
        for (value, label) in up.ticks(5) {
            let y = up.at(value);
            line(area, &[(left, y), (right, y)], LINES.stroke_width(1))?;
            text(area, &label, TEXT, FAINT_INK, (left - 10, y), HPos::Right)?;
        }
        let unit = if panel.logarithmic { format!("{}, log scale", panel.unit) } else { panel.unit.clone() };
        text(area, "step", TEXT, FAINT_INK, ((left + right) / 2, bottom + 42), HPos::Center)?;
        turned(area, &unit, TEXT, FAINT_INK, (x + 18, (top + bottom) / 2))?;
        self.legend(area, panel, (left, y + 48))?;
        for (curve, color) in panel.lines.iter().zip(COLORS) {
            self.curve(area, curve, color, &across, &up)?;
            if panel.of_validations {
                self.dots(area, curve, color, &across, &up)?;
            }
        }
        Ok(())
    }

    fn legend<'b>(&self, area: &Area<'b>, panel: &Panel, (mut x, y): (i32, i32)) -> Drawn<'b> {
        for (curve, color) in panel.lines.iter().zip(COLORS) {
            let Some((_, last)) = curve.points.last() else { continue };
            let name = match (curve.name.is_empty(), curve.raw.is_empty()) {
                (false, _) => format!("{} ", curve.name),
                (true, true) => "now ".to_owned(),
                (true, false) => "smoothed, now ".to_owned(),
            };
            let label = format!("{name}{}", figure(*last));
            area.draw(&Rectangle::new([(x, y - 2), (x + 22, y + 2)], color.filled()))?;
            text(area, &label, TEXT, INK, (x + 30, y), HPos::Left)?;
            // About as wide as letters are in most fonts.
            x += 30 + (label.chars().count() as f64 * TEXT * 0.54) as i32 + 22;
        }
        Ok(())
    }

    fn curve<'b>(&self, area: &Area<'b>, curve: &Line, color: RGBColor, across: &Axis, up: &Axis) -> Drawn<'b> {
        let path = |points: &[(u64, f64)]| -> Vec<(i32, i32)> {
            points.iter().map(|(step, value)| (across.at(*step as f64), up.at(*value))).collect()
        };
        line(area, &path(&curve.raw), color.mix(0.4).stroke_width(1))?;
        line(area, &path(&curve.points), color.stroke_width(2))
    }

    /// A dot for each validation where they are few, and a ring around the one whose model the folder holds.
    fn dots<'b>(&self, area: &Area<'b>, curve: &Line, color: RGBColor, across: &Axis, up: &Axis) -> Drawn<'b> {
        for (step, value) in &curve.points {
            let at = (across.at(*step as f64), up.at(*value));
            if curve.points.len() <= DOTTED {
                area.draw(&Circle::new(at, 3, color.filled()))?;
            }
            if Some(*step) == self.history.best {
                area.draw(&Circle::new(at, 6, color.stroke_width(2)))?;
            }
        }
        Ok(())
    }
}

/// From values to pixels.
struct Axis {
    least: f64,
    most: f64,
    logarithmic: bool,
    pixels: [i32; 2],
}

impl Axis {
    fn linear(least: f64, most: f64, pixels: [i32; 2]) -> Self {
        Self { least, most, logarithmic: false, pixels }
    }

    /// The vertical axis of a panel, with a little room at the ends.
    fn of(panel: &Panel, pixels: [i32; 2]) -> Self {
        let values =
            || panel.lines.iter().flat_map(|line| line.points.iter().chain(&line.raw).map(|(_, value)| *value));
        let least = values().fold(f64::INFINITY, f64::min);
        let most = values().fold(f64::NEG_INFINITY, f64::max);
        if panel.logarithmic {
            return Self { least: least / 1.1, most: most * 1.1, logarithmic: true, pixels };
        }
        let room = if most > least { (most - least) * 0.06 } else { most.abs().max(1e-9) * 0.1 };
        // Values that are never negative do not get an axis that is.
        let from = if panel.from_zero || (least >= 0.0 && least < room) { 0.0 } else { least - room };
        Self::linear(from.min(least), most + room, pixels)
    }

    fn at(&self, value: f64) -> i32 {
        let share = if self.logarithmic {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        self.pixels[0] + (share * f64::from(self.pixels[1] - self.pixels[0])).round() as i32
    }

    /// Round values with their labels, `wanted` of them or a few more or less.
    fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        if !self.logarithmic {
            let step = round_step((self.most - self.least) / wanted as f64);
            let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
            // A step of 2.5 takes one digit more.
            let scaled = step * 10_f64.powi(digits as i32);
            let digits = if (scaled - scaled.round()).abs() > 1e-6 { digits + 1 } else { digits };
            let first = (self.least / step - 1e-9).ceil() as i64;
            let ticks = (first..).map(|at| at as f64 * step).take_while(|value| *value <= self.most * (1.0 + 1e-9));
            return ticks
                .take(20)
                .map(|value| (value, if value == 0.0 { "0".into() } else { thousands(value, digits) }))
                .collect();
        }
        let decades = [self.least.log10().floor() as i32, self.most.log10().ceil() as i32];
        let within = |factors: &[f64], every: i32| -> Vec<f64> {
            (decades[0]..=decades[1])
                .filter(|power| power % every == 0)
                .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
                .filter(|value| (self.least..=self.most).contains(value))
                .collect()
        };
        let every = ((decades[1] - decades[0]) / wanted as i32).max(1);
        let choices = [within(&[1.0, 2.0, 3.0, 5.0], 1), within(&[1.0, 2.0, 5.0], 1), within(&[1.0, 3.0], 1)];
        let chosen =
            choices.into_iter().find(|ticks| ticks.len() <= wanted + 2).unwrap_or_else(|| within(&[1.0], every));
        chosen.into_iter().map(|value| (value, figure(value))).collect()
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, no less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0].into_iter().map(|factor| factor * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// A value with three significant digits or, from a thousand on, all before the point.
fn figure(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.1e}");
    }
    let digits = (2.0 - magnitude.log10().floor()).clamp(0.0, 8.0) as usize;
    let text = thousands(value, digits);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number with so many digits behind the point, and commas between thousands.
fn thousands(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let whole = text.find('.').unwrap_or(text.len());
    let mut grouped = String::new();
    for (at, character) in text.chars().enumerate() {
        let before_comma = at > 0 && at < whole && (whole - at) % 3 == 0 && !grouped.ends_with('-');
        if before_comma {
            grouped.push(',');
        }
        grouped.push(character);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(validations: u64) -> History {
        let mut history = History { step: validations * 100, best: Some(100), ..History::default() };
        let mut put = |tag: &str, every: u64, value: &dyn Fn(f64) -> f64| {
            let steps = (every..=validations * 100).step_by(every as usize);
            history.series.insert(tag.into(), steps.map(|step| (step, value(step as f64))).collect());
        };
        put("train/loss", 10, &|step| 4.0 / (1.0 + step / 10.0) + 0.01);
        put("train/learning_rate", 10, &|_| 0.002);
        put("valid/per", 100, &|step| 100.0 / (1.0 + step / 100.0));
        put("valid/exact_match", 100, &|step| 100.0 - 100.0 / (1.0 + step / 100.0));
        history
    }

    #[test]
    fn a_few_validations_have_dots_and_many_have_a_line() {
        let few = draw("a < b", &run(2)).unwrap();
        assert!(few.starts_with("<svg") && few.contains("a &lt; b: step 200"), "{few}");
        for part in ["Training loss", "nats per target token, log scale", "percent", "step", "smoothed, now"] {
            assert!(few.contains(part), "{part} is missing");
        }
        // Two dots on two curves, and a ring on each.
        assert_eq!(few.matches("<circle").count(), 2 * 3);
        assert_eq!(draw("b", &run(200)).unwrap().matches("<circle").count(), 2);
        // Also a run that has hardly begun, and one whose values are all the same.
        assert!(draw("c", &run(1)).is_ok() && draw("d", &History::default()).is_ok());
    }

    #[test]
    fn ticks_are_round_numbers() {
        let labels = |axis: Axis| axis.ticks(5).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(Axis::linear(0.0, 11_830.0, [0, 100])), ["0", "2,500", "5,000", "7,500", "10,000"]);
        assert_eq!(labels(Axis::linear(0.0, 0.00212, [0, 100])), ["0", "0.0005", "0.0010", "0.0015", "0.0020"]);
        let axis = |least, most| Axis { least, most, logarithmic: true, pixels: [0, 100] };
        assert_eq!(labels(axis(0.4, 4.0)), ["0.5", "1", "2", "3"]);
        assert_eq!(labels(axis(4.9, 110.0)), ["5", "10", "20", "30", "50", "100"]);
        assert!(labels(axis(1e-9, 1e9)).len() < 8);
        assert_eq!(
            [0.0, 0.0194, 3.1, 1234.5, 1e-7, -1234.0].map(figure),
            ["0", "0.0194", "3.1", "1,234", "1.0e-7", "-1,234"]
        );
    }
}
