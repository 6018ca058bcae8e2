//! Fonts for pictures made of pixels: one that is built in, and the system's where that one lacks a character.

use std::sync::{LazyLock, Mutex, PoisonError};

use ab_glyph::{Font as _, FontRef, ScaleFont as _};
use plotters::style::{FontStyle, register_font};

/// A font that plotters knows by the name `family`.
pub struct Face {
    /// Its family name in a text style.
    pub family: &'static str,
    font: FontRef<'static>,
}

/// DejaVu Sans: Latin, IPA, Greek, Cyrillic, Arabic, Hebrew, mathematics.
#[expect(clippy::expect_used, reason = "the font is part of the program, and tests draw with it")]
static BUILT_IN: LazyLock<Face> = LazyLock::new(|| {
    face("softalign built-in", dejavu::sans::regular()).expect("the built-in font is one that can be read")
});

/// System fonts that were needed before, so that each is read once. plotters keeps fonts for ever, and so does this.
static FROM_SYSTEM: Mutex<Vec<&'static Face>> = Mutex::new(Vec::new());

impl Face {
    /// The built-in font.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// A font that has every character of `text`.
    ///
    /// # Errors
    /// The characters that the built-in font lacks, where no system font has them all.
    pub fn covering(text: &str) -> Result<&'static Self, String> {
        if BUILT_IN.covers(text) {
            return Ok(&BUILT_IN);
        }
        let mut known = FROM_SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(face) = known.iter().find(|face| face.covers(text)) {
            return Ok(face);
        }
        let missing = || text.chars().filter(|character| !has(&BUILT_IN.font, *character)).collect::<String>();
        let face = find_in_system(text, known.len()).ok_or_else(missing)?;
        known.push(face);
        Ok(face)
    }

    /// The width of `text` in pixels. A character that the font lacks counts as wide as the font is high.
    pub fn width(&self, text: &str, size: f64) -> f64 {
        let font = self.font.as_scaled(size as f32);
        let advance = |character| match font.glyph_id(character) {
            glyph if glyph.0 == 0 => size,
            glyph => f64::from(font.h_advance(glyph)),
        };
        text.chars().map(advance).sum()
    }

    fn covers(&self, text: &str) -> bool {
        text.chars().all(|character| has(&self.font, character))
    }
}

fn face(family: &'static str, bytes: &'static [u8]) -> Option<Face> {
    let font = FontRef::try_from_slice(bytes).ok()?;
    register_font(family, FontStyle::Normal, bytes).ok()?;
    Some(Face { family, font })
}

/// Whether a font can draw a character. Fonts of coloured pictures have glyphs without an outline, which would stay blank.
fn has(font: &FontRef<'_>, character: char) -> bool {
    let is_blank = character.is_whitespace()
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{fe00}'..='\u{fe0f}');
    let glyph = font.glyph_id(character);
    glyph.0 != 0 && (is_blank || font.outline(glyph).is_some())
}

fn find_in_system(text: &str, index: usize) -> Option<&'static Face> {
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    // The first face of a file only, as plotters takes no other; upright and regular ones before the rest.
    let mut faces: Vec<_> = fonts.faces().filter(|face| face.index == 0).collect();
    faces.sort_by_key(|face| {
        (face.style != fontdb::Style::Normal, face.weight.0.abs_diff(fontdb::Weight::NORMAL.0), face.monospaced)
    });
    let bytes = faces.iter().find_map(|face| {
        fonts.with_face_data(face.id, |bytes, _| {
            let font = FontRef::try_from_slice(bytes).ok()?;
            text.chars().all(|character| has(&font, character)).then(|| bytes.to_vec())
        })?
    })?;
    let family = Box::leak(format!("softalign system {index}").into_boxed_str());
    Some(Box::leak(Box::new(face(family, Box::leak(bytes.into_boxed_slice()))?)))
}
