//! The alignment matrix as a picture: which source tokens each target token was made from.

use std::path::Path;

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters::element::Rectangle;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color as _, FontDesc, FontFamily, FontStyle, FontTransform, IntoFont as _, RGBColor, TextStyle, WHITE,
};

use super::fonts::Face;
use crate::{Error, Result, files, visible::replaced};

// Lengths in pixels, for a screen of two pixels to the point.
const MARGIN: i32 = 44;
const GAP: i32 = 16;
const TITLE: f64 = 34.0;
const LEGEND_GAP: i32 = 64;
const LEGEND_WIDTH: i32 = 28;
const LEGEND_HEIGHT: (i32, i32) = (240, 480);
const LEGEND_STEPS: i32 = 120;
/// Cells are no larger than this.
const LARGEST_CELL: i32 = 76;
/// Cells shrink to this so that the grid stays within [`COMFORTABLE_GRID`]; labels of this height can be read.
const LEGIBLE_CELL: i32 = 26;
const COMFORTABLE_GRID: i32 = 2400;
/// Beyond this, cells shrink further and not every token gets a label.
const LARGEST_GRID: i32 = 6000;
/// Smaller cells have no line between them.
const SMALLEST_LINED_CELL: i32 = 12;
/// Longer tokens are cut.
const LONGEST_LABEL: usize = 24;

const INK: RGBColor = RGBColor(31, 41, 51);
const FAINT_INK: RGBColor = RGBColor(97, 110, 124);
const LINES: RGBColor = RGBColor(226, 231, 238);

/// From no weight to all of it: white to dark blue, each step about as much darker as the one before
/// (ColorBrewer's "Blues" with a white end).
const SHADES: [[u8; 3]; 9] = [
    [255, 255, 255],
    [222, 235, 247],
    [198, 219, 239],
    [158, 202, 225],
    [107, 174, 214],
    [66, 146, 198],
    [33, 113, 181],
    [8, 81, 156],
    [8, 48, 107],
];

/// Draws alignment weights into a `.png` or `.svg` file: a row for each target token from top to bottom, a column for each
/// source token, and in each cell the share of the source token in making the target token, from white (0) to dark blue (1).
///
/// `weights` holds a row of source weights for each target token. A picture of pixels draws characters that the built-in
/// font lacks with a font of the system; SVG leaves fonts to the viewer. Feature `report`.
///
/// # Errors
/// [`Error::Data`] for another file extension, no tokens, weights of another number than the tokens ask for or that are not
/// finite, too many tokens to draw, or characters that no font on this system has; [`Error::Io`] if the file cannot be
/// written.
pub fn draw_alignment(path: &Path, source: &[String], target: &[String], weights: &[f32]) -> Result<()> {
    let refuse = |message: String| Error::data(path.display().to_string(), message);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let is_svg = match extension.as_str() {
        "svg" => true,
        "png" => false,
        _ => return Err(refuse("a picture's name ends in .png or .svg".to_owned())),
    };
    check(source, target, weights).map_err(refuse)?;
    let label = |token: &String| Label::new(token, is_svg).map_err(refuse);
    let columns = source.iter().map(label).collect::<Result<Vec<_>>>()?;
    let rows = target.iter().map(label).collect::<Result<Vec<_>>>()?;
    let picture = Picture::new(columns, rows, weights, is_svg);
    let bytes = if is_svg { picture.svg() } else { picture.png() }.map_err(refuse)?;
    files::write_atomically(path, &bytes)
}

fn check(source: &[String], target: &[String], weights: &[f32]) -> Result<(), String> {
    for (tokens, name) in [(source, "source"), (target, "target")] {
        if tokens.is_empty() {
            return Err(format!("no {name} tokens to draw"));
        }
        if tokens.len() > LARGEST_GRID as usize {
            return Err(format!("{} {name} tokens do not fit a picture; draw at most {LARGEST_GRID}", tokens.len()));
        }
    }
    if weights.len() != source.len() * target.len() {
        let (count, rows, columns) = (weights.len(), target.len(), source.len());
        return Err(format!("{count} weights for {rows} target and {columns} source tokens; wanted one for each pair"));
    }
    match weights.iter().enumerate().find(|(_, weight)| !weight.is_finite()) {
        Some((at, weight)) => {
            let (row, column) = (at / source.len(), at % source.len());
            Err(format!("the weight of target token {row} on source token {column} is {weight}"))
        }
        None => Ok(()),
    }
}

/// A piece of text and the font to draw it with.
struct Label {
    text: String,
    family: &'static str,
    face: &'static Face,
}

impl Label {
    /// A token as one can see it: white space as signs, long ones cut.
    fn new(token: &str, is_svg: bool) -> Result<Self, String> {
        let token = replaced(token, sign).replace(' ', "␣");
        let mut text: String = token.chars().take(LONGEST_LABEL).collect();
        if token.chars().nth(LONGEST_LABEL).is_some() {
            text.push('…');
        }
        if is_svg {
            // The viewer has fonts of its own; the built-in one, which is rather wide, only measures.
            return Ok(Self { text, family: "sans-serif", face: Face::built_in() });
        }
        match Face::covering(&text) {
            Ok(face) => Ok(Self { text, family: face.family, face }),
            Err(missing) => Err(format!(
                "no font on this system draws `{missing}`; give the picture a name that ends in .svg, or install a font \
                 that has these characters"
            )),
        }
    }

    fn title(text: &str, is_svg: bool) -> Self {
        let face = Face::built_in();
        Self { text: text.to_owned(), family: if is_svg { "sans-serif" } else { face.family }, face }
    }

    fn width(&self, size: f64) -> i32 {
        self.face.width(&self.text, size).ceil() as i32
    }
}

/// The sign for a character that cannot be seen.
fn sign(character: char) -> String {
    let shown = match character {
        '\t' => '⇥',
        '\n' => '↵',
        // No XML may hold the last two of a plane's characters.
        other if u32::from(other) & 0xfffe == 0xfffe => '\u{fffd}',
        // For private use: a font may have them.
        private @ ('\u{e000}'..='\u{f8ff}' | '\u{f0000}'..) => private,
        _ => '\u{fffd}',
    };
    shown.to_string()
}

/// The layout of a picture.
struct Picture<'a> {
    columns: Vec<Label>,
    rows: Vec<Label>,
    weights: &'a [f32],
    is_svg: bool,
    cell: i32,
    label_size: f64,
    /// Source tokens lie on their side, for want of width.
    sideways: bool,
    /// The upper left corner of the grid.
    origin: (i32, i32),
    size: (i32, i32),
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl<'a> Picture<'a> {
    fn new(columns: Vec<Label>, rows: Vec<Label>, weights: &'a [f32], is_svg: bool) -> Self {
        let longest_side = columns.len().max(rows.len()) as i32;
        let cell = (COMFORTABLE_GRID / longest_side)
            .clamp(LEGIBLE_CELL, LARGEST_CELL)
            .min((LARGEST_GRID / longest_side).max(1));
        let label_size = (f64::from(cell) * 0.5).clamp(f64::from(LEGIBLE_CELL) * 0.9, 38.0);
        let widest = |labels: &[Label]| labels.iter().map(|label| label.width(label_size)).max().unwrap_or(0);
        // A wide token, such as `<eos>` after letters, may reach over its cell where its neighbours are narrow.
        let widths: Vec<_> = columns.iter().map(|label| label.width(label_size)).collect();
        let collide = widths.iter().zip(widths.iter().skip(1)).any(|(left, right)| left + right + GAP > 2 * cell);
        let stick_out = [widths.first(), widths.last()].into_iter().flatten().any(|width| *width > cell + LEGEND_GAP);
        let sideways = collide || stick_out;
        let column_labels = if sideways { widest(&columns) } else { label_size as i32 };
        let title = TITLE as i32 + GAP;
        let origin = (MARGIN + title + widest(&rows) + GAP, MARGIN + title + column_labels + GAP);
        let (width, height) = (cell * columns.len() as i32, cell * rows.len() as i32);
        let legend = Label::title("weight", is_svg).width(TITLE).max(LEGEND_WIDTH + GAP + 60);
        let size =
            (origin.0 + width + LEGEND_GAP + legend + MARGIN, origin.1 + height.max(legend_height(height)) + MARGIN);
        Self { columns, rows, weights, is_svg, cell, label_size, sideways, origin, size }
    }

    fn svg(&self) -> Result<Vec<u8>, String> {
        let mut text = String::new();
        let size = (self.size.0 as u32, self.size.1 as u32);
        self.draw(&SVGBackend::with_string(&mut text, size).into_drawing_area()).map_err(|error| error.to_string())?;
        Ok(text.into_bytes())
    }

    fn png(&self) -> Result<Vec<u8>, String> {
        let (width, height) = (self.size.0 as u32, self.size.1 as u32);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        self.draw(&BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area())
            .map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
        writer.write_image_data(&pixels).map_err(|error| error.to_string())?;
        writer.finish().map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        area.fill(&WHITE)?;
        self.draw_cells(area)?;
        self.draw_labels(area)?;
        self.draw_legend(area)?;
        area.present()
    }

    fn draw_cells<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let (left, top) = self.origin;
        let (right, bottom) = self.corner();
        let lined = self.cell >= SMALLEST_LINED_CELL;
        let every = |count: usize| (0..=count as i32).filter(move |at| lined || *at == 0 || *at == count as i32);
        for x in every(self.columns.len()).map(|at| left + at * self.cell) {
            area.draw(&Rectangle::new([(x - 1, top - 1), (x + 1, bottom + 1)], LINES.filled()))?;
        }
        for y in every(self.rows.len()).map(|at| top + at * self.cell) {
            area.draw(&Rectangle::new([(left - 1, y - 1), (right + 1, y + 1)], LINES.filled()))?;
        }
        let inset = i32::from(lined);
        for (row, weights) in (0..).zip(self.weights.chunks(self.columns.len())) {
            for (column, weight) in (0..).zip(weights) {
                let color = shade(*weight);
                // Most cells of a long alignment are empty; leaving them out keeps an SVG small.
                if color == WHITE {
                    continue;
                }
                let (x, y) = (left + column * self.cell, top + row * self.cell);
                let corners = [(x + inset, y + inset), (x + self.cell - inset, y + self.cell - inset)];
                area.draw(&Rectangle::new(corners, color.filled()))?;
            }
        }
        Ok(())
    }

    fn draw_labels<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let (left, top) = self.origin;
        let (right, bottom) = self.corner();
        // If cells are lower than text, only every `stride`-th token has a label.
        let stride = (self.label_size as i32 + self.cell - 1) / self.cell.max(1);
        let stride = if self.cell < LEGIBLE_CELL { stride.max(1) } else { 1 };
        let of_labels = |anchor| Style::new(self.label_size, INK, anchor);
        for (row, label) in self.rows.iter().enumerate().step_by(stride as usize) {
            let at = (left - GAP, top + row as i32 * self.cell + self.cell / 2);
            self.text(area, label, at, of_labels(HPos::Right))?;
        }
        for (column, label) in self.columns.iter().enumerate().step_by(stride as usize) {
            let x = left + column as i32 * self.cell + self.cell / 2;
            if self.sideways {
                self.text(area, label, (x, top - GAP), of_labels(HPos::Left).sideways())?;
            } else {
                let y = top - GAP - (self.label_size * 0.4) as i32;
                self.text(area, label, (x, y), of_labels(HPos::Center))?;
            }
        }
        let half_title = (TITLE / 2.0) as i32;
        let source = Label::title("source", self.is_svg);
        let above = ((left + right) / 2, MARGIN + half_title);
        let of_titles = Style::new(TITLE, FAINT_INK, HPos::Center);
        self.text(area, &source, above, of_titles)?;
        let target = Label::title("target", self.is_svg);
        let beside = (MARGIN + half_title, (top + bottom) / 2);
        self.text(area, &target, beside, of_titles.sideways())
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let (right, bottom) = self.corner();
        let (left, top) = (right + LEGEND_GAP, self.origin.1);
        let height = legend_height(bottom - top);
        for step in 0..LEGEND_STEPS {
            let edge = |step| top + height * step / LEGEND_STEPS;
            let color = shade(1.0 - step as f32 / (LEGEND_STEPS - 1) as f32);
            let corners = [(left, edge(step)), (left + LEGEND_WIDTH, edge(step + 1))];
            area.draw(&Rectangle::new(corners, color.filled()))?;
        }
        area.draw(&Rectangle::new([(left, top), (left + LEGEND_WIDTH, top + height)], LINES.stroke_width(2)))?;
        for (text, y) in [("1", top), ("0.5", top + height / 2), ("0", top + height)] {
            let label = Label::title(text, self.is_svg);
            let at = (left + LEGEND_WIDTH + GAP, y);
            self.text(area, &label, at, Style::new(TITLE * 0.85, FAINT_INK, HPos::Left))?;
        }
        let title = Label::title("weight", self.is_svg);
        let above = (left, MARGIN + (TITLE / 2.0) as i32);
        self.text(area, &title, above, Style::new(TITLE, FAINT_INK, HPos::Left))
    }

    /// Draws text whose middle line, between the foot and the head of its letters, goes through `at`.
    fn text<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        label: &Label,
        at: (i32, i32),
        style: Style,
    ) -> Drawn<B> {
        let Style { size, color, anchor, sideways } = style;
        // The backends put the middle at different heights, both too high.
        let nudge = (size * if self.is_svg { 0.04 } else { 0.17 }).round() as i32;
        let (at, transform) = match sideways {
            false => ((at.0, at.1 + nudge), FontTransform::None),
            true => ((at.0 + nudge, at.1), FontTransform::Rotate270),
        };
        let font = FontDesc::new(FontFamily::Name(label.family), size, FontStyle::Normal).transform(transform);
        let style = TextStyle::from(font.into_font()).color(&color).pos(Pos::new(anchor, VPos::Center));
        area.draw_text(&label.text, &style, at)
    }

    /// The lower right corner of the grid.
    fn corner(&self) -> (i32, i32) {
        let (left, top) = self.origin;
        (left + self.cell * self.columns.len() as i32, top + self.cell * self.rows.len() as i32)
    }
}

/// How text is drawn, and on which side of its place.
#[derive(Clone, Copy)]
struct Style {
    size: f64,
    color: RGBColor,
    anchor: HPos,
    /// Read from below.
    sideways: bool,
}

impl Style {
    fn new(size: f64, color: RGBColor, anchor: HPos) -> Self {
        Self { size, color, anchor, sideways: false }
    }

    fn sideways(self) -> Self {
        Self { sideways: true, ..self }
    }
}

fn legend_height(grid: i32) -> i32 {
    grid.clamp(LEGEND_HEIGHT.0, LEGEND_HEIGHT.1)
}

fn shade(weight: f32) -> RGBColor {
    let at = weight.clamp(0.0, 1.0) * (SHADES.len() - 1) as f32;
    let below = (at as usize).min(SHADES.len() - 2);
    let part = at - below as f32;
    let [from, to] = [below, below + 1].map(|at| SHADES.get(at).copied().unwrap_or_default());
    let mut channels = from.into_iter().zip(to).map(|(from, to)| (f32::from(from), f32::from(to)));
    let mut blend = || channels.next().map_or(0, |(from, to)| (from + (to - from) * part).round() as u8);
    RGBColor(blend(), blend(), blend())
}
