//! QR codes, for paper and for terminals.

use qrcode::{Color, EcLevel, QrCode};

use crate::error::{BundleError, Result};

/// Light modules around a code that readers need (ISO/IEC 18004, 5.3.8).
const MARGIN: usize = 4;

/// A code as rows of modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qr {
    width: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// Encodes `text`; a seventh of the code may be dirty or torn (level M).
    ///
    /// # Errors
    /// [`BundleError::Qr`] for more text than a code holds.
    pub fn of(text: &str) -> Result<Qr> {
        let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M);
        let code = code.map_err(|e| BundleError::Qr {
            length: text.len(),
            why: e.to_string(),
        })?;
        let width = code.width();
        let dark = code.to_colors().iter().map(|c| *c == Color::Dark).collect();
        Ok(Qr { width, dark })
    }

    /// Modules on a side, with the margin.
    pub fn side(&self) -> usize {
        self.width + 2 * MARGIN
    }

    /// Whether the module is dark; the margin counts, and what lies outside is light.
    pub fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = MARGIN..MARGIN + self.width;
        inside.contains(&x)
            && inside.contains(&y)
            && self.dark[(y - MARGIN) * self.width + (x - MARGIN)]
    }

    /// Lines of block characters, two modules above each other in one. Light modules are drawn
    /// and dark ones left out, so it is read from a dark terminal; from a light one too, since
    /// today's readers take inverted codes.
    pub fn lines(&self) -> Vec<String> {
        let block = |x, y| match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
            (true, true) => ' ',
            (true, false) => '▄',
            (false, true) => '▀',
            (false, false) => '█',
        };
        let row = |y| (0..self.side()).map(|x| block(x, y)).collect();
        (0..self.side()).step_by(2).map(row).collect()
    }

    /// An SVG image without a size of its own: the page decides.
    pub fn svg(&self) -> String {
        let side = self.side();
        let mut path = String::new();
        for y in 0..side {
            let mut x = 0;
            while x < side {
                let run = (x..side).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
                }
                x += run + 1;
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
             shape-rendering=\"crispEdges\" role=\"img\">\
             <rect width=\"{side}\" height=\"{side}\" fill=\"#fff\"/>\
             <path d=\"{path}\" fill=\"#000\"/></svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The three corner squares of every code.
    fn has_corners(qr: &Qr) -> bool {
        let far = qr.side() - MARGIN - 7;
        [(MARGIN, MARGIN), (far, MARGIN), (MARGIN, far)]
            .iter()
            .all(|&(left, top)| {
                (0..7).all(|i| {
                    qr.is_dark(left + i, top)
                        && qr.is_dark(left, top + i)
                        && (i == 0 || i == 6 || qr.is_dark(left + i, top + 3) != (i == 1 || i == 5))
                })
            })
    }

    #[test]
    fn a_code_has_corners_and_a_margin() {
        let qr = Qr::of("https://192.168.1.10:4443/#K3Q9-7ZQ3").unwrap();
        assert!(has_corners(&qr));
        let side = qr.side();
        assert!((0..side).all(|i| !qr.is_dark(i, 0) && !qr.is_dark(3, i) && !qr.is_dark(i, side)));
    }

    #[test]
    fn the_example_of_the_standard() {
        // "01234567" at level M is the worked example of ISO/IEC 18004, annex I; its
        // smallest symbol is version 1, 21 modules wide.
        let qr = Qr::of("01234567").unwrap();
        assert_eq!(qr.side(), 21 + 2 * MARGIN);
    }

    #[test]
    fn drawings_show_the_same_modules() {
        let qr = Qr::of("cadet").unwrap();
        let lines = qr.lines();
        assert_eq!(lines.len(), qr.side().div_ceil(2));
        for (n, line) in lines.iter().enumerate() {
            for (x, c) in line.chars().enumerate() {
                assert_eq!(matches!(c, ' ' | '▄'), qr.is_dark(x, 2 * n));
                assert_eq!(matches!(c, ' ' | '▀'), qr.is_dark(x, 2 * n + 1));
            }
        }
        let svg = qr.svg();
        let dark: usize = svg
            .split('M')
            .skip(1)
            .filter_map(|run| {
                run.split('h')
                    .nth(1)?
                    .split('v')
                    .next()?
                    .parse::<usize>()
                    .ok()
            })
            .sum::<usize>();
        let side = qr.side();
        let counted = (0..side * side).filter(|i| qr.is_dark(i % side, i / side));
        assert_eq!(dark, counted.count());
    }

    #[test]
    fn too_much_text_is_told() {
        let error = Qr::of(&"x".repeat(5000)).unwrap_err();
        assert!(matches!(error, BundleError::Qr { length: 5000, .. }));
    }
}
