//! Parts shared by the project's diagrams: lines and text in SVG, and colours.

use plotters::backend::{DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::PathElement;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, IntoFont as _, RGBColor, ShapeStyle, TextStyle};

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
pub type Drawn<'a> = Result<(), Failure<'a>>;

pub const INK: RGBColor = RGBColor(31, 41, 51);
pub const FAINT_INK: RGBColor = RGBColor(97, 110, 124);
pub const LINES: RGBColor = RGBColor(226, 231, 238);

pub fn line<'a>(area: &Area<'a>, ends: &[(i32, i32)], style: ShapeStyle) -> Drawn<'a> {
    area.draw(&PathElement::new(ends.to_vec(), style))
}

/// The viewer has fonts of its own.
fn font(size: f64) -> FontDesc<'static> {
    FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal)
}

/// Text whose middle line goes through `at`.
pub fn text<'a>(area: &Area<'a>, label: &str, size: f64, color: RGBColor, at: (i32, i32), anchor: HPos) -> Drawn<'a> {
    let style = TextStyle::from(font(size).into_font()).color(&color).pos(Pos::new(anchor, VPos::Center));
    area.draw_text(label, &style, at)
}

/// Text from bottom to top, for the name of an axis.
pub fn turned<'a>(area: &Area<'a>, label: &str, size: f64, color: RGBColor, at: (i32, i32)) -> Drawn<'a> {
    let font = font(size).transform(FontTransform::Rotate270);
    let style = TextStyle::from(font.into_font()).color(&color).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw_text(label, &style, at)
}
