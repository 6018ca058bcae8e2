//! Which curves a run's metrics make, and how they stand side by side.

use serde::Serialize;

use super::{
    History,
    history::{CROSS_ENTROPY, SENTENCE_ERROR_RATE},
};

/// A curve has at most this many points on each of its two lines: as many as a screen shows.
const POINTS: usize = 800;
/// The prefix of the tags of values that come from validations.
const VALIDATION: &str = "valid/";
/// Values over more than this range are shown on a logarithmic axis, where the panel allows one.
const WIDE: f64 = 4.0;

/// Curves that share their axes. The horizontal one is always the step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panel {
    /// The title.
    pub title: String,
    /// The vertical axis, with its unit.
    pub unit: String,
    /// Whether the vertical axis is logarithmic: then all values are positive.
    pub logarithmic: bool,
    /// Whether the vertical axis begins at 0.
    pub from_zero: bool,
    /// Whether the values come from validations, which are few, rather than from steps.
    pub of_validations: bool,
    /// The curves.
    pub lines: Vec<Line>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its name, where a panel has several lines.
    pub name: String,
    /// Steps and values: smoothed, where values are noisy.
    pub points: Vec<(u64, f64)>,
    /// The noisy values themselves.
    pub raw: Vec<(u64, f64)>,
}

/// The scale of a panel's vertical axis.
#[derive(Clone, Copy, PartialEq)]
enum Axis {
    /// Around the values, logarithmic where they span a wide range.
    Wide,
    /// Around the values.
    Around,
    /// From 0.
    Zero,
}

/// Title, unit, axis, whether values are noisy, and the curves: tags and names.
type Plan = (&'static str, &'static str, Axis, bool, &'static [(&'static str, &'static str)]);

const PLANS: [Plan; 7] = [
    ("Training loss", "nats per target token", Axis::Wide, true, &[("train/loss", "")]),
    ("Cross-entropy on validation data", "nats per target token", Axis::Wide, false, &[(CROSS_ENTROPY, "")]),
    (
        "Error rates on validation data",
        "percent",
        Axis::Wide,
        false,
        &[("valid/per", "of tokens"), (SENTENCE_ERROR_RATE, "of whole texts")],
    ),
    (
        "Scores on validation data",
        "points of 100",
        Axis::Around,
        false,
        &[("valid/exact_match", "exact match"), ("valid/f1", "F1"), ("valid/bleu", "BLEU"), ("valid/chrf", "chrF2")],
    ),
    ("Gradient norm before clipping", "norm", Axis::Wide, true, &[("train/grad_norm", "")]),
    ("Learning rate", "rate", Axis::Zero, false, &[("train/learning_rate", "")]),
    ("Speed", "target tokens per second", Axis::Zero, false, &[("train/tokens_per_second", "")]),
];

/// The panels that a run's metrics fill: those that are known, in their order, then one for each other metric.
pub fn panels(history: &History) -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut known = Vec::new();
    for (title, unit, axis, noisy, curves) in PLANS {
        known.extend(curves.iter().map(|(tag, _)| *tag));
        let of_validations = curves.iter().all(|(tag, _)| tag.starts_with(VALIDATION));
        let curves = curves.iter().filter_map(|(tag, name)| Some((*name, history.series.get(*tag)?.as_slice())));
        panels.extend(Panel::new(title.to_owned(), unit, axis, noisy, of_validations, curves.collect()));
    }
    for (tag, values) in history.series.iter().filter(|(tag, _)| !known.contains(&tag.as_str())) {
        let name = tag.split_once('/').map_or(tag.as_str(), |(_, name)| name);
        let mut title = name.replace('_', " ");
        title.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
        let of_validations = tag.starts_with(VALIDATION);
        if of_validations {
            title += " on validation data";
        }
        let curves = vec![("", values.as_slice())];
        panels.extend(Panel::new(title, "value", Axis::Wide, !of_validations, of_validations, curves));
    }
    panels
}

impl Panel {
    /// Nothing where there are no values.
    fn new(
        title: String,
        unit: &str,
        axis: Axis,
        noisy: bool,
        of_validations: bool,
        curves: Vec<(&str, &[(u64, f64)])>,
    ) -> Option<Self> {
        let values = || curves.iter().flat_map(|(_, values)| values.iter().map(|(_, value)| *value));
        let least = values().fold(f64::INFINITY, f64::min);
        let most = values().fold(f64::NEG_INFINITY, f64::max);
        (least <= most).then(|| Self {
            title,
            unit: unit.to_owned(),
            logarithmic: axis == Axis::Wide && least > 0.0 && most > WIDE * least,
            from_zero: axis == Axis::Zero,
            of_validations,
            lines: curves.into_iter().map(|(name, values)| Line::new(name, values, noisy)).collect(),
        })
    }
}

impl Line {
    fn new(name: &str, values: &[(u64, f64)], noisy: bool) -> Self {
        let name = name.to_owned();
        if noisy {
            Self { name, points: thinned(&smoothed(values), false), raw: thinned(values, true) }
        } else {
            Self { name, points: thinned(values, false), raw: Vec::new() }
        }
    }
}

/// Means over about a fiftieth of the values on either side, the nearer ones weighing more: a mean of means. They neither
/// lag behind nor start at zero.
fn smoothed(values: &[(u64, f64)]) -> Vec<(u64, f64)> {
    let reach = (values.len() / 100).max(1);
    means(&means(values, reach), reach)
}

/// Means of each value and of `reach` on either side of it, as far as there are so many.
fn means(values: &[(u64, f64)], reach: usize) -> Vec<(u64, f64)> {
    let mut sums = vec![0.0];
    sums.extend(values.iter().scan(0.0, |sum, (_, value)| {
        *sum += value;
        Some(*sum)
    }));
    let mean = |at: usize| {
        let (first, end) = (at.saturating_sub(reach), (at + reach + 1).min(values.len()));
        let up_to = |at: usize| sums.get(at).copied().unwrap_or_default();
        (up_to(end) - up_to(first)) / (end - first) as f64
    };
    values.iter().enumerate().map(|(at, (step, _))| (*step, mean(at))).collect()
}

/// No more than [`POINTS`] of the values, the last one among them; with `extremes` the least and the largest of each piece,
/// so that no outlier is lost.
fn thinned(values: &[(u64, f64)], extremes: bool) -> Vec<(u64, f64)> {
    if values.len() <= POINTS {
        return values.to_vec();
    }
    let pieces = values.chunks(values.len().div_ceil(if extremes { POINTS / 2 } else { POINTS }));
    pieces
        .flat_map(|piece| {
            let by_value = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
            let mut kept = if extremes {
                vec![piece.iter().min_by(by_value), piece.iter().max_by(by_value)]
            } else {
                vec![piece.last()]
            };
            kept.sort_by_key(|point| point.map(|(step, _)| *step));
            kept.into_iter().flatten().copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(tag: &str, values: impl Iterator<Item = f64>) -> History {
        let mut history = History::default();
        history.series.insert(tag.into(), (1..).map(|step| step * 10).zip(values).collect());
        history
    }

    #[test]
    fn a_noisy_curve_is_smoothed_and_keeps_its_outliers() {
        let values = (0..5000).map(|at| if at == 3210 { 900.0 } else { 2.0 + f64::from(at % 7) });
        let panel = panels(&history("train/loss", values)).remove(0);
        assert!(panel.logarithmic && panel.title == "Training loss");
        let line = &panel.lines[0];
        assert!(line.points.len() <= POINTS && line.raw.len() <= POINTS, "{}", line.raw.len());
        assert!(line.raw.iter().any(|(step, value)| *step == 32_110 && *value == 900.0));
        assert!(line.raw.is_sorted_by_key(|(step, _)| *step));
        let last = line.points.last().unwrap();
        assert!(last.0 == 50_000 && (last.1 - 5.0).abs() < 0.5, "{last:?}");
        // The mean of a constant is the constant, from the first value on.
        let flat = smoothed(&[(1, 3.0), (2, 3.0), (3, 3.0)]);
        assert!(flat.iter().all(|(_, value)| (value - 3.0).abs() < 1e-12));
    }

    #[test]
    fn metrics_that_nobody_planned_for_get_panels_of_their_own() {
        let panel = panels(&history("valid/bits_per_token", [2.0, 1.5].into_iter())).remove(0);
        assert_eq!((panel.title.as_str(), panel.logarithmic), ("Bits per token on validation data", false));
        assert_eq!(panel.lines[0].points, [(10, 2.0), (20, 1.5)]);
        assert!(panels(&History::default()).is_empty());
    }
}
